//! What bandwidths say of addresses.

use std::collections::BTreeMap;

use super::Context;
use crate::config::edit::Collection;
use crate::config::fault::{Faults, Pointer, Rule};
use crate::config::qos::Qos;

/// Reports bandwidths of addresses that are not public, and two for one thing.
pub(in crate::config) fn check_qos(qos: &Collection<Qos>, context: Context<'_>, faults: &mut Faults) {
    let mut known = BTreeMap::new();
    for (id, entry) in qos {
        let at = || Pointer::root().key("qos").key(id.as_str()).key("address");
        match context.layout.owner(entry.address.get()) {
            Some((owner, zone)) if !zone.public => {
                let detail = format!(
                    "{} is the router's own address on `{owner}`, which is not public",
                    entry.address
                );
                faults.add(at(), Rule::Conflict, detail);
            }
            Some(_) => {}
            None => context.public_address(entry.address.get(), at, faults),
        }
        if let Some(other) = known.insert((entry.address, entry.port), id) {
            let what = entry.port.map_or_else(String::new, |port| format!(" port {port}"));
            faults.add(at(), Rule::Conflict, format!("`{other}` says how fast {}{what} is", entry.address));
        }
    }
}
