//! A state directory serves one process: two that write to the same files would undo each other's records.
//!
//! The kernel keeps the lock (flock(2)) and lets it go with the process, however that ends. Called by the daemon.

use std::fs::{self, OpenOptions};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::StoreError;

const FILE: &str = "lock";

/// The right to use a state directory, for as long as it lives.
#[derive(Debug)]
pub struct StateLock {
    _file: Flock<fs::File>,
}

impl StateLock {
    /// Takes the lock of a state directory, which is made where it is not there.
    ///
    /// # Errors
    /// Another process has it, or its file cannot be had.
    pub fn take(state_dir: &Path) -> Result<Self, StoreError> {
        let path = state_dir.join(FILE);
        let failed =
            |action, reason: String| StoreError::Io { action, path: path.display().to_string(), reason };
        fs::create_dir_all(state_dir).map_err(|error| failed("create the folder of", error.to_string()))?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| failed("open", error.to_string()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Self { _file: file }),
            Err((_, Errno::EWOULDBLOCK)) => {
                Err(failed("lock", "another vrouterd uses this state directory".to_owned()))
            }
            Err((_, error)) => Err(failed("lock", error.desc().to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_one_process_s_until_it_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let lock = StateLock::take(&state).unwrap();
        let refusal = StateLock::take(&state).unwrap_err().to_string();
        assert!(refusal.contains("another vrouterd"), "{refusal}");
        drop(lock);
        StateLock::take(&state).unwrap();
    }
}
