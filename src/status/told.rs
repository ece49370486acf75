//! What is settled at the start: where the API answers, what the machine was told and what became of it, for whoever wonders why a seed disk or a credential did
//! not do what he meant.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Serialize;

/// What does not change while the service runs.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// Where the API answers.
    pub api: Vec<SocketAddr>,
    /// What the machine was told at its start, by a credential or a seed disk.
    pub told: Option<Told>,
}

/// What the machine was told at its start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Told {
    /// By what: `credential vrouter.config`, `NoCloud disk /dev/vdb`, `ConfigDrive disk /dev/sr0`.
    pub source: String,
    /// What became of it.
    pub outcome: ToldOutcome,
    /// Why it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What of it is left out, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub notes: Vec<String>,
}

/// What became of what the machine was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToldOutcome {
    /// It was the first configuration.
    Taken,
    /// It has faults, and nothing of it is configured.
    Refused,
    /// The router remembers what it was, and had no use for it.
    Remembers,
}

impl Told {
    /// The reason that it gives a router with nothing configured for not being well.
    pub(super) fn reason(&self) -> Option<String> {
        let why = self.why.as_ref()?;
        Some(format!("the first configuration ({}) is refused: {}", self.source, why.replace('\n', "; ")))
    }
}
