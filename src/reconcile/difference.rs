//! What differs between two generations, object by object, as anybody may read it. Called by the API.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tokio::task::spawn_blocking;

use super::change::ChangeError;
use super::{ChangeSummary, Published};
use crate::config::{self, ChangeKind, Config, Pointer};
use crate::store::Generation;
use crate::store::generations::Number;

/// What differs between two generations.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Difference {
    /// The generation before; 0 is the router with nothing configured.
    pub from: Number,
    /// The generation after: when it came, how, and by whom; absent where it is 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// The number of the generation after.
    pub to: Number,
    /// How many objects are new.
    pub added: usize,
    /// How many objects are others.
    pub changed: usize,
    /// How many objects are gone.
    pub removed: usize,
    /// All of them, in the order of the document.
    pub objects: Vec<Differing>,
}

/// An object that differs.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Differing {
    /// The object, as a JSON pointer into the document.
    pub pointer: Pointer,
    /// What became of it.
    pub change: ChangeKind,
    /// What it was, as GET shows it: fingerprints stand in the place of keys. Absent where it was not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What it is, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// Works something out on a thread where it keeps nobody waiting.
pub(super) async fn work<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ChangeError> {
    // It panics only after a bug, and is not cancelled before the process ends.
    spawn_blocking(work).await.map_err(|_| ChangeError::Stopping)
}

/// A stored document as it was told while it ran; merge patches leave empty collections behind.
pub(super) fn normalised(document: Value) -> Value {
    Config::default().replace(document.clone()).map_or(document, |config| config.to_json())
}

/// Collections within objects, of which each member is an object that differs or does not.
const COLLECTIONS: [&str; 4] = ["hosts", "records", "conditional_forwarders", "keys"];

/// An object of a document; where only it is another, without the collections in it, which are told by their members.
fn shown(document: &Value, change: &config::Change) -> Option<Value> {
    let mut object = document.pointer(change.pointer.as_str())?.clone();
    if let Some(members) = object.as_object_mut().filter(|_| change.change == ChangeKind::Changed) {
        members.retain(|name, _| !COLLECTIONS.contains(&name.as_str()));
    }
    Some(object)
}

/// What differs between two generations, each with its document where that is not the one of the running or of no
/// generation.
pub(super) fn between(
    published: &Published,
    generations: [(Number, Option<Value>); 2],
) -> Result<Difference, ChangeError> {
    let [(from, before), (to, after)] = generations;
    let config = |number: Number, stored: Option<Value>| match stored {
        Some(document) => published.config.replace(document).map_err(ChangeError::Faults),
        None if number == 0 => Ok(Config::default()),
        None => Ok(published.config.clone()),
    };
    let (before, after) = (config(from, before)?, config(to, after)?);
    let changes = config::changes(&before, &after).objects;
    let ChangeSummary { added, changed, removed, .. } = ChangeSummary::of(&changes);
    let (before, after) = (before.to_json(), after.to_json());
    let differing = |change: config::Change| Differing {
        before: shown(&before, &change).filter(|_| change.change != ChangeKind::Added),
        after: shown(&after, &change).filter(|_| change.change != ChangeKind::Removed),
        change: change.change,
        pointer: change.pointer,
    };
    let generation = published.generations.iter().find(|known| known.generation == to).cloned();
    let objects = changes.into_iter().map(differing).collect();
    Ok(Difference { from, generation, to, added, changed, removed, objects })
}
