//! What the balancers are to do: the configuration that says so.
//!
//! Called by the loop before each apply. Making one costs nothing: it shares everything with the configuration.

use std::collections::BTreeMap;

use crate::config::{Config, Id};
use crate::plan::facts::Link;

/// What the balancers are to do.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    config: Config,
}

impl Snapshot {
    /// The balancers and certificates of a configuration. Links say nothing here: a listener is bound to its address
    /// whether the interface is there yet or not.
    #[must_use]
    pub fn new(config: &Config, _links: &BTreeMap<Id, Link>) -> Self {
        Self { config: config.clone() }
    }

    /// The configuration.
    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }
}
