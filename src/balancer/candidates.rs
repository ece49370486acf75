//! Which rules may be meant for a request, by host and by path, so that not every rule is looked at. Called by `rules.rs`.
//!
//! Rules are named by their places in the order in which they decide. What is found here still has to fit as a whole;
//! what is not found does not fit.

use std::collections::{BTreeMap, HashMap};

use crate::config::balancer_rule::Match;
use crate::config::http::HostPattern;

use super::path;

/// A line with fewer rules is looked at rule by rule.
const WORTH: usize = 8;

/// All rules of a balancer.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    by_host: HashMap<String, Line>,
    /// For all hosts below a name; the key begins with a dot.
    below: HashMap<String, Line>,
    anywhere: Line,
}

/// Rules that are for the same hosts.
#[derive(Debug, Default)]
struct Line {
    all: Vec<usize>,
    by_path: HashMap<String, Vec<usize>>,
    /// Prefixes, by their lengths: as many look-ups as there are lengths.
    by_prefix: BTreeMap<usize, HashMap<String, Vec<usize>>>,
    /// Those that say nothing of paths, or say it by a pattern.
    others: Vec<usize>,
}

impl Candidates {
    /// Adds the rule of the next place.
    pub(super) fn add(&mut self, place: usize, matches: &Match) {
        for host in &matches.host {
            match host {
                HostPattern::Exact(name) => self.by_host.entry(name.clone()).or_default().add(place, matches),
                HostPattern::Below(suffix) => {
                    self.below.entry(suffix.clone()).or_default().add(place, matches)
                }
            }
        }
        if matches.host.is_empty() {
            self.anywhere.add(place, matches);
        }
    }

    /// The places of the rules that may be meant, in order. `strict` says that paths are read in one way only.
    pub(super) fn of<'a>(
        &'a self,
        host: &str,
        path: &str,
        strict: bool,
    ) -> impl Iterator<Item = usize> + use<'a> {
        let mut lists: Vec<&'a [usize]> = Vec::with_capacity(8);
        let mut add = |line: &'a Line| line.of(path, strict, &mut lists);
        self.by_host.get(host).into_iter().for_each(&mut add);
        if !self.below.is_empty() {
            // A name is below another from each of its dots but one at its begin.
            let dots = host.match_indices('.').filter(|(at, _)| *at > 0);
            dots.filter_map(|(at, _)| self.below.get(host.get(at..)?)).for_each(&mut add);
        }
        add(&self.anywhere);
        std::iter::from_fn(move || {
            let next = lists.iter().filter_map(|list| list.first().copied()).min()?;
            for list in &mut lists {
                if let Some((first, rest)) = list.split_first()
                    && *first == next
                {
                    *list = rest;
                }
            }
            Some(next)
        })
    }
}

impl Line {
    fn add(&mut self, place: usize, matches: &Match) {
        push(&mut self.all, place);
        for path in &matches.path {
            push(self.by_path.entry(path::wanted(path.as_str()).0).or_default(), place);
        }
        if !matches.path.is_empty() {
            return;
        }
        for prefix in &matches.path_prefix {
            let prefix = path::wanted(prefix.as_str()).0;
            push(self.by_prefix.entry(prefix.len()).or_default().entry(prefix).or_default(), place);
        }
        if matches.path_prefix.is_empty() {
            push(&mut self.others, place);
        }
    }

    fn of<'a>(&'a self, path: &str, strict: bool, lists: &mut Vec<&'a [usize]>) {
        if self.all.len() < WORTH || !strict {
            lists.push(&self.all);
            return;
        }
        lists.extend(self.by_path.get(path).map(Vec::as_slice));
        for (length, prefixes) in self.by_prefix.range(..=path.len()) {
            let places = path.get(..*length).and_then(|prefix| prefixes.get(prefix));
            lists.extend(places.map(Vec::as_slice));
        }
        lists.push(&self.others);
    }
}

fn push(places: &mut Vec<usize>, place: usize) {
    if places.last() != Some(&place) {
        places.push(place);
    }
}
