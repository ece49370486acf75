//! What a machine is started with that remembers nothing: its first configuration. Called by `mod.rs`.

use crate::config::json;
use crate::reconcile::{Change, ChangeError, Edit, Handle};
use crate::store::Author;

/// Gives a router that remembers nothing what it starts from.
///
/// # Errors
/// Every fault of it, or what else keeps it from being carried out; the router has nothing configured then.
#[cfg_attr(not(fuzzing), expect(unreachable_pub, reason = "a fuzz target asks this as well"))]
pub async fn first_boot(handle: &Handle, first: &[u8]) -> Result<(), String> {
    let document = json::parse(first).map_err(|faults| faults.to_string())?;
    let author = Author { name: "first boot".to_owned(), from: None };
    match handle.change(Change::new(Edit::FirstBoot(document), author)).await {
        Ok(_) => Ok(()),
        Err(ChangeError::Faults(faults)) => Err(faults.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
