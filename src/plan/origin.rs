//! Which object of the configuration a rule or an element of our table is there for, and what its chains decide.
//!
//! The other way round than lowering: names, comments and keys back to ids. Called by the trace.

use super::facts::{Key, Name, Rule};
use super::names;
use crate::config::firewall::Direction;
use crate::config::port_forward::Transport;
use crate::config::{Config, Id, Pointer, PortOwner};

/// An object of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// An interface.
    Interface(Id),
    /// A static route.
    Route(Id),
    /// A DHCP network.
    Dhcp(Id),
    /// The DNS service.
    Dns,
    /// SSH.
    Ssh,
    /// A source translation.
    Snat(Id),
    /// An EIP.
    Eip(Id),
    /// A port forward.
    PortForward(Id),
    /// A firewall rule.
    FirewallRule(Id),
    /// What becomes of traffic that no rule decides.
    FirewallDefault(Direction),
    /// A load balancer.
    LoadBalancer(Id),
    /// The bandwidth of a public address.
    Qos(Id),
}

impl Origin {
    /// The kind of the object, as the trace names it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Interface(_) => "interface",
            Self::Route(_) => "route",
            Self::Dhcp(_) => "dhcp",
            Self::Dns => "dns",
            Self::Ssh => "ssh",
            Self::Snat(_) => "snat",
            Self::Eip(_) => "eip",
            Self::PortForward(_) => "port_forward",
            Self::FirewallRule(_) => "firewall_rule",
            Self::FirewallDefault(_) => "firewall_default",
            Self::LoadBalancer(_) => "load_balancer",
            Self::Qos(_) => "qos",
        }
    }

    /// The kind in words of a sentence.
    #[must_use]
    pub const fn noun(&self) -> &'static str {
        match self {
            Self::Interface(_) => "interface",
            Self::Route(_) => "route",
            Self::Dhcp(_) => "DHCP network",
            Self::Dns => "DNS",
            Self::Ssh => "SSH",
            Self::Snat(_) => "source translation",
            Self::Eip(_) => "EIP",
            Self::PortForward(_) => "port forward",
            Self::FirewallRule(_) => "firewall rule",
            Self::FirewallDefault(_) => "the firewall's default",
            Self::LoadBalancer(_) => "load balancer",
            Self::Qos(_) => "bandwidth",
        }
    }

    /// The object's id, where it has one.
    #[must_use]
    pub const fn id(&self) -> Option<&Id> {
        match self {
            Self::Interface(id)
            | Self::Route(id)
            | Self::Dhcp(id)
            | Self::Snat(id)
            | Self::Eip(id)
            | Self::PortForward(id)
            | Self::FirewallRule(id)
            | Self::LoadBalancer(id)
            | Self::Qos(id) => Some(id),
            Self::Dns | Self::Ssh | Self::FirewallDefault(_) => None,
        }
    }

    /// Where the object is in the document.
    #[must_use]
    pub fn pointer(&self) -> Pointer {
        let of = |collection: &str, id: &Id| Pointer::root().key(collection).key(id.as_str());
        match self {
            Self::Interface(id) => of("interfaces", id),
            Self::Route(id) => of("routes", id),
            Self::Dhcp(id) => of("dhcp", id),
            Self::Dns => Pointer::root().key("dns"),
            Self::Ssh => Pointer::root().key("ssh"),
            Self::Snat(id) => of("snat", id),
            Self::Eip(id) => of("eips", id),
            Self::PortForward(id) => of("port_forwards", id),
            Self::FirewallRule(id) => Pointer::root().key("firewall").key("rules").key(id.as_str()),
            Self::FirewallDefault(direction) => {
                Pointer::root().key("firewall").key("defaults").key(match direction {
                    Direction::Egress => "egress",
                    Direction::Ingress => "ingress",
                    Direction::BetweenGuests => "between_guests",
                })
            }
            Self::LoadBalancer(id) => of("load_balancers", id),
            Self::Qos(id) => of("qos", id),
        }
    }
}

impl From<PortOwner<'_>> for Origin {
    fn from(owner: PortOwner<'_>) -> Self {
        match owner {
            PortOwner::PortForward(id) => Self::PortForward(id.clone()),
            PortOwner::LoadBalancer(id) => Self::LoadBalancer(id.clone()),
        }
    }
}

/// What a chain of our table decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Which way out a connection has.
    Way,
    /// Where a packet goes instead.
    DestinationNat,
    /// The same for ports that not everybody may use.
    LimitedDestinationNat,
    /// Which backend of a balancer a packet goes to instead.
    Balancer,
    /// Which source a packet leaves under.
    SourceNat,
    /// How large segments are.
    Mss,
    /// How much comes in for a public address, or goes out from it.
    Bandwidth,
    /// What goes through: from which side to which.
    Forward,
    /// What comes from guests.
    FromGuest,
    /// What comes from the public side.
    FromPublic,
    /// What was translated: whether it goes to a guest.
    Translated,
    /// What was translated and does go to a guest.
    TranslatedToGuest,
    /// What a firewall rule or default of this direction says.
    Firewall(Direction),
    /// What comes to the router itself.
    Input,
    /// What comes to a balancer that the router serves.
    BalancedInput,
    /// The same for ports that not everybody may use.
    LimitedBalancedInput,
    /// What the router sends.
    Output,
}

/// What a chain decides; nothing where it is none of ours.
#[must_use]
pub fn purpose(chain: &Name) -> Option<Purpose> {
    Some(match chain.as_str() {
        names::MARK | names::MARK_GUEST => Purpose::Way,
        names::DNAT | names::DNAT_FORWARD => Purpose::DestinationNat,
        names::DNAT_LIMITED => Purpose::LimitedDestinationNat,
        names::SNAT => Purpose::SourceNat,
        names::MSS => Purpose::Mss,
        names::FORWARD => Purpose::Forward,
        names::FROM_GUEST => Purpose::FromGuest,
        names::TRANSLATED => Purpose::Translated,
        names::TRANSLATED_TO_GUEST => Purpose::TranslatedToGuest,
        names::EGRESS => Purpose::Firewall(Direction::Egress),
        names::BETWEEN_GUESTS => Purpose::Firewall(Direction::BetweenGuests),
        names::INPUT => Purpose::Input,
        names::BALANCED_INPUT => Purpose::BalancedInput,
        names::BALANCED_INPUT_LIMITED => Purpose::LimitedBalancedInput,
        names::OUTPUT | names::MARK_OUTPUT => Purpose::Output,
        name if name.starts_with(names::QOS_INGRESS) || name.starts_with(names::QOS_EGRESS) => {
            Purpose::Bandwidth
        }
        name if name.starts_with(names::FROM_PUBLIC) => Purpose::FromPublic,
        name if name.starts_with(names::INGRESS) => Purpose::Firewall(Direction::Ingress),
        name if name.starts_with(names::BALANCER) => Purpose::Balancer,
        _ => return None,
    })
}

/// The object that a rule says it is there for.
#[must_use]
pub fn of_rule(chain: &Name, rule: &Rule) -> Option<Origin> {
    let comment = rule.comment()?;
    if comment == "default" {
        return match purpose(chain)? {
            Purpose::Firewall(direction) => Some(Origin::FirewallDefault(direction)),
            _ => None,
        };
    }
    let (noun, id) = comment.rsplit_once(' ')?;
    let id: Id = id.parse().ok()?;
    Some(match noun {
        "rule" => Origin::FirewallRule(id),
        "snat" => Origin::Snat(id),
        "isolated" => Origin::Interface(id),
        "load balancer" => Origin::LoadBalancer(id),
        "qos" => Origin::Qos(id),
        _ => return None,
    })
}

/// The object that an element of a set is there for.
#[must_use]
pub fn of_element(config: &Config, set: &Name, key: &Key) -> Option<Origin> {
    match (set.as_str(), key) {
        (names::EIPS | names::EIP_INGRESS, Key::Address(address)) => {
            config.eip_id(*address).cloned().map(Origin::Eip)
        }
        (names::STEERED, Key::Address(guest)) => {
            // The first public interface that has an EIP of the guest is the one that it leaves by.
            let mut public = config.layout().public().iter();
            let eip = public.find_map(|interface| config.eip_id_by_target(*guest, interface));
            eip.cloned().map(Origin::Eip)
        }
        (name, Key::Address(guest)) => {
            let interface: Id = name.strip_prefix(names::EIP_SOURCES)?.parse().ok()?;
            config.eip_id_by_target(*guest, &interface).cloned().map(Origin::Eip)
        }
        (
            _,
            Key::Endpoint(address, protocol, port)
            | Key::EndpointRange(address, protocol, port, _)
            | Key::SourcedEndpointRange(_, _, address, protocol, port, _),
        ) => {
            let transport = match protocol {
                6 => Transport::Tcp,
                17 => Transport::Udp,
                _ => return None,
            };
            config.port_owner(*address, transport, *port).map(Origin::from)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::plan::facts::{Capabilities, Device, Link};
    use crate::plan::{Surroundings, Target, find_links, lower};

    const EXAMPLE: &str = include_str!("../../tests/examples/router.json");

    /// Every comment and every element of the example's table names an object that is in the document, and every chain
    /// is there for something.
    #[test]
    fn everything_in_the_table_is_there_for_something() {
        let document: Value = serde_json::from_str(EXAMPLE).unwrap();
        let config = Config::default().replace(document.clone()).unwrap();
        let links: Vec<Link> = (1..4_u8)
            .map(|number| Link {
                mac: Some([0x52, 0x54, 0, 0, 0, number]),
                ..Link::ethernet(Device { index: number.into(), name: format!("eth{number}").into() })
            })
            .collect();
        let capabilities = Capabilities { balancing: true, stickiness: true, ..Capabilities::default() };
        let surroundings = Surroundings {
            links: find_links(config.interfaces(), links.iter()),
            capabilities,
            management_ports: [7270].into(),
            conntrack_max: 1000,
            just_started: false,
        };
        let target =
            Target { config, surroundings: surroundings.into(), availability: std::sync::Arc::default() };
        let ruleset = lower(&target, None).ruleset.unwrap();
        let is_there = |origin: Origin| {
            let pointer = origin.pointer();
            let default = matches!(origin, Origin::FirewallDefault(_));
            assert!(default || document.pointer(pointer.as_str()).is_some(), "{pointer}");
        };
        let mut found = 0;
        for (name, chain) in &ruleset.chains {
            assert!(purpose(name).is_some(), "{name}");
            for rule in chain.rules.iter().filter(|rule| rule.comment() != Some("hairpin")) {
                let origin = of_rule(name, rule);
                assert_eq!(origin.is_some(), rule.comment().is_some(), "{name}: {rule}");
                found += origin.map(is_there).iter().len();
            }
        }
        for (name, set) in &ruleset.sets {
            for key in set.elements.keys() {
                found += of_element(&target.config, name, key).map(is_there).iter().len();
            }
        }
        assert!(found > 10, "{found}");
    }
}
