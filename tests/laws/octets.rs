//! Laws of what DHCP reads: no octets confuse it.

use dhcproto::Decodable;
use dhcproto::v4::Message;
use proptest::prelude::*;
use vrouter::dhcp::Action;

use crate::leases::{DEVICE, Event, World};

/// A message of which only some is sound: options of any length, in any place, in any order.
fn octets() -> impl Strategy<Value = Vec<u8>> {
    let codes = prop_oneof![
        Just(50u8),
        Just(52),
        Just(53),
        Just(54),
        Just(55),
        Just(57),
        Just(61),
        Just(82),
        Just(12),
        any::<u8>()
    ];
    let option = (codes, prop::collection::vec(any::<u8>(), 0..80), any::<bool>());
    let sound = (
        prop::collection::vec(any::<u8>(), 240),
        prop::collection::vec(option, 0..12),
        0u8..9,
        any::<[bool; 4]>(),
    );
    let sound = sound.prop_map(|(mut octets, options, kind, [relayed, renewing, known, told])| {
        octets[..4].copy_from_slice(&[1, 1, 6, 0]);
        octets[236..].copy_from_slice(&[99, 130, 83, 99]);
        octets[12..16].copy_from_slice(if renewing { &[10, 1, 1, 101] } else { &[0; 4] });
        octets[24..28].copy_from_slice(if relayed { &[10, 1, 1, 77] } else { &[0; 4] });
        if known {
            octets[28..34].copy_from_slice(&[0xfa, 0xaa, 0, 0, 0, 1]);
        }
        octets.extend([53, 1, kind]);
        for (code, value, true_length) in options {
            octets.push(code);
            octets.push(if true_length {
                u8::try_from(value.len()).unwrap()
            } else {
                value.first().copied().unwrap_or(9)
            });
            octets.extend(value);
        }
        if told {
            octets.push(255);
        }
        octets
    });
    prop_oneof![4 => sound, 1 => prop::collection::vec(any::<u8>(), 0..600)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes in, the engine decides, and what it says can be read and is no longer than may be.
    #[test]
    fn no_octets_confuse_the_engine(messages in prop::collection::vec(octets(), 1..20)) {
        let mut world = World::new(1);
        world.happen(Event::Bind(1, Some(2)));
        for octets in messages {
            let decision = world.engine.handle(&world.snapshot, DEVICE, &octets, world.now);
            if let Action::Answer(reply) | Action::Grant(_, reply) = decision.action {
                prop_assert!((300..=1472).contains(&reply.message.len()), "{} octets", reply.message.len());
                let said = Message::from_bytes(&reply.message).unwrap();
                prop_assert!(said.opts().msg_type().is_some());
                let chaddr = 28..28 + usize::from(octets[2]);
                prop_assert_eq!(&reply.message[chaddr.clone()], &octets[chaddr]);
            }
        }
    }
}
