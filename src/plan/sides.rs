//! Which side of the router a packet comes from or goes to: by its device, and by its address where roles share one.

use ipnet::Ipv4Net;

use super::facts::statement::Statement;
use super::target::Place;

/// What to ask so that a packet comes from this interface's guests: any of these.
pub(super) fn guest_input(place: Place<'_>) -> Vec<Vec<Statement>> {
    sides(place, Statement::InputDevice, Statement::SourceNet)
}

/// What to ask so that a packet goes to this interface's guests: any of these.
pub(super) fn guest_output(place: Place<'_>) -> Vec<Vec<Statement>> {
    sides(place, Statement::OutputDevice, Statement::DestinationNet)
}

/// What to ask so that a packet comes from this network; nothing where that is everything.
pub(super) fn is_guest_source(net: Ipv4Net) -> Option<Statement> {
    (net.prefix_len() > 0).then_some(Statement::SourceNet(net))
}

fn sides(
    place: Place<'_>,
    device: fn(super::facts::Name) -> Statement,
    net: fn(Ipv4Net) -> Statement,
) -> Vec<Vec<Statement>> {
    if !place.zone.has_guests() {
        Vec::new()
    } else if place.zone.guests_by_address {
        place.zone.guest_side().map(|side| vec![device(place.device()), net(side)]).collect()
    } else {
        vec![vec![device(place.device())]]
    }
}
