//! Why the firewall or the router's own door passes a packet or not: the object that says so, and a sentence.

use super::evaluate::{Action, Found, Judged};
use super::packet::{ICMP, Packet, TCP, UDP};
use super::places::{Cause, Places};
use super::report::Service;
use crate::config::firewall::Direction;
use crate::config::{Config, Id};
use crate::plan::facts::{Name, Statement};
use crate::plan::origin::{Origin, Purpose, of_element, of_rule, purpose};

/// Where DHCP servers and DNS listen.
const PORT_DHCP: u16 = 67;
const PORT_DNS: u16 = 53;

/// A judgement, and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) cause: Cause,
    pub(super) sentence: String,
    /// Who of the router takes the packet, if it does.
    pub(super) service: Option<Service>,
}

/// What is known where something is judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bench<'a> {
    pub(super) places: Places<'a>,
    /// The interface that the packet came in by.
    pub(super) input: &'a Id,
    /// The interface that it leaves by, as a sentence names it.
    pub(super) output: &'a str,
    /// The packet as it is by now.
    pub(super) packet: &'a Packet,
    /// What translated it.
    pub(super) translated: Option<&'a Cause>,
    /// The TCP ports of the API.
    pub(super) management_ports: &'a std::collections::BTreeSet<u16>,
}

impl Bench<'_> {
    /// Why what goes through passes or not.
    pub(super) fn forward(&self, judged: &Judged<'_>) -> Judgement {
        let origin = judged.rule.and_then(|rule| of_rule(&judged.chain, rule));
        if let Some(origin) = origin {
            return self.by_object(origin, &judged.action);
        }
        let (input, output, packet) = (self.input, self.output, self.packet);
        let of_input = || Cause::of(Origin::Interface(input.clone()));
        let (cause, sentence) = match (purpose(&judged.chain), judged.rule) {
            (Some(Purpose::FromGuest), Some(_)) => {
                (of_input(), format!("it goes from one station of `{input}` to another"))
            }
            (Some(Purpose::FromGuest), None) => {
                (of_input(), format!("nothing lets what guests of `{input}` send go to {output}"))
            }
            (Some(Purpose::FromPublic), Some(_)) => (
                of_input(),
                format!(
                    "it comes in by `{input}` and says that it is from {}, where guests are",
                    packet.source
                ),
            ),
            (Some(Purpose::FromPublic), None) => {
                (of_input(), format!("what comes in by `{input}` may go to guests alone, not to {output}"))
            }
            (Some(Purpose::TranslatedToGuest), Some(_)) => {
                let cause = self.translated.cloned().unwrap_or_default();
                let sentence = format!("{} opens what it needs", cause.name());
                (cause, sentence)
            }
            (Some(Purpose::Translated | Purpose::TranslatedToGuest), None) => {
                let cause = self.translated.cloned().unwrap_or_else(of_input);
                let guest = packet.destination;
                (cause, format!("what is translated goes to guests alone, and {guest} is on {output}"))
            }
            (Some(Purpose::Forward), Some(_)) => (of_input(), OF_NO_CONNECTION.to_owned()),
            (Some(Purpose::Forward), None) => {
                (of_input(), format!("nothing goes through the router from `{input}`"))
            }
            _ => (Cause::default(), no_rule(&judged.action)),
        };
        Judgement { cause, sentence, service: None }
    }

    /// Why the router takes what comes to it or not.
    pub(super) fn input(&self, judged: &Judged<'_>) -> Judgement {
        if let Some(origin) = judged.rule.and_then(|rule| of_rule(&judged.chain, rule)) {
            let service = (judged.action == Action::Accept).then(|| self.service().0);
            return Judgement { service, ..self.by_object(origin, &judged.action) };
        }
        let (input, packet) = (self.input, self.packet);
        let of_input = || Cause::of(Origin::Interface(input.clone()));
        let balancer = || last(self.places.config, &judged.trail);
        let mut service = None;
        let (cause, sentence) = match (purpose(&judged.chain), judged.rule, &judged.action) {
            (Some(Purpose::BalancedInput | Purpose::LimitedBalancedInput), Some(_), Action::Accept) => {
                service = Some(Service::LoadBalancer);
                let cause = balancer().map(Cause::of).unwrap_or_default();
                let sentence = format!("the router itself serves {}", cause.name());
                (cause, sentence)
            }
            (Some(Purpose::BalancedInput), Some(_), _) => self.source_of(balancer(), "denied_sources"),
            (Some(Purpose::LimitedBalancedInput), _, _) => self.source_of(balancer(), "allowed_sources"),
            (Some(Purpose::Input), Some(_), Action::Accept) => {
                let (found, cause) = self.service();
                service = Some(found);
                let sentence = match found {
                    Service::Router => {
                        format!(
                            "the router lets it in from `{input}`, and has nothing on {}",
                            packet.destination
                        )
                    }
                    _ => format!("the router serves this to whoever is on `{input}`"),
                };
                (cause, sentence)
            }
            (Some(Purpose::Input), Some(rule), _) if asks_for_state(rule.statements()) => {
                (of_input(), OF_NO_CONNECTION.to_owned())
            }
            (Some(Purpose::Input), Some(_), _) => {
                (of_input(), format!("guests of `{input}` reach no more than this of the router"))
            }
            (Some(Purpose::Input), None, _) => {
                let destination = packet.destination;
                (of_input(), format!("the router serves nothing of that kind on {destination} to `{input}`"))
            }
            _ => (Cause::default(), no_rule(&judged.action)),
        };
        Judgement { cause, sentence, service }
    }

    /// What an object of the configuration says.
    fn by_object(&self, origin: Origin, action: &Action) -> Judgement {
        let (accepts, does) = match action {
            Action::Drop => (false, "drops"),
            Action::Reject { .. } => (false, "rejects"),
            _ => (true, "accepts"),
        };
        let (cause, sentence) = match &origin {
            Origin::FirewallDefault(direction) => {
                let direction = match direction {
                    Direction::Egress => "egress",
                    Direction::Ingress => "ingress",
                    Direction::BetweenGuests => "between guests",
                };
                let sentence = format!("no firewall rule decides, and the default for {direction} {does} it");
                (Cause::of(origin), sentence)
            }
            Origin::Interface(id) if !accepts => {
                let sentence = format!("`{id}` is isolated: its guests reach the router alone");
                (Cause::member(origin, "isolated"), sentence)
            }
            _ => {
                let cause = Cause::of(origin);
                let sentence = format!("{} {does} it", cause.name());
                (cause, sentence)
            }
        };
        Judgement { cause, sentence, service: None }
    }

    /// A balancer whose sources do not have this one, or do.
    fn source_of(&self, balancer: Option<Origin>, member: &str) -> (Cause, String) {
        let cause = balancer.map(|origin| Cause::member(origin, member)).unwrap_or_default();
        let source = self.packet.source;
        let sentence = match member {
            "denied_sources" => format!("{} denies {source}", cause.name()),
            _ => format!("{} allows others than {source}", cause.name()),
        };
        (cause, sentence)
    }

    /// Whether SSH answers on the address and the port that the packet goes to.
    fn has_ssh(&self, port: u16) -> bool {
        let config = self.places.config;
        config.ssh().is_some_and(|ssh| ssh.port == port)
            && config.ssh_addresses().contains(&self.packet.destination)
    }

    /// Who of the router is meant by a packet that it takes.
    fn service(&self) -> (Service, Cause) {
        let (input, config) = (self.input, self.places.config);
        let of_input = || Cause::of(Origin::Interface(input.clone()));
        match (self.packet.protocol, self.packet.destination_port) {
            (ICMP, _) => (Service::Ping, of_input()),
            (UDP, Some(PORT_DHCP)) => {
                let mut networks = config.dhcp().iter();
                let network = networks.find(|(_, network)| network.settings.interface == *input);
                (Service::Dhcp, network.map_or_else(of_input, |(id, _)| Cause::of(Origin::Dhcp(id.clone()))))
            }
            (TCP, Some(port)) if self.management_ports.contains(&port) => (Service::Api, of_input()),
            (TCP, Some(port)) if self.has_ssh(port) => (Service::Ssh, Cause::of(Origin::Ssh)),
            (TCP | UDP, Some(PORT_DNS)) if config.dns_answers_on(self.packet.destination) => {
                (Service::Dns, Cause::of(Origin::Dns))
            }
            _ => (Service::Router, of_input()),
        }
    }
}

/// Why what begins no connection is dropped.
const OF_NO_CONNECTION: &str = "it begins no connection and belongs to none that is known";

fn no_rule(action: &Action) -> String {
    let does = if action.passes() { "passes" } else { "vanishes" };
    format!("no rule of the router decides, and it {does}")
}

/// The object of the last element that was found.
fn last(config: &Config, trail: &[Found]) -> Option<Origin> {
    let (set, key): &(Name, _) = trail.last()?;
    of_element(config, set, key)
}

fn asks_for_state(statements: &[Statement]) -> bool {
    matches!(statements.first(), Some(Statement::ConntrackState(_)))
}
