//! The whole configuration: read, patched, checked, written.
//!
//! [`Config`] can only be had from here, so whoever holds one holds a valid one. Called by the API with what was
//! posted and by the loop with what the store remembers.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use serde_json::{Map, Value};

use super::check::{self, Context, Unread};
use super::dhcp::{Host, Network};
use super::dns::Dns;
use super::edit::{Collection, Edit, FlatNoun, Noun, collection, read, render};
use super::eip::Eip;
use super::fault::{Faults, Pointer, Rule};
use super::firewall::Firewall;
use super::id::Id;
use super::index::{Claimants, Index, changed};
use super::interface::Interface;
use super::layout::{self, Layout, Zone};
use super::mac::MacAddress;
use super::name::Hostname;
use super::port_forward::PortForward;
use super::route::Route;
use super::snat::Snat;
use super::wire;

/// The whole desired state of a router: valid, normalised, immutable. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Config {
    parts: Parts,
    layout: Arc<Layout>,
    subnets: Arc<BTreeMap<Id, Ipv4Net>>,
    index: Arc<Index>,
}

/// The objects, before and after they are checked against each other.
#[derive(Debug, Clone, PartialEq, Default)]
struct Parts {
    hostname: Option<Hostname>,
    interfaces: Collection<Interface>,
    routes: Collection<Route>,
    dhcp: Collection<Network>,
    dns: Option<Dns>,
    snat: Collection<Snat>,
    eips: Collection<Eip>,
    port_forwards: Collection<PortForward>,
    firewall: Firewall,
}

impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        self.parts == other.parts
    }
}

/// The members of the document.
const MEMBERS: [&str; 10] = [
    "version",
    "hostname",
    "interfaces",
    "routes",
    "dhcp",
    "dns",
    "snat",
    "eips",
    "port_forwards",
    "firewall",
];
/// Members that the wire knows and that this version does not build.
const NOT_BUILT: [&str; 2] = ["load_balancers", "certificates"];

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
        for member in NOT_BUILT {
            if let Some(Edit::Replace(value) | Edit::Patch(value)) = edit.take(member) {
                refuse(member, &value, &mut faults);
            }
        }
        let old = &self.parts;
        let at = |member: &str| Pointer::root().key(member);
        let parts = Parts {
            hostname: match edit.take("hostname") {
                None => old.hostname.clone(),
                Some(edit) if edit.removes() => None,
                Some(Edit::Replace(value) | Edit::Patch(value)) => read(value, &at("hostname"), &mut faults),
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
            firewall: match edit.take("firewall") {
                None => old.firewall.clone(),
                Some(edit) if edit.removes() => Firewall::default(),
                Some(edit) => Firewall::edit(Some(&old.firewall), edit, &at("firewall"), &mut faults)
                    .unwrap_or_else(|| old.firewall.clone()),
            },
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
        for (id, rule) in changed(&known.parts.firewall.rules, &parts.firewall.rules) {
            check::check_rule(id, rule, context, faults);
        }
    }

    /// The document again: reading it gives an equal configuration.
    #[must_use]
    pub fn document(&self) -> wire::Document {
        fn wires<T: FlatNoun>(collection: &Collection<T>) -> BTreeMap<Id, T::Wire> {
            collection.iter().map(|(id, noun)| (id.clone(), noun.write())).collect()
        }
        let Parts { hostname, interfaces, routes, dhcp, dns, snat, eips, port_forwards, firewall } =
            &self.parts;
        wire::Document {
            version: wire::VERSION,
            hostname: hostname.clone(),
            interfaces: wires(interfaces),
            routes: wires(routes),
            dhcp: dhcp.iter().map(|(id, network)| (id.clone(), network.as_ref().into())).collect(),
            dns: dns.as_ref().map(Into::into),
            snat: wires(snat),
            eips: wires(eips),
            port_forwards: wires(port_forwards),
            firewall: firewall.into(),
        }
    }

    /// The document as a JSON value.
    #[must_use]
    pub fn to_json(&self) -> Value {
        render(&self.document())
    }

    /// The router's own name.
    #[must_use]
    pub const fn hostname(&self) -> Option<&Hostname> {
        self.parts.hostname.as_ref()
    }

    /// The interfaces by id.
    #[must_use]
    pub const fn interfaces(&self) -> &Collection<Interface> {
        &self.parts.interfaces
    }

    /// The static routes by id.
    #[must_use]
    pub const fn routes(&self) -> &Collection<Route> {
        &self.parts.routes
    }

    /// The DHCP networks by id.
    #[must_use]
    pub const fn dhcp(&self) -> &Collection<Network> {
        &self.parts.dhcp
    }

    /// DNS, where it is served.
    #[must_use]
    pub const fn dns(&self) -> Option<&Dns> {
        self.parts.dns.as_ref()
    }

    /// The source translations by id.
    #[must_use]
    pub const fn snat(&self) -> &Collection<Snat> {
        &self.parts.snat
    }

    /// The EIPs by id.
    #[must_use]
    pub const fn eips(&self) -> &Collection<Eip> {
        &self.parts.eips
    }

    /// The port forwards by id.
    #[must_use]
    pub const fn port_forwards(&self) -> &Collection<PortForward> {
        &self.parts.port_forwards
    }

    /// What may pass.
    #[must_use]
    pub const fn firewall(&self) -> &Firewall {
        &self.parts.firewall
    }

    /// What the interfaces make of the network.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whether two generations have one layout in memory: then nothing about it differs.
    #[must_use]
    pub fn shares_layout(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.layout, &other.layout)
    }

    /// The subnet that a DHCP network serves.
    #[must_use]
    pub fn dhcp_subnet(&self, network: &Id) -> Option<Ipv4Net> {
        self.subnets.get(network).copied()
    }

    /// The host of a DHCP network that has this MAC.
    #[must_use]
    pub fn dhcp_host_by_mac(&self, network: &Id, mac: MacAddress) -> Option<(&Id, &Host)> {
        self.dhcp_host(network, self.index.host_by_mac(network, mac)?)
    }

    /// The host of a DHCP network that has this address.
    #[must_use]
    pub fn dhcp_host_by_ip(&self, network: &Id, ip: Ipv4Addr) -> Option<(&Id, &Host)> {
        self.dhcp_host(network, self.index.host_by_ip(network, ip)?)
    }

    fn dhcp_host(&self, network: &Id, id: &Id) -> Option<(&Id, &Host)> {
        let hosts = &self.parts.dhcp.get(network)?.hosts;
        hosts.get_key_value(id).map(|(id, host)| (id, host.as_ref()))
    }

    /// The EIP that has this public address.
    #[must_use]
    pub fn eip_by_address(&self, address: Ipv4Addr) -> Option<&Eip> {
        self.parts.eips.get(self.index.eip_of(address)?).map(AsRef::as_ref)
    }

    /// The EIP on an interface that leads to this guest.
    #[must_use]
    pub fn eip_by_target(&self, target: Ipv4Addr, interface: &Id) -> Option<&Eip> {
        self.parts.eips.get(self.index.eip_for(target, interface)?).map(AsRef::as_ref)
    }

    /// Whether DNS answers on an interface.
    #[must_use]
    pub fn serves_dns_on(&self, interface: &Id) -> bool {
        let named =
            |dns: &Dns| dns.settings.interfaces.as_ref().is_none_or(|named| named.contains(interface));
        self.dns().is_some_and(named) && self.layout.zone(interface).is_some_and(Zone::has_guests)
    }

    /// A port forward on this public address.
    #[must_use]
    pub fn port_forward_on(&self, address: Ipv4Addr) -> Option<&Id> {
        self.index.port_forward_on(address)
    }
}

fn claimants<'a>(parts: &'a Parts, no_records: &'a Collection<super::dns::Record>) -> Claimants<'a> {
    Claimants {
        eips: &parts.eips,
        port_forwards: &parts.port_forwards,
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

fn refuse(member: &str, value: &Value, faults: &mut Faults) {
    let at = Pointer::root().key(member);
    match value {
        Value::Null => {}
        Value::Object(objects) if objects.is_empty() => {}
        Value::Object(objects) => {
            for id in objects.keys() {
                faults.add(
                    at.key(id),
                    Rule::Unsupported,
                    format!("`{member}` is not built into this version"),
                );
            }
        }
        _ => faults.add(at, Rule::Unsupported, format!("`{member}` is not built into this version")),
    }
}

/// The smallest document: a router with nothing configured.
#[must_use]
pub fn empty_document() -> Value {
    Value::Object(Map::from_iter([("version".to_owned(), wire::VERSION.into())]))
}
