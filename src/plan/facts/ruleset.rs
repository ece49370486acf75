//! Our nftables table as a tree: chains, rules, sets, and the flowtable.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::Hasher as _;
use std::sync::Arc;

use imbl::OrdMap;
use siphasher::sip::SipHasher13;

use super::set::Set;
use super::statement::Statement;

/// The name of a chain, a set or a device. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for Name {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<Arc<str>> for Name {
    fn from(name: Arc<str>) -> Self {
        Self(name)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Our table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ruleset {
    /// The chains.
    pub chains: OrdMap<Name, Arc<Chain>>,
    /// The sets and maps.
    pub sets: OrdMap<Name, Arc<Set>>,
    /// Where established flows go, if the kernel can.
    pub flowtable: Option<Flowtable>,
}

/// A chain of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Where packets come in; absent for chains that others call.
    pub base: Option<BaseChain>,
    /// The rules in the order in which they are asked.
    pub rules: Vec<Rule>,
}

/// Where packets come into a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BaseChain {
    /// What the chain may do.
    pub hook: Hook,
    /// On which part of a packet's way.
    pub point: HookPoint,
    /// Lower is asked first among the chains of one point.
    pub priority: i32,
    /// What becomes of packets that no rule judged.
    pub policy: Policy,
}

/// The type of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// It judges and marks.
    Filter,
    /// It translates.
    Nat,
    /// It judges, and a new mark means a new route.
    Route,
}

/// A part of a packet's way (`linux/netfilter.h`: NF_INET_*).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookPoint {
    /// Before routing.
    Prerouting,
    /// To the router itself.
    Input,
    /// Through the router.
    Forward,
    /// From the router itself.
    Output,
    /// After routing.
    Postrouting,
}

/// What becomes of packets that no rule judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// They pass.
    Accept,
    /// They vanish.
    Drop,
}

/// Established flows skip the rules: the kernel forwards them between these devices by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flowtable {
    /// Its name.
    pub name: Name,
    /// The devices.
    pub devices: BTreeSet<Name>,
}

/// A rule: what it asks and does, and what it is there for.
#[derive(Debug, Clone)]
pub struct Rule {
    statements: Vec<Statement>,
    comment: Option<String>,
    fingerprint: Fingerprint,
}

/// What a rule is known by when it is read back: a hash of its text that is the same in every build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

impl Rule {
    /// A rule of these statements.
    #[must_use]
    pub fn new(statements: Vec<Statement>) -> Self {
        Self::with_comment(statements, None)
    }

    /// A rule that says which object of the configuration it is there for.
    #[must_use]
    pub fn of(object: impl Into<String>, statements: Vec<Statement>) -> Self {
        Self::with_comment(statements, Some(object.into()))
    }

    fn with_comment(statements: Vec<Statement>, comment: Option<String>) -> Self {
        let mut rule = Self { statements, comment, fingerprint: Fingerprint(0) };
        let mut hasher = SipHasher13::new();
        hasher.write(rule.to_string().as_bytes());
        rule.fingerprint = Fingerprint(hasher.finish());
        rule
    }

    /// What it asks and does, in this order.
    #[must_use]
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// What it is there for.
    #[must_use]
    pub fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }

    /// What it is known by when it is read back.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Rule {}
