//! The rules of one balancer, compiled: which request goes where, and what is changed on the way. Pure.
//!
//! Rules decide in the order of their priority. Those that may be meant are found by the request's host and path, so that
//! a thousand sites on one balancer cost about as much as one. Called by whoever carries requests.

use std::net::Ipv4Addr;

use http::{HeaderMap, Method};

use super::candidates::Candidates;
use super::location::Location;
use super::path::Path;
use super::rewrite::Edits;
pub use super::rule::Outcome;
use super::rule::{Condition, Seen};
use crate::config::Id;
use crate::config::load_balancer::LoadBalancer;

/// What rules are asked about.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a Method,
    /// The host without its port, as [`super::host::Host::name`] has it; empty where there is none.
    pub host: &'a str,
    /// The path.
    pub path: &'a Path<'a>,
    /// The query, as it was sent.
    pub query: Option<&'a str>,
    /// The fields.
    pub headers: &'a HeaderMap,
    /// The client.
    pub client: Ipv4Addr,
}

/// What becomes of a request.
#[derive(Debug)]
pub struct Decision<'a, P> {
    /// What is changed, in order.
    pub edits: Vec<&'a Edits>,
    /// Where it goes; nothing where no rule and no default pool leads anywhere.
    pub outcome: Option<&'a Outcome<P>>,
    /// The rule that ended it, if one did.
    pub rule: Option<&'a Id>,
}

/// The rules of a balancer; `P` is what stands for a pool.
#[derive(Debug)]
pub struct Rules<P> {
    rules: Vec<Rule<P>>,
    candidates: Candidates,
    /// Everything is sent to https.
    to_https: Option<Outcome<P>>,
    otherwise: Option<Outcome<P>>,
    reads_paths: bool,
}

#[derive(Debug)]
struct Rule<P> {
    id: Id,
    condition: Condition,
    edits: Option<Edits>,
    outcome: Option<Outcome<P>>,
}

impl<P> Rules<P> {
    /// Compiles the rules of a balancer. `pool` finds what stands for a pool.
    #[must_use]
    pub fn new(balancer: &LoadBalancer, pool: impl Fn(&Id) -> Option<P>) -> Self {
        let mut compiled = Self {
            rules: Vec::with_capacity(balancer.rules.len()),
            candidates: Candidates::default(),
            to_https: balancer.redirect_to_https.then(|| Outcome::to_https(Location::https())),
            otherwise: balancer.default_pool().and_then(|(id, _)| pool(id)).map(Outcome::Pool),
            reads_paths: false,
        };
        for (id, rule) in balancer.rules_in_order() {
            let place = compiled.rules.len();
            compiled.candidates.add(place, &rule.matches);
            let condition = Condition::new(&rule.matches);
            let rewrites = rule.action.rewrite_path.is_some() || rule.action.redirect.is_some();
            compiled.reads_paths |= condition.reads_paths() || rewrites;
            compiled.rules.push(Rule {
                id: id.clone(),
                condition,
                edits: Edits::of(&rule.action),
                outcome: Outcome::of(&rule.action, &pool),
            });
        }
        compiled
    }

    /// Whether a path matters to any rule. Where none does, paths need not be read and are forwarded as they come.
    #[must_use]
    pub const fn reads_paths(&self) -> bool {
        self.reads_paths || self.to_https.is_some()
    }

    /// Decides on a request.
    #[must_use]
    pub fn decide(&self, request: &Request<'_>) -> Decision<'_, P> {
        let mut decision = Decision { edits: Vec::new(), outcome: self.otherwise.as_ref(), rule: None };
        if self.to_https.is_some() {
            decision.outcome = self.to_https.as_ref();
        }
        if self.to_https.is_some() || self.rules.is_empty() {
            return decision;
        }
        let seen = Seen::new(request);
        let strict = request.path.lenient().is_none();
        let places = self.candidates.of(request.host, request.path.as_str(), strict);
        for rule in places.filter_map(|place| self.rules.get(place)) {
            let rejects = matches!(rule.outcome, Some(Outcome::Reject { .. }));
            if !rule.condition.fits(&seen, rejects) {
                continue;
            }
            decision.edits.extend(&rule.edits);
            if rule.outcome.is_some() {
                decision.outcome = rule.outcome.as_ref();
                decision.rule = Some(&rule.id);
                break;
            }
        }
        decision
    }
}

#[cfg(test)]
mod tests;
