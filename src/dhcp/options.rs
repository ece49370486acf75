//! What a network tells its clients: the options that its settings, and a host's, come to.
//!
//! Derived options give way to those that the network's settings name, and these to the host's. Every value is kept as
//! it travels, with its code and length before it and split where it is long (RFC 3396), so that answering a client is
//! copying. Called by the snapshot for each network and by the reply for hosts that have options of their own.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::config::dhcp::{NetworkSettings, Options, StaticRoute};

/// Option codes that are told from others here (RFC 2132, RFC 3442; 249 is Microsoft's name for 121).
const ROUTERS: u8 = 3;
const DNS_SERVERS: u8 = 6;
pub(super) const HOSTNAME: u8 = 12;
const DOMAIN: u8 = 15;
const MTU: u8 = 26;
const BROADCAST_ADDRESS: u8 = 28;
pub(super) const TFTP_SERVER: u8 = 66;
pub(super) const BOOT_FILE: u8 = 67;
const CLASSLESS_ROUTES: u8 = 121;
const TFTP_ADDRESSES: u8 = 150;
const CLASSLESS_ROUTES_MICROSOFT: u8 = 249;

/// What is known of a network besides its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Surroundings {
    /// The network.
    pub(super) subnet: Ipv4Net,
    /// The router's address, which is the server's.
    pub(super) server: Ipv4Addr,
    /// Whether the router is in the network itself, so that it can be its gateway.
    pub(super) on_link: bool,
    /// Whether the router answers DNS there.
    pub(super) dns: bool,
    /// The MTU, where clients should be told.
    pub(super) mtu: Option<u16>,
}

/// Options ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OptionSet {
    encoded: BTreeMap<u8, Box<[u8]>>,
    /// Where and what to boot from, for the header.
    pub(super) boot: Option<Boot>,
}

/// What the header says of booting (RFC 2131 section 2): what does not fit a field is left to its option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Boot {
    /// `siaddr`.
    pub(super) server: Ipv4Addr,
    /// `sname`, shorter than 64 octets.
    pub(super) server_name: Box<[u8]>,
    /// `file`, shorter than 128 octets.
    pub(super) file: Box<[u8]>,
}

impl OptionSet {
    /// The options for clients whose main network this is, or is not, and that have these options of their own.
    pub(super) fn new(settings: &NetworkSettings, around: &Surroundings, main: bool, own: &Options) -> Self {
        let mut values = derived(settings, around);
        values.extend(settings.options.iter().map(|(code, value)| (*code, value.octets())));
        if !main {
            // Its main network is another, and so is its way out.
            values.remove(&ROUTERS);
            values.remove(&DNS_SERVERS);
            for code in [CLASSLESS_ROUTES, CLASSLESS_ROUTES_MICROSOFT] {
                if let Some(routes) = values.get_mut(&code) {
                    *routes = without_default(routes);
                }
            }
        }
        values.extend(own.iter().map(|(code, value)| (*code, value.octets())));
        if !values.contains_key(&CLASSLESS_ROUTES) {
            let routes = classless_routes(settings, router(&values), main);
            if !routes.is_empty() {
                values.insert(CLASSLESS_ROUTES, routes);
            }
        }
        if let Some(routes) = values.get(&CLASSLESS_ROUTES).cloned() {
            values.entry(CLASSLESS_ROUTES_MICROSOFT).or_insert(routes);
        }
        let boot = boot(&values, around.server);
        Self { encoded: values.iter().map(|(code, value)| (*code, encoded(*code, value))).collect(), boot }
    }

    /// An option with its code and length.
    pub(super) fn get(&self, code: u8) -> Option<&[u8]> {
        self.encoded.get(&code).map(AsRef::as_ref)
    }

    /// What a client gets that does not say what it wants: everything that every client understands.
    pub(super) fn codes(&self) -> impl Iterator<Item = u8> {
        self.encoded.keys().copied().filter(|code| *code != CLASSLESS_ROUTES_MICROSOFT)
    }
}

/// Appends an option as it travels, in several instances where it is longer than 255 octets (RFC 3396).
pub(super) fn encode(code: u8, value: &[u8], octets: &mut Vec<u8>) {
    if value.is_empty() {
        octets.extend([code, 0]);
    }
    for instance in value.chunks(usize::from(u8::MAX)) {
        octets.extend([code, u8::try_from(instance.len()).unwrap_or(u8::MAX)]);
        octets.extend_from_slice(instance);
    }
}

/// How many octets an option is as it travels.
pub(super) const fn encoded_length(value: &[u8]) -> usize {
    let instances = if value.is_empty() { 1 } else { value.len().div_ceil(255) };
    value.len() + 2 * instances
}

fn encoded(code: u8, value: &[u8]) -> Box<[u8]> {
    let mut octets = Vec::with_capacity(encoded_length(value));
    encode(code, value, &mut octets);
    octets.into()
}

fn derived(settings: &NetworkSettings, around: &Surroundings) -> BTreeMap<u8, Vec<u8>> {
    let mut values = BTreeMap::new();
    let gateway = settings.gateway.map(Ipv4Addr::from).or_else(|| around.on_link.then_some(around.server));
    if let Some(gateway) = gateway {
        values.insert(ROUTERS, gateway.octets().to_vec());
    }
    let dns: Vec<u8> = match &settings.dns_servers {
        Some(servers) => servers.iter().flat_map(|server| server.get().octets()).collect(),
        None if around.dns => around.server.octets().to_vec(),
        None => Vec::new(),
    };
    if !dns.is_empty() {
        values.insert(DNS_SERVERS, dns);
    }
    if let Some(domain) = &settings.domain {
        values.insert(DOMAIN, domain.as_str().as_bytes().to_vec());
    }
    if let Some(mtu) = around.mtu {
        values.insert(MTU, mtu.to_be_bytes().to_vec());
    }
    if around.subnet.prefix_len() < 31 {
        values.insert(BROADCAST_ADDRESS, around.subnet.broadcast().octets().to_vec());
    }
    values
}

/// The first router of option 3.
fn router(values: &BTreeMap<u8, Vec<u8>>) -> Option<Ipv4Addr> {
    values.get(&ROUTERS)?.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets))
}

/// The static routes, and the default route with them: whoever knows option 121 looks at option 3 no more (RFC 3442).
fn classless_routes(settings: &NetworkSettings, router: Option<Ipv4Addr>, main: bool) -> Vec<u8> {
    let is_default = |route: &&StaticRoute| route.destination.net().prefix_len() == 0;
    let own = settings.static_routes.iter().filter(|route| main || !is_default(route));
    let mut octets: Vec<u8> =
        own.flat_map(|route| classless_route(route.destination.net(), route.via.get())).collect();
    let says_default = settings.static_routes.iter().any(|route| is_default(&route));
    if let Some(router) = router.filter(|_| !octets.is_empty() && !says_default) {
        octets.extend(classless_route(Ipv4Net::default(), router));
    }
    octets
}

fn classless_route(destination: Ipv4Net, via: Ipv4Addr) -> impl Iterator<Item = u8> {
    let length = destination.prefix_len();
    let significant = usize::from(length.div_ceil(8));
    [length]
        .into_iter()
        .chain(destination.network().octets().into_iter().take(significant))
        .chain(via.octets())
}

/// Classless routes as they were, but for default routes; what is no list of routes is left alone.
fn without_default(routes: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(routes.len());
    let mut rest = routes;
    while let [length, ..] = rest {
        let Some((route, next)) = rest.split_at_checked(1 + usize::from(length.div_ceil(8)) + 4) else {
            return routes.to_vec();
        };
        if *length > 0 {
            kept.extend_from_slice(route);
        }
        rest = next;
    }
    kept
}

/// The header's fields from options 66, 67 and 150. A boot file without a server is the router's own affair, as it is
/// with the servers that this one takes the place of.
fn boot(values: &BTreeMap<u8, Vec<u8>>, own: Ipv4Addr) -> Option<Boot> {
    let name = values.get(&TFTP_SERVER);
    let file = values.get(&BOOT_FILE);
    let by_name = || std::str::from_utf8(name?).ok()?.trim_end_matches('\0').parse().ok();
    let by_address = || values.get(&TFTP_ADDRESSES)?.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets));
    let server = by_name().or_else(by_address);
    let field = |value: Option<&Vec<u8>>, size: usize| -> Box<[u8]> {
        value.filter(|value| value.len() < size).map(|value| value.as_slice().into()).unwrap_or_default()
    };
    if name.is_none() && file.is_none() && server.is_none() {
        return None;
    }
    let server = server.unwrap_or(if name.is_none() { own } else { Ipv4Addr::UNSPECIFIED });
    Some(Boot { server, server_name: field(name, 64), file: field(file, 128) })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::dhcp::testing::{World, asking, discover};

    /// The value of an option that a host gets: the first is a plain one, the second has its main network elsewhere.
    fn option(patch: Value, host: u8, code: u8) -> Option<Vec<u8>> {
        let mut world = World::with(patch);
        let offer = world.answer(&asking(discover(host), &[code]));
        let options = dhcproto::v4::borrowed::DhcpOptionIterator::new(&offer.reply.message[240..]);
        options
            .into_iter()
            .find(|option| u8::from(option.code()) == code)
            .map(|option| option.data().to_vec())
    }

    fn settings(settings: Value) -> Value {
        json!({"dhcp": {"guest": settings}})
    }

    #[test]
    fn router_and_dns_are_the_router_unless_something_else_is_said() {
        assert_eq!(option(json!({}), 0x20, 3), Some(vec![10, 1, 1, 1]));
        assert_eq!(option(settings(json!({"gateway": "10.1.1.9"})), 0x20, 3), Some(vec![10, 1, 1, 9]));
        let options = json!({"gateway": "10.1.1.9", "options": {"3": {"addresses": ["10.1.1.8"]}}});
        assert_eq!(option(settings(options), 0x20, 3), Some(vec![10, 1, 1, 8]));
        assert_eq!(option(json!({}), 0x20, 6), Some(vec![10, 1, 1, 1]));
        assert_eq!(option(json!({"dns": null}), 0x20, 6), None);
        assert_eq!(option(json!({"dns": {"interfaces": []}}), 0x20, 6), None);
        assert_eq!(option(settings(json!({"dns_servers": ["9.9.9.9"]})), 0x20, 6), Some(vec![9, 9, 9, 9]));
        assert_eq!(option(settings(json!({"dns_servers": []})), 0x20, 6), None);
    }

    #[test]
    fn a_host_of_another_main_network_gets_no_way_out() {
        let routes = json!({"static_routes": [{"destination": "10.9.0.0/16", "via": "10.1.1.254"},
                                              {"destination": "0.0.0.0/0", "via": "10.1.1.253"}]});
        for code in [3, 6] {
            assert_eq!(option(json!({}), 0x21, code), None);
            let explicit = json!({"options": {code.to_string(): {"addresses": ["10.1.1.8"]}}});
            assert_eq!(option(settings(explicit), 0x21, code), None, "a network's option is no host's wish");
        }
        assert_eq!(option(settings(routes), 0x21, 121), Some(vec![16, 10, 9, 10, 1, 1, 254]));
        let explicit = json!({"options": {"121": {"hex": "00 0a010101 08 0a 0a0101fe"}}});
        assert_eq!(option(settings(explicit.clone()), 0x21, 121), Some(vec![8, 10, 10, 1, 1, 254]));
        assert_eq!(option(settings(explicit), 0x20, 121), Some(vec![0, 10, 1, 1, 1, 8, 10, 10, 1, 1, 254]));
        let own = json!({"hosts": {"web2": {"options": {"3": {"addresses": ["10.1.1.7"]}}}}});
        assert_eq!(option(settings(own), 0x21, 3), Some(vec![10, 1, 1, 7]));
    }

    #[test]
    fn classless_routes_carry_the_default_route() {
        let routes = json!({"static_routes": [{"destination": "10.9.1.0/24", "via": "10.1.1.254"}]});
        let expected = vec![24, 10, 9, 1, 10, 1, 1, 254, 0, 10, 1, 1, 1];
        assert_eq!(option(settings(routes.clone()), 0x20, 121), Some(expected.clone()));
        assert_eq!(option(settings(routes), 0x20, 249), Some(expected));
        assert_eq!(option(json!({}), 0x20, 121), None);
        let own = json!({"static_routes": [{"destination": "10.9.1.0/24", "via": "10.1.1.254"}],
                         "hosts": {"web1": {"options": {"3": {"addresses": ["10.1.1.7"]}}}}});
        assert_eq!(option(settings(own), 0x20, 121), Some(vec![24, 10, 9, 1, 10, 1, 1, 254, 0, 10, 1, 1, 7]));
    }

    #[test]
    fn the_mtu_is_said_where_it_is_not_what_everybody_has() {
        assert_eq!(option(json!({}), 0x20, 26), None);
        assert_eq!(option(json!({"interfaces": {"guest": {"mtu": 1450}}}), 0x20, 26), Some(vec![5, 170]));
        assert_eq!(option(settings(json!({"mtu": 9000})), 0x20, 26), Some(9000u16.to_be_bytes().to_vec()));
    }

    #[test]
    fn a_hosts_options_win_over_its_networks() {
        let both = json!({"options": {"42": {"addresses": ["10.1.1.8"]}, "15": {"text": "net.example"}},
                          "hosts": {"web1": {"options": {"42": {"addresses": ["10.1.1.7"]}, "12": {"text": "other"}}}}});
        assert_eq!(option(settings(both.clone()), 0x20, 42), Some(vec![10, 1, 1, 7]));
        assert_eq!(option(settings(both.clone()), 0x20, 15), Some(b"net.example".to_vec()));
        assert_eq!(option(settings(both.clone()), 0x20, 12), Some(b"other".to_vec()));
        assert_eq!(option(settings(both), 0x21, 42), Some(vec![10, 1, 1, 8]));
    }

    #[test]
    fn numbers_that_the_codec_confuses_are_kept() {
        let options = json!({"options": {"37": {"u8": 64}, "108": {"u32": 300}, "80": {"hex": ""}}});
        assert_eq!(option(settings(options.clone()), 0x20, 37), Some(vec![64]));
        assert_eq!(option(settings(options.clone()), 0x20, 108), Some(vec![0, 0, 1, 44]));
        assert_eq!(option(settings(options), 0x20, 80), Some(vec![]));
    }
}
