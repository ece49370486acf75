//! The operations that give a connection to a backend: a slot is picked, or a source is remembered.
//!
//! Address and port of a backend fill two registers one behind the other, as they lie in the maps. nft(8) has no words
//! for rules that use what was looked up twice; the kernel has no such limit. Called by `operation.rs`.

use super::operation::{Base, DESTINATION, MetaKey, Operation, PORT, Register, Remember, SOURCE, address};
use crate::plan::facts::statement::LIVE;
use crate::plan::facts::{Pick, Sticky};

/// Picks a slot, remembers it for the source, and translates the destination.
pub(super) fn by_slot<'a>(
    pick: Pick,
    slots: u32,
    map: &'a str,
    sticky: Option<&'a Sticky>,
) -> Vec<Operation<'a>> {
    let mut operations = match pick {
        Pick::Next => vec![Operation::Number { random: false, modulus: slots }],
        Pick::Random => vec![Operation::Number { random: true, modulus: slots }],
        Pick::Source(seed) => {
            vec![address(SOURCE, Register::Second), Operation::Hash { modulus: slots, seed }]
        }
    };
    operations.push(Operation::LookupInto { set: map, from: Register::First, to: Register::First });
    if let Some(Sticky { map, seconds }) = sticky {
        let remember = |action| Operation::Remember {
            action,
            map: map.as_str(),
            key: Register::Third,
            data: Register::First,
        };
        // What a source was remembered with is not overwritten by what comes: it goes first.
        operations.extend([
            address(SOURCE, Register::Third),
            remember(Remember::Forget),
            remember(Remember::Put { seconds: *seconds }),
        ]);
    }
    operations.push(Operation::Dnat { address: Register::First, port: true });
    operations
}

/// Translates the destination to where the source went before, if that takes connections.
pub(super) fn by_sticky<'a>(sticky: &'a Sticky, backends: &'a str) -> Vec<Operation<'a>> {
    let Sticky { map, seconds } = sticky;
    vec![
        address(SOURCE, Register::First),
        Operation::LookupInto { set: map.as_str(), from: Register::First, to: Register::Fourth },
        address(DESTINATION, Register::First),
        Operation::Meta(MetaKey::TransportProtocol, Register::Second),
        Operation::Payload { base: Base::Transport, offset: PORT, length: 2, register: Register::Third },
        Operation::LookupInto { set: backends, from: Register::First, to: Register::First },
        Operation::Compare { equal: true, data: LIVE.to_ne_bytes().to_vec() },
        address(SOURCE, Register::First),
        Operation::Remember {
            action: Remember::Put { seconds: *seconds },
            map: map.as_str(),
            key: Register::First,
            data: Register::Fourth,
        },
        Operation::Dnat { address: Register::Fourth, port: true },
    ]
}
