//! What DNS says of interfaces, and its forwarders of the router.

use super::Context;
use crate::config::dns::{ConditionalForwarder, Dns, Forwarder, Record, RecordData};
use crate::config::edit::Collection;
use crate::config::fault::{Faults, Pointer, Rule};
use crate::config::id::Id;
use crate::config::interface::Role;

/// Reports interfaces that are not there or have no guests, and a forwarder that is the router itself.
pub(in crate::config) fn check_dns(dns: &Dns, context: Context<'_>, faults: &mut Faults) {
    let at = Pointer::root().key("dns");
    for (index, id) in dns.settings.interfaces.iter().flatten().enumerate() {
        context.interface(id, Role::Guest, &at.key("interfaces").index(index), faults);
    }
    check_forwarders(&dns.settings.forwarders, &at, context, faults);
}

/// Reports domains that are forwarded twice, and a forwarder that is the router itself.
pub(in crate::config) fn check_conditional_forwarders(
    forwarders: &Collection<ConditionalForwarder>,
    context: Context<'_>,
    faults: &mut Faults,
) {
    for (index, (id, conditional)) in forwarders.iter().enumerate() {
        let at = Pointer::root().key("dns").key("conditional_forwarders").key(id.as_str());
        let twin = forwarders.iter().take(index).find(|(_, other)| other.domain == conditional.domain);
        if let Some((other, _)) = twin {
            let detail = format!("`{other}` forwards {} already", conditional.domain);
            faults.add(at.key("domain"), Rule::Conflict, detail);
        }
        check_forwarders(&conditional.forwarders, &at, context, faults);
    }
}

fn check_forwarders(forwarders: &[Forwarder], at: &Pointer, context: Context<'_>, faults: &mut Faults) {
    for (index, forwarder) in forwarders.iter().enumerate() {
        let own = context.layout.owner(*forwarder.socket().ip());
        if own.is_some_and(|(_, zone)| zone.has_guests())
            && forwarder.socket().port() == super::super::dns::PORT
        {
            let detail = format!("{forwarder} is the router itself, which would ask itself for ever");
            faults.add(at.key("forwarders").index(index), Rule::Contradiction, detail);
        }
    }
}

/// Reports a record that is another name of itself.
pub(in crate::config) fn check_record(id: &Id, record: &Record, faults: &mut Faults) {
    if let RecordData::Cname(target) = &record.data
        && target.as_str() == record.name.as_str()
    {
        let at = Pointer::root().key("dns").key("records").key(id.as_str()).key("values").index(0);
        faults.add(at, Rule::Contradiction, format!("{target} is another name of itself"));
    }
}
