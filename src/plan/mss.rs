//! The largest TCP segment, fitted to the path where devices take packets of different sizes (RFC 6691).

use super::facts::statement::Statement;
use super::facts::{Hook, HookPoint, Policy, Rule, Ruleset};
use super::lower::priority;
use super::names;
use super::target::Target;

/// Adds the chain where it is needed.
pub(super) fn lower(target: &Target, ruleset: &mut Ruleset) {
    let mut sizes =
        target.places().filter(|place| place.zone.public || place.zone.has_guests()).map(|place| {
            let configured = target.config.interfaces().get(place.id).and_then(|interface| interface.mtu);
            configured.unwrap_or(place.link.mtu)
        });
    let first = sizes.next();
    if sizes.any(|size| Some(size) != first) {
        let rules = vec![Rule::new(vec![Statement::TcpSyn, Statement::ClampMss])];
        ruleset.base(names::MSS, Hook::Filter, HookPoint::Forward, priority::MANGLE, Policy::Accept, rules);
    }
}
