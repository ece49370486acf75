//! What the router remembers, whichever version wrote it. Called by `mod.rs`.

use std::path::Path;

use serde_json::Value;

use crate::clock;
use crate::config::Config;
use crate::store::{Generations, StoreError};

/// The generations with the last document. What another version wrote last and this one cannot read makes way for the last
/// generation that it can.
///
/// # Errors
/// The state directory cannot be used, or nothing in it is understood.
pub(super) async fn open(state_dir: &Path) -> Result<(Generations, Option<Value>), StoreError> {
    match Generations::open(state_dir) {
        Err(error) => understood(state_dir, &error.to_string()).await,
        opened => opened,
    }
}

/// The same where the last generation is known to be no configuration of this version, and why.
///
/// # Errors
/// As [`open`].
pub(super) async fn understood(
    state_dir: &Path,
    why: &str,
) -> Result<(Generations, Option<Value>), StoreError> {
    let is_config = |document: &Value| Config::default().replace(document.clone()).is_ok();
    Generations::open_understood(state_dir, why, clock::now(), is_config).await
}
