//! What was known of the backends of balancers, on disk: who was down stays down across a restart until it is asked, and
//! what drained goes on to drain.
//!
//! A record of the journal is a JSON array of entries; the last that speaks of a backend or an endpoint is the one that
//! counts. Nothing here was promised to anybody: a file that cannot be read is put aside, and then nothing is known. It is
//! written anew when it has grown to several times its content. Called by the balancer's health checks.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::foreign::Foreign;
use super::journal::{Journal, StoreError};
use crate::clock::Timestamp;

/// The name of the file in the state directory.
const FILE: &str = "backends.journal";
/// How many entries one record holds.
const ENTRIES_PER_RECORD: usize = 256;
/// The file may hold so many entries for each that counts, and as many more as [`SPARE_ENTRIES`], before it is rewritten.
const ENTRIES_PER_LIVE: usize = 4;
/// Entries that are always allowed, so that a few backends do not make a rewrite of every write.
const SPARE_ENTRIES: usize = 4096;

/// What is known of something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A backend, under the check that said so.
    Backend(StoredBackend),
    /// A backend that is no more.
    Gone {
        /// The ids of balancer, pool and backend.
        name: [String; 3],
    },
    /// An endpoint that drains; not any more where `until` is over.
    Drain(StoredDrain),
}

/// What is known of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredBackend {
    /// The ids of balancer, pool and backend.
    pub name: [String; 3],
    /// Its address and port.
    #[serde(rename = "at")]
    pub endpoint: SocketAddrV4,
    /// A digest of the check.
    pub check: u64,
    /// Whether it was well.
    pub up: bool,
    /// Why.
    #[serde(rename = "why")]
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// Connections to a backend that go on for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredDrain {
    /// The balancer's address.
    pub address: Ipv4Addr,
    /// The transport's number.
    pub protocol: u8,
    /// The balancer's port.
    pub port: u16,
    /// The backend.
    pub backend: SocketAddrV4,
    /// Until when.
    pub until: Timestamp,
}

/// The file.
#[derive(Debug)]
pub struct BackendFile {
    journal: Journal,
    entries: usize,
    foreign: Foreign,
}

impl BackendFile {
    /// Opens or creates the file in `state_dir` and reads what it says, oldest first. A file that is something else is
    /// put aside under another name.
    ///
    /// # Errors
    /// The file cannot be opened or created.
    pub fn open(state_dir: &Path) -> Result<(Self, Vec<Entry>), StoreError> {
        let (journal, records) = Journal::open_or_put_aside(&state_dir.join(FILE))?;
        let (mut entries, mut foreign) = (Vec::new(), Foreign::default());
        for record in records {
            entries.append(&mut foreign.entries(&record));
        }
        foreign.tell(FILE);
        Ok((Self { journal, entries: entries.len(), foreign }, entries))
    }

    /// Stores these entries; they are on disk when this returns.
    ///
    /// # Errors
    /// The disk refused.
    pub async fn append(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        for group in entries.chunks(ENTRIES_PER_RECORD) {
            self.journal.append(record(group)?).await?;
            self.entries += group.len();
        }
        Ok(())
    }

    /// Whether the file holds so much that is superseded that it should be rewritten for `live` entries.
    #[must_use]
    pub const fn is_due(&self, live: usize) -> bool {
        self.entries > ENTRIES_PER_LIVE * live + SPARE_ENTRIES
    }

    /// Replaces the file by these entries, at once.
    ///
    /// # Errors
    /// The disk refused; the file goes on as it was, and the next attempt is made when it has grown further.
    pub async fn rewrite(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        self.entries = entries.len();
        let records = self.foreign.records().map(Ok).chain(entries.chunks(ENTRIES_PER_RECORD).map(record));
        self.journal.rewrite(records.collect::<Result<_, _>>()?).await
    }
}

fn record(entries: &[Entry]) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(entries).map_err(|error| StoreError::Io {
        action: "write as JSON for",
        path: FILE.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn backend(name: &str, up: bool) -> Entry {
        Entry::Backend(StoredBackend {
            name: ["web".to_owned(), "all".to_owned(), name.to_owned()],
            endpoint: SocketAddrV4::new(Ipv4Addr::new(10, 1, 1, 20), 80),
            check: u64::MAX,
            up,
            reason: "http: status 503\n".to_owned(),
            since: Timestamp::from_seconds(7),
        })
    }

    fn drain(until: u64) -> Entry {
        Entry::Drain(StoredDrain {
            address: Ipv4Addr::new(198, 51, 100, 5),
            protocol: 6,
            port: 80,
            backend: SocketAddrV4::new(Ipv4Addr::new(10, 1, 1, 20), 80),
            until: Timestamp::from_seconds(until),
        })
    }

    #[tokio::test]
    async fn entries_come_back_and_the_file_stays_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, entries) = BackendFile::open(folder.path()).unwrap();
        assert!(entries.is_empty());
        let all = [backend("one", true), drain(9), Entry::Gone { name: ["a", "b", "c"].map(str::to_owned) }];
        file.append(&all).await.unwrap();
        let (mut file, entries) = BackendFile::open(folder.path()).unwrap();
        assert_eq!(entries, all);
        let many: Vec<Entry> = (0..5000).map(|_| backend("one", false)).collect();
        file.append(&many).await.unwrap();
        assert!(file.is_due(2));
        file.rewrite(&all).await.unwrap();
        assert!(!file.is_due(2));
        assert_eq!(BackendFile::open(folder.path()).unwrap().1, all);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_put_aside_and_nothing_is_known() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "somebody's notes\n").unwrap();
        let (mut file, entries) = BackendFile::open(folder.path()).unwrap();
        assert!(entries.is_empty());
        file.append(&[drain(1)]).await.unwrap();
        assert_eq!(BackendFile::open(folder.path()).unwrap().1, [drain(1)]);
        let aside = fs::read_to_string(folder.path().join("backends.unreadable")).unwrap();
        assert_eq!(aside, "somebody's notes\n");
    }
}
