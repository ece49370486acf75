//! What must outlive power: generations of the configuration and what of them waits to be
//! confirmed, leases, and what was known of backends.
//!
//! Everything here is a [`Journal`]: records that are on disk before anybody is told so, in a file that stays bounded
//! because what is superseded is left behind when it is written anew.

pub mod backends;
pub mod confirm;
pub(crate) mod content;
pub mod generations;
pub mod journal;
pub mod leases;
pub mod lock;

pub use backends::BackendFile;
pub use confirm::{ConfirmFile, Pending};
pub use generations::{Author, Generation, Generations};
pub use journal::{Journal, StoreError};
pub use lock::StateLock;
