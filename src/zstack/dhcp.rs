//! DHCP in both of its generations: entries one by one, and whole servers.
//!
//! A network has the settings of its server, or of its first entry; an entry that says something else says it for itself.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};

use super::body::{Body, set};
use super::command::Reply;
use super::draft::Draft;
use super::{Facts, Refusal, dns, nic};
use crate::config::MacAddress;
use crate::config::name::{DomainName, Hostname};

/// `/adddhcp`: adds entries, or with `rebuild` states all there are.
pub(super) fn add(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    if body.flag("rebuild").unwrap_or(false) {
        draft.retain(&["dhcp"], |_, _| false);
    }
    let mut networks: BTreeMap<String, Taken> = BTreeMap::new();
    for entry in body.list("dhcpEntries")? {
        let interface = draft.interface(entry.mac("vrNicMac")?)?;
        let taken = networks.entry(interface.clone()).or_insert_with(|| Taken::of(draft, &interface));
        put(entry, &interface, draft, taken)?;
    }
    Ok(Reply::new())
}

/// `/removedhcp`
pub(super) fn remove(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    for entry in body.list("dhcpEntries")? {
        let mac = entry.mac("mac")?;
        let networks: Vec<String> = match entry.text("vrNicMac") {
            Some(_) => draft.find_interface(entry.mac("vrNicMac")?).into_iter().collect(),
            None => draft.entries(&["dhcp"]).map(|(id, _)| id.to_owned()).collect(),
        };
        for network in networks {
            draft.remove(&["dhcp", &network, "hosts"], &nic::id(mac));
        }
    }
    Ok(Reply::new())
}

/// `/refreshDhcpServer`: the servers that are listed are all there are.
pub(super) fn refresh_servers(body: Body<'_>, draft: &mut Draft, facts: &Facts) -> Result<Reply, Refusal> {
    draft.retain(&["dhcp"], |_, _| false);
    start_servers(body, draft, facts)
}

/// `/startDhcpServer`: servers that come, or are others now, with all their entries.
pub(super) fn start_servers(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    for server in body.list("dhcpServers")? {
        let interface = draft.interface(server.mac("nicMac")?)?;
        let said = Settings {
            gateway: server.address("gateway")?,
            dns: servers(server.text("dnsServer").unwrap_or_default().split(','))?,
            domain: domain(server.text("dnsDomain"))?,
            mtu: mtu(server)?,
        };
        open(&interface, &said, draft);
        let mut taken = Taken::default();
        for entry in server.list("dhcpInfos")? {
            put(entry, &interface, draft, &mut taken)?;
        }
    }
    Ok(Reply::new())
}

/// `/stopDhcpServer`
pub(super) fn stop_servers(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    for server in body.list("dhcpServers")? {
        if let Some(interface) = draft.find_interface(server.mac("nicMac")?) {
            draft.remove(&["dhcp"], &interface);
        }
    }
    Ok(Reply::new())
}

/// Serves a network: those whom it serves are guests, whatever else the NIC is for.
fn open(interface: &str, settings: &Settings, draft: &mut Draft) {
    draft.give_role(interface, "guest");
    draft.put(&["dhcp"], interface, settings.network(interface));
    dns::answer_on(interface, draft);
}

/// What a client is told beside its address.
#[derive(Debug, PartialEq)]
struct Settings {
    gateway: Option<Ipv4Addr>,
    dns: Vec<Ipv4Addr>,
    domain: Option<String>,
    mtu: Option<u64>,
}

impl Settings {
    /// A network of an interface with these settings and no hosts.
    fn network(&self, interface: &str) -> Value {
        let mut network = Map::new();
        network.insert("interface".to_owned(), interface.into());
        let texts = |addresses: &[Ipv4Addr]| -> Value {
            addresses.iter().map(|address| Value::from(address.to_string())).collect()
        };
        if let Some(gateway) = self.gateway {
            network.insert("gateway".to_owned(), gateway.to_string().into());
        }
        if !self.dns.is_empty() {
            network.insert("dns_servers".to_owned(), texts(&self.dns));
        }
        if let Some(domain) = &self.domain {
            network.insert("domain".to_owned(), domain.as_str().into());
        }
        if let Some(mtu) = self.mtu {
            network.insert("mtu".to_owned(), mtu.into());
        }
        Value::Object(network)
    }

    /// The settings of a network as it stands.
    fn of(network: &Value) -> Self {
        let text = |name: &str| network.get(name).and_then(Value::as_str);
        let dns = network.get("dns_servers").and_then(Value::as_array);
        Self {
            gateway: text("gateway").and_then(|text| text.parse().ok()),
            dns: dns.into_iter().flatten().filter_map(|text| text.as_str()?.parse().ok()).collect(),
            domain: text("domain").map(str::to_owned),
            mtu: network.get("mtu").and_then(Value::as_u64),
        }
    }

    /// The options by which one host differs from its network. What it does not say, it takes from there.
    fn options(&self, network: &Self, is_main: bool) -> Map<String, Value> {
        let mut options = Map::new();
        if is_main && let Some(gateway) = self.gateway.filter(|gateway| Some(*gateway) != network.gateway) {
            options.insert("3".to_owned(), json!({ "addresses": [gateway.to_string()] }));
        }
        if is_main && !self.dns.is_empty() && self.dns != network.dns {
            let servers: Vec<String> = self.dns.iter().map(Ipv4Addr::to_string).collect();
            options.insert("6".to_owned(), json!({ "addresses": servers }));
        }
        if let Some(domain) = self.domain.as_ref().filter(|domain| Some(*domain) != network.domain.as_ref()) {
            options.insert("15".to_owned(), json!({ "text": domain }));
        }
        if let Some(mtu) = self.mtu.filter(|mtu| Some(*mtu) != network.mtu) {
            options.insert("26".to_owned(), json!({ "u16": mtu }));
        }
        options
    }
}

/// What the hosts of a network have: which of them an address, and how many a name.
#[derive(Debug, Default)]
struct Taken {
    addresses: BTreeMap<String, String>,
    names: BTreeMap<String, usize>,
}

impl Taken {
    fn of(draft: &Draft, network: &str) -> Self {
        let mut taken = Self::default();
        for (id, host) in draft.entries(&["dhcp", network, "hosts"]) {
            taken.add(id, host);
        }
        taken
    }

    fn add(&mut self, id: &str, host: &Value) {
        if let Some(ip) = host.get("ip").and_then(Value::as_str) {
            self.addresses.insert(ip.to_owned(), id.to_owned());
        }
        if let Some(name) = host.get("hostname").and_then(Value::as_str) {
            *self.names.entry(name.to_owned()).or_default() += 1;
        }
    }

    fn remove(&mut self, host: &Value) {
        if let Some(ip) = host.get("ip").and_then(Value::as_str) {
            self.addresses.remove(ip);
        }
        let name = host.get("hostname").and_then(Value::as_str);
        if let Some(count) = name.and_then(|name| self.names.get_mut(name)) {
            *count = count.saturating_sub(1);
        }
    }

    fn has_name(&self, name: &str) -> bool {
        self.names.get(name).is_some_and(|count| *count > 0)
    }
}

/// Puts an entry into its network, in the place of those that have its MAC or its address.
fn put(entry: Body<'_>, interface: &str, draft: &mut Draft, taken: &mut Taken) -> Result<(), Refusal> {
    let (mac, ip) = (entry.mac("mac")?, entry.needed_address("ip")?);
    let is_main = entry.flag("isDefaultL3Network").unwrap_or(false);
    let (label, rest) = split(entry.text("hostname"));
    let said = Settings {
        gateway: entry.address("gateway")?,
        dns: servers(entry.texts("dns")?.into_iter())?,
        domain: domain(rest.or(entry.text("dnsDomain")))?,
        mtu: mtu(entry)?,
    };
    if draft.at(&["dhcp", interface]).is_none() {
        let usual = Settings { domain: domain(entry.text("dnsDomain"))?, ..said };
        open(interface, &usual, draft);
        return put(entry, interface, draft, taken);
    }
    let (id, ip_text) = (nic::id(mac), ip.to_string());
    let path = ["dhcp", interface, "hosts"];
    for before in [taken.addresses.get(&ip_text).cloned(), Some(id.clone())].into_iter().flatten() {
        if let Some(host) = draft.remove(&path, &before) {
            taken.remove(&host);
        }
    }
    let network =
        draft.at(&["dhcp", interface]).map(Settings::of).unwrap_or_else(|| Settings::of(&Value::Null));
    let mut options = said.options(&network, is_main);
    let mut host = json!({ "mac": mac.to_string(), "ip": ip_text });
    if is_main {
        match name(label, mac, ip, taken) {
            Ok(hostname) => set(&mut host, "hostname", hostname),
            // A name that no host can have is told to the client, who may know better, and to nobody else.
            Err(text) => {
                options.insert("12".to_owned(), json!({ "text": text }));
            }
        }
    } else {
        set(&mut host, "gateway", false);
        options.remove("15");
    }
    if !options.is_empty() {
        set(&mut host, "options", Value::Object(options));
    }
    taken.add(&id, &host);
    draft.put(&path, &id, host);
    Ok(())
}

/// The name of a host: as it is said, else its address with hyphens; with its MAC too where another has that name.
fn name(label: Option<&str>, mac: MacAddress, ip: Ipv4Addr, taken: &Taken) -> Result<String, String> {
    let dashes = ip.to_string().replace('.', "-");
    let wanted = match label {
        Some(label) => {
            label.parse::<Hostname>().map(|name| name.to_string()).map_err(|_| label.to_owned())?
        }
        None => dashes.clone(),
    };
    Ok(if taken.has_name(&wanted) {
        format!("{dashes}-{}", mac.to_string().replace(':', ""))
    } else {
        wanted
    })
}

/// A host's label and the domain behind it.
fn split(hostname: Option<&str>) -> (Option<&str>, Option<&str>) {
    match hostname.map(|name| name.split_once('.').unwrap_or((name, ""))) {
        Some((label, domain)) => (Some(label), Some(domain).filter(|domain| !domain.is_empty())),
        None => (None, None),
    }
}

fn servers<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<Ipv4Addr>, Refusal> {
    let texts = texts.map(str::trim).filter(|text| !text.is_empty());
    texts.map(super::body::address).collect()
}

fn domain(text: Option<&str>) -> Result<Option<String>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let domain = text.parse::<DomainName>();
    domain.map(|domain| Some(domain.to_string())).map_err(|error| Refusal::Invalid(error.to_string()))
}

fn mtu(body: Body<'_>) -> Result<Option<u64>, Refusal> {
    Ok(body.number("mtu")?.filter(|mtu| *mtu > 0))
}
