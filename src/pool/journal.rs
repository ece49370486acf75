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
/// Where sessions are whose VM is being removed, one file each: what is known of them goes with the VM.
const ENDING: &str = "ending";
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
        let kept = self.append(record).and_then(|()| match fs::remove_file(self.ending_path(record)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        });
        if let Err(error) = kept {
            tracing::error!(%error, "a session's record is not kept");
        }
    }

    /// Notes a session whose VM is about to go, so that its record outlives whoever removes it.
    pub fn ending(&self, record: &Record) {
        let write = || {
            let path = self.ending_path(record);
            fs::create_dir_all(self.directory.join(ENDING))?;
            let new = path.with_extension("new");
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec(record)?)?;
            file.sync_data()?;
            fs::rename(&new, &path)
        };
        if let Err(error) = write() {
            tracing::error!(%error, "a session's end is not noted");
        }
    }

    /// The sessions whose VMs were being removed when the pool last ran; what cannot be read is told and passed over.
    #[must_use]
    pub fn unfinished(&self) -> Vec<Record> {
        let Ok(files) = fs::read_dir(self.directory.join(ENDING)) else { return Vec::new() };
        let paths = files.flatten().map(|file| file.path());
        let notes = paths.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        notes
            .filter_map(|path| {
                let read = fs::read(&path).and_then(|octets| Ok(serde_json::from_slice(&octets)?));
                read.inspect_err(|error| tracing::warn!(path = %path.display(), %error, "a note is not read"))
                    .ok()
            })
            .collect()
    }

    fn ending_path(&self, record: &Record) -> PathBuf {
        self.directory.join(ENDING).join(format!("{}.json", record.uuid))
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
    use crate::clock::Timestamp;

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

    #[test]
    fn a_session_that_was_ending_is_known_until_its_record_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(directory.path()).unwrap();
        let record = Record {
            vm: "kiosk-5921".into(),
            uuid: "3e5a".into(),
            golden: "1".into(),
            station: Some([10, 0, 0, 7].into()),
            begun: Timestamp::from_seconds(100),
            gone: Timestamp::from_seconds(200),
            why: "its viewer left".into(),
            sent: 1,
            received: 2,
            overlay: "/pool/kiosk-5921.qcow2".into(),
        };
        assert_eq!(journal.unfinished(), []);
        journal.ending(&record);
        drop(journal);
        fs::write(directory.path().join(ENDING).join("torn.json"), "{").unwrap();
        let journal = Journal::open(directory.path()).unwrap();
        assert_eq!(journal.unfinished(), std::slice::from_ref(&record));
        journal.session(&record);
        assert_eq!(journal.unfinished(), []);
        let kept = fs::read_to_string(directory.path().join(SESSIONS)).unwrap();
        assert_eq!(kept.lines().count(), 1);
    }
}
