//! What a machine is started with that remembers nothing: its first configuration, of whoever tells it one first. Called by
//! `mod.rs`.

use serde_json::Value;

use crate::config::json;
use crate::reconcile::{Change, ChangeError, Edit, Handle};
use crate::seed::{self, Seed};
use crate::status::{Told, ToldOutcome};
use crate::store::Author;
use crate::store::generations::Number;

/// What the service was given at its start.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// The credential `vrouter.config`: a configuration as JSON.
    pub config: Option<Vec<u8>>,
    /// The credential `vrouter.seed`: what a seed disk held ([`crate::seed::bundle`]).
    pub seed: Option<Vec<u8>>,
}

/// What is known of it.
#[derive(Debug)]
pub(super) struct Sources {
    config: Option<Vec<u8>>,
    seed: Option<Seed>,
}

impl Sources {
    pub(super) fn new(given: Given) -> Self {
        let seed = given.seed.as_deref().map(seed::read);
        if let Some(seed) = &seed {
            for note in &seed.notes {
                tracing::warn!(source = seed.source, "{note}");
            }
        }
        Self { config: given.config, seed }
    }

    /// Lines of a file of tokens, and where they stand.
    pub(super) fn tokens(&self) -> Option<(&str, &str)> {
        let seed = self.seed.as_ref()?;
        Some((&seed.source, seed.tokens.as_deref()?))
    }

    /// Tells a router that remembers nothing what it is, by the first source that has a configuration. What becomes of it
    /// is for the status; nothing where nobody says anything.
    pub(super) async fn tell(self, handle: &Handle, remembered: Number) -> Option<Told> {
        let Self { config, seed } = self;
        let notes = seed.as_ref().map(|seed| seed.notes.clone()).unwrap_or_default();
        let (source, document) = match (config, seed) {
            (Some(config), _) => ("credential vrouter.config".to_owned(), read(&config)),
            (None, Some(seed)) => (seed.source, seed.document.transpose()?),
            (None, None) => return None,
        };
        let outcome = match (remembered, document) {
            (0, Ok(document)) => first_boot(handle, document, &source).await,
            (0, Err(why)) => Err(why),
            _ => return Some(Told { source, outcome: ToldOutcome::Remembers, why: None, notes }),
        };
        match outcome {
            Ok(()) => {
                tracing::info!(source, "the first configuration is taken");
                Some(Told { source, outcome: ToldOutcome::Taken, why: None, notes })
            }
            // A fault leaves it waiting for a management plane.
            Err(why) => {
                tracing::error!(source, why, "the first configuration is refused");
                Some(Told { source, outcome: ToldOutcome::Refused, why: Some(why), notes })
            }
        }
    }
}

/// The document of a credential, or every fault of it as text.
///
/// # Errors
/// It is not JSON.
#[cfg_attr(not(fuzzing), expect(unreachable_pub, reason = "a fuzz target asks this as well"))]
pub fn read(credential: &[u8]) -> Result<Value, String> {
    json::parse(credential).map_err(|faults| faults.to_string())
}

/// Gives a router that remembers nothing what it starts from.
///
/// # Errors
/// Every fault of it, or what else keeps it from being carried out; the router has nothing configured then.
#[cfg_attr(not(fuzzing), expect(unreachable_pub, reason = "a fuzz target asks this as well"))]
pub async fn first_boot(handle: &Handle, document: Value, source: &str) -> Result<(), String> {
    let author = Author { name: "first boot".to_owned(), from: Some(source.to_owned()) };
    match handle.change(Change::new(Edit::FirstBoot(document), author)).await {
        Ok(_) => Ok(()),
        Err(ChangeError::Faults(faults)) => Err(faults.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
