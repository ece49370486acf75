//! What a load balancer says of addresses, certificates and guests.

use super::Context;
use crate::config::certificate::Certificate;
use crate::config::edit::Collection;
use crate::config::fault::{Faults, Pointer, Rule};
use crate::config::id::Id;
use crate::config::load_balancer::LoadBalancer;

/// Reports a balancer on an address that clients cannot reach, with certificates that are not there, or with backends
/// that nobody reaches.
pub(in crate::config) fn check_load_balancer(
    id: &Id,
    balancer: &LoadBalancer,
    certificates: &Collection<Certificate>,
    context: Context<'_>,
    faults: &mut Faults,
) {
    let at = || Pointer::root().key("load_balancers").key(id.as_str());
    check_address(balancer, context, || at().key("address"), faults);
    for (index, certificate) in balancer.tls.iter().flat_map(|tls| tls.certificates.iter().enumerate()) {
        if !certificates.contains_key(certificate)
            && !context.unread.certificates.contains(certificate.as_str())
        {
            let at = at().key("tls").key("certificates").index(index);
            faults.add(at, Rule::DanglingReference, format!("there is no certificate `{certificate}`"));
        }
    }
    for (pool_id, pool) in &balancer.pools {
        let at = || at().key("pools").key(pool_id.as_str());
        for (backend_id, backend) in &pool.backends {
            let at = || at().key("backends").key(backend_id.as_str()).key("address");
            context.guest(backend.address.get(), at, faults);
        }
        if let Some(source) = pool.health_check.as_ref().and_then(|check| check.source)
            && context.layout.owner(source.get()).is_none()
            && !context.unread.any
        {
            let at = at().key("health_check").key("source");
            faults.add(
                at,
                Rule::Unreachable,
                format!("{source} is not an address of the router's interfaces"),
            );
        }
    }
}

/// The address is public, the router's own towards clients, or a free one in a guest network.
fn check_address(
    balancer: &LoadBalancer,
    context: Context<'_>,
    at: impl Fn() -> Pointer,
    faults: &mut Faults,
) {
    let address = balancer.address.get();
    if let Some((owner, zone)) = context.layout.owner(address) {
        if !zone.public && !zone.guests.iter().any(|net| net.contains(&address)) {
            let detail =
                format!("{address} is the router's own address on `{owner}`, which no client reaches");
            faults.add(at(), Rule::Conflict, detail);
        }
    } else if let Some((guest, zone)) = context.layout.guest(address) {
        if !zone
            .guests
            .iter()
            .any(|net| net.contains(&address) && crate::config::net::is_host_of(*net, address))
        {
            let detail = format!("{address} is no free address of the guest network `{guest}`");
            faults.add(at(), Rule::InvalidValue, detail);
        }
    } else if context.layout.public().is_empty() && !context.unread.any {
        faults.add(at(), Rule::Unreachable, "there is no interface to reach it by");
    }
}
