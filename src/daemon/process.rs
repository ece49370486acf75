//! What the process asks of the kernel for itself, before it reads anything. Called by `bin/vrouterd.rs`.

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Keeps the memory, which holds private keys, out of core dumps and away from other processes of the same user, and
/// takes as many descriptors as are allowed. What is refused is told and not needed to run.
pub fn prepare() {
    if let Err(error) = prctl::set_dumpable(false) {
        tracing::warn!(%error, "the kernel may write core dumps");
    }
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "the number of descriptors stays as it is");
    }
}
