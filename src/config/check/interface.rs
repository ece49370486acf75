//! What interfaces say of each other.

use crate::config::edit::Collection;
use crate::config::fault::{Faults, Pointer, Rule};
use crate::config::interface::{Interface, Selector};
use crate::config::net::overlap;

/// Reports two interfaces with one device and subnets that overlap.
pub(in crate::config) fn check_interfaces(interfaces: &Collection<Interface>, faults: &mut Faults) {
    let at = Pointer::root().key("interfaces");
    for (index, (id, interface)) in interfaces.iter().enumerate() {
        for (other_id, other) in interfaces.iter().take(index) {
            if interface.selector == other.selector {
                let member = match interface.selector {
                    Selector::Mac(_) => "mac",
                    Selector::Device(_) => "device",
                };
                let detail = format!("`{other_id}` is found by the same {member}");
                faults.add(at.key(id.as_str()).key(member), Rule::Conflict, detail);
            }
            for (place, address) in interface.addresses.iter().enumerate() {
                if let Some(near) =
                    other.addresses.iter().find(|near| overlap(near.subnet(), address.subnet()))
                {
                    let detail =
                        format!("its subnet {} overlaps {} of `{other_id}`", address.subnet(), near.subnet());
                    faults.add(at.key(id.as_str()).key("addresses").index(place), Rule::Overlap, detail);
                }
            }
        }
    }
}
