//! Zones that never leave the site: answered here, whoever is asked for the rest.

/// The zones of the IANA registry of locally-served DNS zones, and names that are never asked for upstream.
///
/// A conditional forwarder for one of them, or for a name below it, wins.
pub(super) const LOCAL_ZONES: &[&str] = &[
    // RFC 6303 section 4.1: addresses of private use (RFC 1918).
    "10.in-addr.arpa",
    "16.172.in-addr.arpa",
    "17.172.in-addr.arpa",
    "18.172.in-addr.arpa",
    "19.172.in-addr.arpa",
    "20.172.in-addr.arpa",
    "21.172.in-addr.arpa",
    "22.172.in-addr.arpa",
    "23.172.in-addr.arpa",
    "24.172.in-addr.arpa",
    "25.172.in-addr.arpa",
    "26.172.in-addr.arpa",
    "27.172.in-addr.arpa",
    "28.172.in-addr.arpa",
    "29.172.in-addr.arpa",
    "30.172.in-addr.arpa",
    "31.172.in-addr.arpa",
    "168.192.in-addr.arpa",
    // RFC 6303 section 4.2: this host, loopback, link-local, examples, broadcast.
    "0.in-addr.arpa",
    "127.in-addr.arpa",
    "254.169.in-addr.arpa",
    "2.0.192.in-addr.arpa",
    "100.51.198.in-addr.arpa",
    "113.0.203.in-addr.arpa",
    "255.255.255.255.in-addr.arpa",
    // RFC 6303 sections 4.3 to 4.6: the same of IPv6.
    "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
    "d.f.ip6.arpa",
    "8.e.f.ip6.arpa",
    "9.e.f.ip6.arpa",
    "a.e.f.ip6.arpa",
    "b.e.f.ip6.arpa",
    "8.b.d.0.1.0.0.2.ip6.arpa",
    // RFC 8375: home networks. RFC 9462 section 6.4: a resolver that others designate is not designated by us.
    "home.arpa",
    "resolver.arpa",
    // RFC 6761 sections 6.3 and 6.4, RFC 7686 section 2.
    "localhost",
    "invalid",
    "onion",
];

/// RFC 7793: the shared addresses of carriers, `100.64.0.0/10`, by their second octet.
pub(super) const SHARED_ADDRESSES: std::ops::RangeInclusive<u8> = 64..=127;

/// The name that is this very machine, with all below it (RFC 6761 section 6.3), in the form of this room.
pub(super) const LOCALHOST: &[u8] = b"\x09localhost";
