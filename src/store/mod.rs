//! What must outlive power: generations of the configuration and what of them waits to be
//! confirmed, leases, what was known of backends, and the last update.
//!
//! Everything here is a [`Journal`]: records that are on disk before anybody is told so, in a file that stays bounded
//! because what is superseded is left behind when it is written anew. How versions share these files stands in `format.rs`.

pub mod backends;
pub mod confirm;
pub(crate) mod content;
pub mod foreign;
pub mod format;
pub mod generations;
pub mod journal;
pub mod leases;
pub mod lock;
pub mod updates;

pub use backends::BackendFile;
pub use confirm::{ConfirmFile, Pending};
pub use foreign::Foreign;
pub use generations::{Author, Generation, Generations};
pub use journal::{Journal, StoreError};
pub use lock::StateLock;
pub use updates::UpdateFile;
