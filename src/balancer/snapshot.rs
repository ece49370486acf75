//! What the balancers are to do, taken out of a configuration.
//!
//! Called by the loop before each apply. Making one costs nothing: it shares everything with the configuration.

use std::collections::BTreeMap;

use crate::config::certificate::Certificate;
use crate::config::load_balancer::LoadBalancer;
use crate::config::{Collection, Config, Id};
use crate::plan::facts::Link;

/// What the balancers are to do.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    balancers: Collection<LoadBalancer>,
    certificates: Collection<Certificate>,
}

impl Snapshot {
    /// The part of a configuration that is about balancers. Links say nothing here: a listener is bound to its address
    /// whether the interface is there yet or not.
    #[must_use]
    pub fn new(config: &Config, _links: &BTreeMap<Id, Link>) -> Self {
        Self { balancers: config.load_balancers().clone(), certificates: config.certificates().clone() }
    }

    /// All balancers, those of the kernel among them.
    pub(crate) const fn balancers(&self) -> &Collection<LoadBalancer> {
        &self.balancers
    }

    /// All certificates.
    pub(crate) const fn certificates(&self) -> &Collection<Certificate> {
        &self.certificates
    }
}
