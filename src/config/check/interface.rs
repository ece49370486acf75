//! What interfaces say of each other.

use crate::config::edit::Collection;
use crate::config::fault::{Faults, Pointer, Rule};
use crate::config::id::Id;
use crate::config::interface::{Interface, Selector};
use crate::config::net::overlap;

/// Reports two interfaces with one device, networks that do not fit the device that carries them, and subnets that overlap.
pub(in crate::config) fn check_interfaces(interfaces: &Collection<Interface>, faults: &mut Faults) {
    let at = Pointer::root().key("interfaces");
    for (index, (id, interface)) in interfaces.iter().enumerate() {
        for (other_id, other) in interfaces.iter().take(index) {
            if interface.selector == other.selector {
                check_one_device((id, interface), (other_id, other), &at, faults);
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

/// Two interfaces that are found by the same device: only one of them is what comes untagged, and each VLAN is one's.
fn check_one_device(
    (id, interface): (&Id, &Interface),
    (other_id, other): (&Id, &Interface),
    at: &Pointer,
    faults: &mut Faults,
) {
    let member = match interface.selector {
        Selector::Mac(_) => "mac",
        Selector::Device(_) => "device",
    };
    match (interface.vlan, other.vlan) {
        (None, None) => {
            let detail = format!("`{other_id}` is found by the same {member}");
            faults.add(at.key(id.as_str()).key(member), Rule::Conflict, detail);
        }
        (Some(vlan), Some(same)) if vlan == same => {
            let detail = format!("`{other_id}` is VLAN {vlan} of the same {member}");
            faults.add(at.key(id.as_str()).key("vlan"), Rule::Conflict, detail);
        }
        (Some(_), None) => check_fits((id, interface), (other_id, other), at, faults),
        (None, Some(_)) => check_fits((other_id, other), (id, interface), at, faults),
        (Some(_), Some(_)) => {}
    }
}

/// A device carries no larger packets with a tag than without.
fn check_fits(
    (id, tagged): (&Id, &Interface),
    (carrier_id, carrier): (&Id, &Interface),
    at: &Pointer,
    faults: &mut Faults,
) {
    if let (Some(mtu), Some(most)) = (tagged.mtu, carrier.mtu)
        && mtu > most
    {
        let detail = format!("`{carrier_id}`, whose device carries it, has an MTU of {most}");
        faults.add(at.key(id.as_str()).key("mtu"), Rule::Contradiction, detail);
    }
}
