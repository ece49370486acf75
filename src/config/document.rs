//! The whole configuration: read, patched, checked, written.
//!
//! [`Config`] can only be had from here, so whoever holds one holds a valid one. Called by the API with what was
//! posted and by the loop with what the store remembers.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use serde_json::{Map, Value};

use super::certificate::{self, Certificate};
use super::check::{self, Context, Unread};
use super::dhcp::Network;
use super::dns::Dns;
use super::edit::{Collection, Edit, FlatNoun, Noun, collection, read, render};
use super::eip::Eip;
use super::fault::{Faults, Pointer, Rule};
use super::firewall::Firewall;
use super::id::Id;
use super::index::{Claimants, Index, changed};
use super::interface::Interface;
use super::layout::{self, Layout};
use super::limits::check_total;
use super::load_balancer::LoadBalancer;
use super::name::Hostname;
use super::owner::Owner;
use super::port_forward::PortForward;
use super::qos::Qos;
use super::route::Route;
use super::snat::Snat;
use super::ssh::Ssh;
use super::wire::{self, Drift};

/// The whole desired state of a router: valid, normalised, immutable. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Config {
    pub(super) parts: Parts,
    pub(super) layout: Arc<Layout>,
    pub(super) subnets: Arc<BTreeMap<Id, Ipv4Net>>,
    pub(super) index: Arc<Index>,
}

/// The objects, before and after they are checked against each other.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Parts {
    pub(super) hostname: Option<Hostname>,
    pub(super) owner: Option<Arc<Owner>>,
    pub(super) drift: Drift,
    pub(super) ssh: Option<Ssh>,
    pub(super) interfaces: Collection<Interface>,
    pub(super) routes: Collection<Route>,
    pub(super) dhcp: Collection<Network>,
    pub(super) dns: Option<Dns>,
    pub(super) snat: Collection<Snat>,
    pub(super) eips: Collection<Eip>,
    pub(super) port_forwards: Collection<PortForward>,
    pub(super) qos: Collection<Qos>,
    pub(super) firewall: Firewall,
    pub(super) certificates: Collection<Certificate>,
    pub(super) load_balancers: Collection<LoadBalancer>,
}

impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        self.parts == other.parts
    }
}

/// The members of the document.
const MEMBERS: [&str; 16] = [
    "version",
    "hostname",
    "owner",
    "drift",
    "ssh",
    "interfaces",
    "routes",
    "dhcp",
    "dns",
    "snat",
    "eips",
    "port_forwards",
    "qos",
    "firewall",
    "certificates",
    "load_balancers",
];

impl Config {
    /// The configuration that `document` describes whole. What equals `self` is shared with it.
    ///
    /// # Errors
    /// Every fault of the document.
    pub fn replace(&self, document: Value) -> Result<Self, Faults> {
        self.edit(Edit::Replace(document))
    }

    /// The configuration that results from an RFC 7396 merge patch.
    ///
    /// # Errors
    /// Every fault of what results.
    pub fn patch(&self, patch: Value) -> Result<Self, Faults> {
        self.edit(Edit::Patch(patch))
    }

    fn edit(&self, mut edit: Edit) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let root = Pointer::root();
        if !matches!(&edit, Edit::Replace(Value::Object(_)) | Edit::Patch(Value::Object(_))) {
            faults.add(root, Rule::WrongType, "expected an object: the configuration or a merge patch of it");
            return Err(faults);
        }
        read_version(edit.take("version"), &mut faults);
        let old = &self.parts;
        let at = |member: &str| Pointer::root().key(member);
        let parts = Parts {
            hostname: match edit.take("hostname") {
                None => old.hostname.clone(),
                Some(edit) if edit.removes() => None,
                Some(Edit::Replace(value) | Edit::Patch(value)) => read(value, &at("hostname"), &mut faults),
            },
            owner: match edit.take("owner") {
                None => old.owner.clone(),
                Some(edit) if edit.removes() => None,
                Some(edit) => {
                    Owner::edit(old.owner.as_deref(), edit, &at("owner"), &mut faults).map(Arc::new)
                }
            },
            drift: match edit.take("drift") {
                None => old.drift,
                Some(edit) if edit.removes() => Drift::default(),
                Some(Edit::Replace(value) | Edit::Patch(value)) => {
                    read(value, &at("drift"), &mut faults).unwrap_or_default()
                }
            },
            ssh: match edit.take("ssh") {
                None => old.ssh.clone(),
                Some(edit) if edit.removes() => None,
                Some(edit) => Ssh::edit(old.ssh.as_ref(), edit, &at("ssh"), &mut faults),
            },
            interfaces: collection(&old.interfaces, edit.take("interfaces"), &at("interfaces"), &mut faults),
            routes: collection(&old.routes, edit.take("routes"), &at("routes"), &mut faults),
            dhcp: collection(&old.dhcp, edit.take("dhcp"), &at("dhcp"), &mut faults),
            dns: match edit.take("dns") {
                None => old.dns.clone(),
                Some(edit) if edit.removes() => None,
                Some(edit) => Dns::edit(old.dns.as_ref(), edit, &at("dns"), &mut faults),
            },
            snat: collection(&old.snat, edit.take("snat"), &at("snat"), &mut faults),
            eips: collection(&old.eips, edit.take("eips"), &at("eips"), &mut faults),
            port_forwards: collection(
                &old.port_forwards,
                edit.take("port_forwards"),
                &at("port_forwards"),
                &mut faults,
            ),
            qos: collection(&old.qos, edit.take("qos"), &at("qos"), &mut faults),
            firewall: match edit.take("firewall") {
                None => old.firewall.clone(),
                Some(edit) if edit.removes() => Firewall::default(),
                Some(edit) => Firewall::edit(Some(&old.firewall), edit, &at("firewall"), &mut faults)
                    .unwrap_or_else(|| old.firewall.clone()),
            },
            certificates: collection(
                &old.certificates,
                edit.take("certificates"),
                &at("certificates"),
                &mut faults,
            ),
            load_balancers: collection(
                &old.load_balancers,
                edit.take("load_balancers"),
                &at("load_balancers"),
                &mut faults,
            ),
        };
        edit.refuse_rest(&MEMBERS, &root, &mut faults);
        self.check(parts, faults)
    }

    /// The parts as a configuration, if they agree with each other.
    fn check(&self, parts: Parts, mut faults: Faults) -> Result<Self, Faults> {
        let old = &self.parts;
        let subnets = Arc::new(layout::dhcp_subnets(&parts.dhcp, &parts.interfaces));
        let layout = Layout::new(&parts.interfaces, &parts.routes, &parts.dhcp, &subnets, &parts.snat);
        let same_layout = layout == *self.layout;
        let layout = if same_layout { self.layout.clone() } else { Arc::new(layout) };
        check_total(old, &parts, &mut faults);
        let unread = Unread::of(&faults);
        let no_records = Collection::new();
        let index = self.index.next(claimants(old, &no_records), claimants(&parts, &no_records), &mut faults);
        let next = Self { parts, layout, subnets, index: Arc::new(index) };
        let same_surroundings = same_layout && self.subnets == next.subnets;
        next.check_references(self, same_surroundings, &unread, &mut faults);
        faults.into_result(next)
    }

    fn check_references(&self, before: &Self, same_surroundings: bool, unread: &Unread, faults: &mut Faults) {
        let Self { parts, .. } = self;
        let context = Context { interfaces: &parts.interfaces, layout: &self.layout, unread };
        // Where the surroundings are the same, only what changed can be wrong; else everything is looked at again.
        let none = Self::default();
        let known = if same_surroundings { before } else { &none };
        if !same_surroundings {
            check::check_interfaces(&parts.interfaces, faults);
        }
        if parts.ssh.is_some() {
            check::check_ssh(self, context, faults);
        }
        check::check_routes(&parts.routes, context, faults);
        check::check_networks(&parts.dhcp, |id| self.dhcp_subnet(id), faults);
        for (id, network) in &parts.dhcp {
            let subnet = self.dhcp_subnet(id);
            check::check_network(id, &network.settings, subnet, context, faults);
            let no_hosts = Collection::new();
            let hosts = known.parts.dhcp.get(id).map_or(&no_hosts, |network| &network.hosts);
            for (host_id, host) in changed(hosts, &network.hosts) {
                check::check_host(id, host_id, host, subnet, context, faults);
            }
        }
        if let Some(dns) = &parts.dns {
            check::check_dns(dns, context, faults);
            check::check_conditional_forwarders(&dns.conditional_forwarders, context, faults);
            let no_records = Collection::new();
            let records = known.parts.dns.as_ref().map_or(&no_records, |dns| &dns.records);
            for (id, record) in changed(records, &dns.records) {
                check::check_record(id, record, faults);
            }
        }
        check::check_snat(&parts.snat, context, faults);
        for (id, snat) in &parts.snat {
            if let Some(eip) = snat.address.and_then(|address| self.index.eip_of(address.get())) {
                let at = Pointer::root().key("snat").key(id.as_str()).key("address");
                faults.add(at, Rule::Overlap, format!("EIP `{eip}` has this address alone"));
            }
        }
        for (id, eip) in changed(&known.parts.eips, &parts.eips) {
            check::check_eip(id, eip, context, faults);
        }
        for (id, forward) in changed(&known.parts.port_forwards, &parts.port_forwards) {
            check::check_port_forward(id, forward, context, faults);
        }
        check::check_qos(&parts.qos, context, faults);
        for (id, rule) in changed(&known.parts.firewall.rules, &parts.firewall.rules) {
            check::check_rule(id, rule, context, faults);
        }
        for (id, set) in changed(&known.parts.firewall.rule_sets, &parts.firewall.rule_sets) {
            check::check_rule_set(id, set, context, faults);
        }
        let certificates = &parts.certificates;
        // Whoever names a certificate that goes has not changed itself.
        let gone = known.parts.certificates.keys().any(|id| !certificates.contains_key(id));
        let balancers = if gone { &none.parts.load_balancers } else { &known.parts.load_balancers };
        for (id, balancer) in changed(balancers, &parts.load_balancers) {
            check::check_load_balancer(id, balancer, certificates, context, faults);
            if let Some((network, host)) = self.dhcp_claim(balancer.address.get()) {
                let at = Pointer::root().key("load_balancers").key(id.as_str()).key("address");
                let detail = format!("{} is {host} of the DHCP network `{network}`", balancer.address);
                faults.add(at, Rule::Conflict, detail);
            }
        }
    }

    /// The DHCP network that gives an address out, and to whom.
    fn dhcp_claim(&self, address: Ipv4Addr) -> Option<(&Id, String)> {
        self.parts.dhcp.iter().find_map(|(id, network)| {
            if let Some((host, _)) = self.dhcp_host_by_ip(id, address) {
                return Some((id, format!("the address of host `{host}`")));
            }
            let range = network.settings.ranges.iter().find(|range| range.contains(address))?;
            Some((id, format!("in the range {range}")))
        })
    }

    /// The document again, keys included: reading it gives an equal configuration. For the store alone.
    #[must_use]
    pub fn document(&self) -> wire::Document {
        fn wires<T: FlatNoun>(collection: &Collection<T>) -> BTreeMap<Id, T::Wire> {
            collection.iter().map(|(id, noun)| (id.clone(), noun.write())).collect()
        }
        let Parts {
            hostname,
            owner,
            drift,
            ssh,
            interfaces,
            routes,
            dhcp,
            dns,
            snat,
            eips,
            port_forwards,
            qos,
            firewall,
            certificates,
            load_balancers,
        } = &self.parts;
        wire::Document {
            version: wire::VERSION,
            hostname: hostname.clone(),
            owner: owner.as_deref().cloned(),
            drift: *drift,
            ssh: ssh.as_ref().map(Into::into),
            interfaces: wires(interfaces),
            routes: wires(routes),
            dhcp: dhcp.iter().map(|(id, network)| (id.clone(), network.as_ref().into())).collect(),
            dns: dns.as_ref().map(Into::into),
            snat: wires(snat),
            eips: wires(eips),
            port_forwards: wires(port_forwards),
            qos: wires(qos),
            firewall: firewall.into(),
            certificates: certificates
                .iter()
                .map(|(id, certificate)| (id.clone(), certificate.write()))
                .collect(),
            load_balancers: wires(load_balancers),
        }
    }

    /// The document as anybody may read it: fingerprints stand in the place of keys.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut document = render(&self.document());
        certificate::redact(&mut document, |id| {
            self.parts.certificates.get(id).map(|certificate| certificate.fingerprint().to_owned())
        });
        document
    }
}

fn claimants<'a>(parts: &'a Parts, no_records: &'a Collection<super::dns::Record>) -> Claimants<'a> {
    Claimants {
        eips: &parts.eips,
        port_forwards: &parts.port_forwards,
        load_balancers: &parts.load_balancers,
        dhcp: &parts.dhcp,
        records: parts.dns.as_ref().map_or(no_records, |dns| &dns.records),
    }
}

fn read_version(edit: Option<Edit>, faults: &mut Faults) {
    let at = Pointer::root().key("version");
    match edit {
        None => {}
        Some(Edit::Replace(Value::Null)) => {
            faults.add(at, Rule::MissingField, "the member `version` is required; this wire is version 1");
        }
        Some(Edit::Replace(value) | Edit::Patch(value)) if value.as_u64() == Some(wire::VERSION) => {}
        Some(_) => faults.add(at, Rule::Unsupported, "this router speaks version 1"),
    }
}

/// The smallest document: a router with nothing configured.
#[must_use]
pub fn empty_document() -> Value {
    Value::Object(Map::from_iter([("version".to_owned(), wire::VERSION.into())]))
}
