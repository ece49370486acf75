//! What outlives the manager beside the marks: the journal of sessions, one JSON object a line, whether the pool is drained,
//! and the lock that keeps a second manager out. Called by the manager and the command line.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::state::Record;

/// From which size on the journal is put aside and begun anew; one older file is kept.
const LONGEST: u64 = 16 << 20;
/// The journal's file.
const SESSIONS: &str = "sessions.jsonl";
/// The file that is there while the pool is drained.
const DRAINED: &str = "drained";
/// The lock.
const LOCK: &str = "lock";

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The directory or a file in it cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Another manager runs.
    #[error("{}: another vrouter-pool runs with this state directory", .0.display())]
    Locked(PathBuf),
}

/// The journal, with the lock.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    _lock: Flock<File>,
}

impl Journal {
    /// Takes the directory for this process.
    ///
    /// # Errors
    /// It cannot be used, or somebody else has it.
    pub fn open(directory: &Path) -> Result<Self, JournalError> {
        let failed = |path: &Path, source| JournalError::File { path: path.to_owned(), source };
        fs::create_dir_all(directory).map_err(|source| failed(directory, source))?;
        let path = directory.join(LOCK);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|source| failed(&path, source))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|_| JournalError::Locked(directory.to_owned()))?;
        Ok(Self { directory: directory.to_owned(), _lock: lock })
    }

    /// Keeps the record of a session. A full disk costs records and no VM: it is told and the pool goes on.
    pub fn session(&self, record: &Record) {
        if let Err(error) = self.append(record) {
            tracing::error!(%error, "a session's record is not kept");
        }
    }

    /// Whether the pool was drained when it last ran.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.directory.join(DRAINED).exists()
    }

    /// Keeps whether the pool is drained.
    ///
    /// # Errors
    /// It cannot be kept, in words for the operator.
    pub fn drain(&self, draining: bool) -> Result<(), String> {
        let path = self.directory.join(DRAINED);
        let result = if draining { File::create(&path).map(|_| ()) } else { fs::remove_file(&path) };
        match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(format!("{}: {error}", path.display()))
            }
            _ => Ok(()),
        }
    }

    fn append(&self, record: &Record) -> io::Result<()> {
        let path = self.directory.join(SESSIONS);
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() >= LONGEST) {
            fs::rename(&path, path.with_extension("jsonl.1"))?;
        }
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.write_all(&line)?;
        file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_manager_has_the_directory_and_the_drain_outlives_it() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(directory.path()).unwrap();
        assert!(matches!(Journal::open(directory.path()), Err(JournalError::Locked(_))));
        journal.drain(true).unwrap();
        drop(journal);
        let journal = Journal::open(directory.path()).unwrap();
        assert!(journal.draining());
        journal.drain(false).unwrap();
        journal.drain(false).unwrap();
        assert!(!journal.draining());
    }
}
