//! What waits to be confirmed: on disk before it is carried out, gone once it is confirmed or has been taken back.
//!
//! The file is empty where nothing waits. Else its first record is the whole document that comes back, so that it needs
//! no other file and no generation that may be forgotten; each further one is what is remembered of the waiting, of which
//! the last counts. It is replaced as a whole, so a power cut leaves all of it or none. Called by the loop.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::content::Content;
use super::generations::{Author, Number};
use super::journal::{Journal, StoreError, put_aside};
use crate::clock::Mark;

/// The file, in the state directory.
const FILE: &str = "confirm.journal";

/// A change that is taken back unless somebody confirms it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The generation that comes back.
    pub back_to: Number,
    /// When the waiting began.
    pub begin: Mark,
    /// How many seconds were asked for.
    pub seconds: u32,
    /// Who asked last.
    pub author: Author,
    /// Whether whoever asked could be reached before the change at the address that he came from.
    pub reached: bool,
}

impl Pending {
    /// How much of the time is left; none where that is not sure, so that nothing waits for longer than was asked.
    #[must_use]
    pub fn left(&self, now: &Mark) -> Duration {
        let whole = Duration::from_secs(self.seconds.into());
        self.begin.age(now).map_or(Duration::ZERO, |age| whole.saturating_sub(age))
    }
}

/// The file.
#[derive(Debug)]
pub struct ConfirmFile {
    journal: Journal,
    found: Option<(Pending, Value)>,
}

impl ConfirmFile {
    /// Opens or creates the file in a state directory.
    ///
    /// # Errors
    /// The file cannot be read or created, or is something else.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let path = state_dir.join(FILE);
        let (journal, records) = Journal::open(&path)?;
        let found = match records.as_slice() {
            [document, .., pending] => {
                read(pending).and_then(|pending| Ok((pending, read(document)?))).map(Some)
            }
            [] | [_] => Ok(None),
        };
        match found {
            Ok(found) => Ok(Self { journal, found }),
            // Another version's: what runs stays, which is what whoever cannot be asked would be told.
            Err(error) => {
                tracing::error!(%error, "what waits to be confirmed stays");
                drop(journal);
                put_aside(&path)?;
                Ok(Self { journal: Journal::open(&path)?.0, found: None })
            }
        }
    }

    /// What a predecessor left waiting, and the document that comes back; told once.
    pub const fn take(&mut self) -> Option<(Pending, Value)> {
        self.found.take()
    }

    /// Remembers that a change waits, and what comes back without it.
    ///
    /// # Errors
    /// The disk refused, and the file is as it was.
    pub async fn begin(&self, pending: &Pending, document: Content) -> Result<(), StoreError> {
        self.journal.rewrite(vec![document.into_octets(), Content::of(pending)?.into_octets()]).await
    }

    /// Remembers something else of what waits already.
    ///
    /// # Errors
    /// The disk refused, and the file is as it was.
    pub async fn go_on(&self, pending: &Pending) -> Result<(), StoreError> {
        self.journal.append(Content::of(pending)?.into_octets()).await
    }

    /// Forgets it: nothing waits.
    ///
    /// # Errors
    /// The disk refused, and the file is as it was.
    pub async fn end(&self) -> Result<(), StoreError> {
        self.journal.rewrite(Vec::new()).await
    }
}

fn read<T: for<'de> Deserialize<'de>>(record: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(record).map_err(|error| StoreError::Io {
        action: "understand a record of",
        path: FILE.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;
    use crate::clock::Timestamp;

    fn pending(seconds: u32) -> Pending {
        let begin = Mark { time: Timestamp::from_seconds(100), boot: "a".into(), uptime_ms: 10_000 };
        Pending { back_to: 6, begin, seconds, author: Author::default(), reached: true }
    }

    #[test]
    fn nothing_waits_for_longer_than_was_asked() {
        let left = |now: &Mark| pending(60).left(now).as_millis();
        let now = Mark { uptime_ms: 10_500, ..pending(60).begin };
        assert_eq!(left(&now), 59_500);
        assert_eq!(left(&Mark { uptime_ms: 70_000, ..now.clone() }), 0);
        assert_eq!(left(&Mark { uptime_ms: u64::MAX, ..now.clone() }), 0);
        let other = Mark { boot: "b".into(), uptime_ms: 1, ..now };
        assert_eq!(left(&other), 59_000);
        assert_eq!(
            left(&Mark { time: Timestamp::from_seconds(99), ..other }),
            0,
            "nobody knows how long it was"
        );
    }

    #[tokio::test]
    async fn what_waits_is_there_again_until_it_ended() {
        let folder = tempfile::tempdir().unwrap();
        let document = json!({"version": 1, "hostname": "vr"});
        let mut file = ConfirmFile::open(folder.path()).unwrap();
        assert_eq!(file.take(), None);
        file.begin(&pending(60), Content::of(&document).unwrap()).await.unwrap();
        let again = || ConfirmFile::open(folder.path()).unwrap().take();
        assert_eq!(again(), Some((pending(60), document.clone())));
        file.go_on(&pending(90)).await.unwrap();
        assert_eq!(again(), Some((pending(90), document.clone())));
        // A power cut within the last record.
        let path = folder.path().join(FILE);
        let text = fs::read(&path).unwrap();
        fs::write(&path, &text[..text.len() - 3]).unwrap();
        assert_eq!(again(), Some((pending(60), document)));
        file.end().await.unwrap();
        assert_eq!(again(), None);
    }

    #[tokio::test]
    async fn what_another_version_left_waiting_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&folder.path().join(FILE)).unwrap();
        journal.rewrite(vec![b"{}".to_vec(), b"{\"until\":\"later\"}".to_vec()]).await.unwrap();
        let mut file = ConfirmFile::open(folder.path()).unwrap();
        assert_eq!(file.take(), None);
        assert!(fs::read_to_string(folder.path().join("confirm.unreadable")).unwrap().contains("later"));
        file.begin(&pending(60), Content::of(&json!({})).unwrap()).await.unwrap();
        assert_eq!(ConfirmFile::open(folder.path()).unwrap().take(), Some((pending(60), json!({}))));
    }
}
