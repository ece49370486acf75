//! A way told: each decision with the object that made it, and the sentence that says why it ended as it did.

use std::net::Ipv4Addr;

use super::evaluate::{self, Assumed, Judged, Marked};
use super::judge::{Bench, Judgement};
use super::lookup;
use super::packet::Packet;
use super::path::{End, Path};
use super::places::{Cause, Places};
use super::report::{Action, Candidate, Decision, Route, Service, Stage, Verdict};
use super::way::{Nowhere, Way};
use crate::config::{Id, Pointer};
use crate::plan::Target;
use crate::plan::facts::route::TABLE_MAIN;
use crate::plan::facts::{HookPoint, Statement};
use crate::plan::origin::{Origin, Purpose, of_element, of_rule, purpose};

/// A way, told.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) verdict: Verdict,
    pub(super) service: Option<Service>,
    pub(super) reason: String,
    pub(super) pointer: Option<Pointer>,
    pub(super) route: Option<Route>,
    pub(super) decisions: Vec<Decision>,
    pub(super) assumptions: Vec<String>,
}

/// Who tells: the target, the interface that the packet came in by, and the packet as it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Teller<'a> {
    pub(super) target: &'a Target,
    pub(super) input: &'a Id,
    pub(super) packet: Packet,
    /// Whose path it is told for: the candidates of a balancer that are followed too, in their order.
    pub(super) others: &'a [End],
}

/// What has been told so far.
struct Telling<'a> {
    teller: Teller<'a>,
    decisions: Vec<Decision>,
    /// The packet as it is by now.
    packet: Packet,
    translated: Option<Cause>,
    output: String,
    last: Judgement,
}

impl Teller<'_> {
    /// Tells a way.
    pub(super) fn tell(self, path: &Path<'_>) -> Told {
        let last = Judgement {
            cause: Cause::default(),
            sentence: "nothing that the router has decides, and it passes".to_owned(),
            service: None,
        };
        let mut telling = Telling {
            teller: self,
            decisions: Vec::new(),
            packet: self.packet,
            translated: None,
            output: String::new(),
            last,
        };
        if let Some(marked) = &path.steered {
            telling.steered(marked);
        }
        for judged in path.judged.iter().filter(|judged| judged.point == HookPoint::Prerouting) {
            telling.destination(judged);
        }
        if let Some((_, way)) = &path.way {
            telling.way(way);
        }
        for judged in path.judged.iter().filter(|judged| purpose(&judged.chain) != Some(Purpose::Mss)) {
            match judged.point {
                HookPoint::Forward => telling.judgement(judged, Stage::Firewall),
                HookPoint::Input => telling.judgement(judged, Stage::Input),
                HookPoint::Postrouting => telling.source(judged, path.packet.source),
                _ => {}
            }
        }
        let Telling { decisions, last, .. } = telling;
        let verdict = verdict(path.end);
        Told {
            verdict,
            service: last.service.filter(|_| verdict == Verdict::Local),
            reason: last.sentence,
            pointer: last.cause.pointer,
            route: path.way.as_ref().and_then(|(_, way)| self.route(way)),
            decisions,
            assumptions: assumptions(path, &self.packet),
        }
    }

    fn places(&self) -> Places<'_> {
        Places { config: &self.target.config, links: &self.target.surroundings.links }
    }

    fn route(&self, way: &Way) -> Option<Route> {
        let Way::Out(out) = way else { return None };
        Some(Route {
            interface: self.places().interface(&out.device).cloned(),
            device: out.device.to_string(),
            via: out.via,
            table: out.table,
            destination: out.destination.into(),
        })
    }
}

/// What becomes of a packet whose way ends like this.
pub(super) const fn verdict(end: End) -> Verdict {
    match end {
        End::Accepted => Verdict::Accepted,
        End::Local => Verdict::Local,
        End::Dropped => Verdict::Dropped,
        End::Rejected => Verdict::Rejected,
    }
}

impl Telling<'_> {
    fn decide(&mut self, stage: Stage, action: Action, cause: Cause, detail: String) {
        let Cause { origin, pointer } = cause;
        let (kind, id) = (origin.as_ref().map(Origin::kind), origin.as_ref().and_then(Origin::id).cloned());
        self.decisions.push(Decision { stage, action, kind, id, pointer, detail, candidates: Vec::new() });
    }

    /// What gave the connection another way out.
    fn steered(&mut self, marked: &Marked<'_>) {
        let config = &self.teller.target.config;
        let by_element = marked.element.as_ref().and_then(|(set, key)| of_element(config, set, key));
        let origin = by_element.or_else(|| of_rule(&marked.chain, marked.rule));
        // The mark is the index of the device, with one more bit.
        let (places, index) = (self.teller.places(), marked.mark & 0x7fff);
        let to = places.interface_of(index).map_or_else(|| format!("device {index}"), |id| format!("`{id}`"));
        let cause = origin.map(Cause::of).unwrap_or_default();
        self.decide(Stage::Steering, Action::Steer, cause, format!("what it begins leaves by {to}"));
    }

    fn destination(&mut self, judged: &Judged<'_>) {
        let config = &self.teller.target.config;
        let found = judged.trail.last().and_then(|(set, key)| of_element(config, set, key));
        let origin = judged.rule.and_then(|rule| of_rule(&judged.chain, rule)).or(found);
        match &judged.action {
            evaluate::Action::Destination { address, port, candidates, remembered } => {
                let cause = origin.map(Cause::of).unwrap_or_default();
                let before = shown(self.packet.destination, port.and(self.packet.destination_port));
                let mut detail = format!("{before} becomes {}", shown(*address, *port));
                if *remembered {
                    detail.push_str(&format!(", where {} went before", self.packet.source));
                }
                if candidates.len() > 1 {
                    detail.push_str(&format!(", one of {} backends", candidates.len()));
                }
                self.packet.destination = *address;
                self.packet.destination_port = port.or(self.packet.destination_port);
                self.translated = Some(cause.clone());
                let candidates = self.candidates(cause.origin.as_ref(), candidates);
                self.decide(Stage::DestinationNat, Action::Translate, cause, detail);
                if let Some(decision) = self.decisions.last_mut() {
                    decision.candidates = candidates;
                }
            }
            evaluate::Action::Drop => {
                let source = self.packet.source;
                let asked = judged.rule.and_then(|rule| rule.statements().first());
                let (member, why) = match asked {
                    Some(Statement::SourceIn(_)) => ("denied_sources", format!("denies {source}")),
                    Some(Statement::SourceNotIn(_)) => {
                        ("allowed_sources", format!("allows others than {source}"))
                    }
                    _ => ("pools", "has no backend that takes connections".to_owned()),
                };
                let cause = origin.map(|origin| Cause::member(origin, member)).unwrap_or_default();
                let sentence = format!("{} {why}", cause.name());
                self.decide(Stage::DestinationNat, Action::Drop, cause.clone(), sentence.clone());
                self.last = Judgement { cause, sentence, service: None };
            }
            evaluate::Action::Accept if purpose(&judged.chain) == Some(Purpose::LimitedDestinationNat) => {
                let cause = origin.map(|origin| Cause::member(origin, "allowed_sources")).unwrap_or_default();
                let detail = format!("{} allows others than {}", cause.name(), self.packet.source);
                self.decide(Stage::DestinationNat, Action::Leave, cause, detail);
            }
            _ => {}
        }
    }

    /// The backends that a balancer of the kernel's may choose.
    fn candidates(&self, origin: Option<&Origin>, found: &[lookup::Candidate]) -> Vec<Candidate> {
        let Some(Origin::LoadBalancer(id)) = origin else { return Vec::new() };
        let balancer = self.teller.target.config.load_balancers().get(id);
        let total: u32 = found.iter().map(|one| one.slots).sum();
        let told = found.iter().enumerate().map(|(index, one)| {
            let pool = balancer.and_then(|balancer| balancer.default_pool());
            let backend = pool.and_then(|(pool, content)| {
                let is = |(_, backend): &(&Id, &crate::config::pool::Backend)| {
                    backend.address.get() == one.address && backend.port == one.port
                };
                content.backends.iter().find(is).map(|(backend, _)| (pool.clone(), backend.clone()))
            });
            let (pool, backend) = backend.unzip();
            Candidate {
                address: one.address,
                port: one.port,
                pool,
                backend,
                share: share(one.slots, total),
                verdict: self.teller.others.get(index).copied().map(verdict),
            }
        });
        told.collect()
    }

    fn way(&mut self, way: &Way) {
        let places = self.teller.places();
        let Packet { source, destination, .. } = self.packet;
        let input = self.teller.input;
        let of_input = || Cause::of(Origin::Interface(input.clone()));
        let (action, cause, detail) = match way {
            Way::Out(out) => {
                let name = places.name(&out.device);
                let by = out.via.map_or_else(|| "on the link".to_owned(), |via| format!("by {via}"));
                let table =
                    if out.table == TABLE_MAIN { String::new() } else { format!(", table {}", out.table) };
                let cause = places.of_route(out);
                let detail = format!("{} is {by} of {name}{table}", out.destination);
                self.output = name;
                (Action::Route, cause, detail)
            }
            Way::Local(None) => {
                (Action::Route, of_input(), format!("{destination} is everybody, the router too"))
            }
            Way::Local(Some(_)) => {
                (Action::Route, places.of_own(destination), format!("{destination} is the router's own"))
            }
            Way::Nowhere(why) => {
                let detail = match why {
                    Nowhere::ImpossibleSource => format!("nobody can send from {source}"),
                    Nowhere::ImpossibleDestination => format!("{destination} is nobody's on any link"),
                    Nowhere::Multicast => format!("{destination} is a group, and groups are not routed"),
                    Nowhere::NoRoute => format!("no route leads to {destination}"),
                    Nowhere::NotForwarding => "the kernel does not forward".to_owned(),
                    Nowhere::OwnSource => {
                        format!("{source} is the router's own address: nobody else may use it")
                    }
                    Nowhere::SourceUnreachable => format!("no route leads back to {source}"),
                    Nowhere::SourceElsewhere => {
                        format!(
                            "what goes to {source} does not leave by `{input}`, so nothing from there comes in by it"
                        )
                    }
                };
                (Action::Drop, of_input(), detail)
            }
        };
        if action == Action::Drop {
            self.last = Judgement { cause: cause.clone(), sentence: detail.clone(), service: None };
        }
        self.decide(Stage::Route, action, cause, detail);
    }

    fn judgement(&mut self, judged: &Judged<'_>, stage: Stage) {
        let judgement = {
            let bench = Bench {
                places: self.teller.places(),
                input: self.teller.input,
                output: &self.output,
                packet: &self.packet,
                translated: self.translated.as_ref(),
                management_ports: &self.teller.target.surroundings.management_ports,
            };
            if stage == Stage::Input { bench.input(judged) } else { bench.forward(judged) }
        };
        let action = match judged.action {
            evaluate::Action::Drop => Action::Drop,
            evaluate::Action::Reject { .. } => Action::Reject,
            _ => Action::Accept,
        };
        let served = judgement.service == Some(Service::LoadBalancer);
        let candidates = if served { self.served(&judgement.cause) } else { Vec::new() };
        self.decide(stage, action, judgement.cause.clone(), judgement.sentence.clone());
        if let Some(decision) = self.decisions.last_mut() {
            decision.candidates = candidates;
        }
        // A forward that does not admit the source is the reason for what nobody else wants.
        let left = self.decisions.iter().find(|decision| decision.action == Action::Leave);
        self.last = match left {
            Some(left)
                if action == Action::Drop && judgement.cause.origin == interface(self.teller.input) =>
            {
                Judgement {
                    cause: Cause { origin: None, pointer: left.pointer.clone() },
                    sentence: left.detail.clone(),
                    service: None,
                }
            }
            _ => judgement,
        };
    }

    /// The backends that a balancer of the router's own may choose.
    fn served(&self, cause: &Cause) -> Vec<Candidate> {
        let Some(Origin::LoadBalancer(id)) = &cause.origin else { return Vec::new() };
        let Target { config, availability, .. } = self.teller.target;
        let Some((pool, content)) = config.load_balancers().get(id).and_then(|one| one.default_pool()) else {
            return Vec::new();
        };
        let usable = |backup: bool| {
            let up = content.backends.iter().filter(move |(name, backend)| {
                let serves = backend.enabled && backend.takes_part() && backend.backup == backup;
                serves && availability.is_up(id, pool, name)
            });
            up.collect::<Vec<_>>()
        };
        let mut backends = usable(false);
        if backends.is_empty() {
            backends = usable(true);
        }
        backends.sort_by_key(|(_, backend)| std::cmp::Reverse(backend.weight));
        let total: u32 = backends.iter().map(|(_, backend)| u32::from(backend.weight)).sum();
        let told = backends.into_iter().map(|(name, backend)| Candidate {
            address: backend.address.get(),
            port: backend.port,
            pool: Some(pool.clone()),
            backend: Some(name.clone()),
            share: share(backend.weight.into(), total),
            verdict: None,
        });
        told.collect()
    }

    fn source(&mut self, judged: &Judged<'_>, after: Ipv4Addr) {
        let before = self.packet.source;
        let (cause, why) = match &judged.action {
            evaluate::Action::Source(_) => {
                let config = &self.teller.target.config;
                let by_element = judged.trail.last().and_then(|(set, key)| of_element(config, set, key));
                let by_rule = judged.rule.and_then(|rule| of_rule(&judged.chain, rule));
                (by_rule.or(by_element).map(Cause::of).unwrap_or_default(), "")
            }
            evaluate::Action::Masquerade(_) => {
                (Cause::of(Origin::Interface(self.teller.input.clone())), ", so that answers come back here")
            }
            evaluate::Action::Drop => {
                let sentence = "its source is to be translated, and it is no first segment".to_owned();
                self.decide(Stage::SourceNat, Action::Drop, Cause::default(), sentence.clone());
                self.last = Judgement { cause: Cause::default(), sentence, service: None };
                return;
            }
            _ => return,
        };
        self.packet.source = after;
        self.decide(Stage::SourceNat, Action::Translate, cause, format!("{before} becomes {after}{why}"));
    }
}

fn interface(id: &Id) -> Option<Origin> {
    Some(Origin::Interface(id.clone()))
}

fn share(part: u32, of: u32) -> f64 {
    (f64::from(part) / f64::from(of.max(1)) * 1e4).round() / 1e4
}

fn shown(address: Ipv4Addr, port: Option<u16>) -> String {
    port.map_or_else(|| address.to_string(), |port| format!("{address}:{port}"))
}

fn assumptions(path: &Path<'_>, packet: &Packet) -> Vec<String> {
    let of = |comment: &Option<String>| comment.clone().unwrap_or_else(|| "a rule".to_owned());
    let mut told = vec!["it is the first packet of a connection that the router does not know".to_owned()];
    told.extend(path.assumed.iter().map(|assumed| match assumed {
        Assumed::FewConnections(comment, most) => {
            format!("{} has fewer than {most} connections", of(comment))
        }
        Assumed::WithinRate(comment) => format!("{} has room for it", of(comment)),
        Assumed::NotRemembered(comment, _) => {
            format!("{} remembers no backend of {}", of(comment), packet.source)
        }
        Assumed::OtherPort(comment) => {
            format!("{} does not ask for the source port, which is not said", of(comment))
        }
        Assumed::AnyOf(comment) => {
            format!("{} may choose any of its candidates; the first is followed", of(comment))
        }
    }));
    told
}
