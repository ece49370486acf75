//! A file of records that are durable before they are acknowledged.
//!
//! One record is one line: eight hexadecimal digits of its CRC-32, a space, the record without line breaks. A line that
//! a power cut tore is recognised and cut off. One thread owns the file; what is asked for while it waits for the disk
//! is written together and shares the next sync, so durability costs one sync for a whole group. Called by the
//! generation store and by the lease store.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use tokio::sync::oneshot;

/// How many requests may wait for the disk before whoever asks has to wait too.
const QUEUE: usize = 4096;
/// How many requests share one sync at most.
const GROUP: usize = 4096;
/// The mode of the file: generations hold private keys.
const PRIVATE: u32 = 0o600;
/// The digits of the checksum and the space behind them.
const PREFIX: usize = 9;

/// What keeps records from being stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused an operation on the file.
    #[error("cannot {action} {path}: {reason}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// The file belongs to something else.
    #[error("{path} is not a journal of this router: its first line has no valid checksum")]
    Foreign {
        /// The file.
        path: String,
    },
    /// A record holds a line break, which the format cannot carry.
    #[error("a record with a line break cannot be stored")]
    LineBreak,
    /// The writer is gone, which happens only while the process ends.
    #[error("the journal is closed")]
    Closed,
}

/// A file of records. Cheap to clone; all clones speak to one writer.
#[derive(Debug, Clone)]
pub struct Journal {
    requests: SyncSender<Request>,
}

type Done = oneshot::Sender<Result<(), StoreError>>;

#[derive(Debug)]
enum Request {
    Append(Vec<u8>, Done),
    Rewrite(Vec<Vec<u8>>, Done),
}

impl Journal {
    /// Opens or creates the file and reads what it holds, oldest first. A torn end is cut off.
    ///
    /// # Errors
    /// The file cannot be opened, read or cut, or it is not a journal.
    pub fn open(path: &Path) -> Result<(Self, Vec<Vec<u8>>), StoreError> {
        let failed = |action| move |error| io_error(action, path, &error);
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(failed("create the folder of"))?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(PRIVATE)
            .open(path)
            .map_err(failed("open"))?;
        file.set_permissions(Permissions::from_mode(PRIVATE)).map_err(failed("close to others"))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed("read"))?;
        let (records, length) = records(&text);
        if records.is_empty() && text.contains(&b'\n') {
            return Err(StoreError::Foreign { path: path.display().to_string() });
        }
        if length < text.len() as u64 {
            tracing::warn!(file = %path.display(), octets = text.len() as u64 - length, "cut off a torn end");
            file.set_len(length).map_err(failed("cut"))?;
        }
        file.seek(SeekFrom::Start(length)).map_err(failed("seek in"))?;
        file.sync_all().map_err(failed("sync"))?;
        sync_folder(parent).map_err(failed("sync the folder of"))?;
        let (requests, queue) = sync_channel(QUEUE);
        let writer = Writer { file, path: path.to_owned(), length };
        thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run(&queue))
            .map_err(failed("start the writer of"))?;
        Ok((Self { requests }, records))
    }

    /// Stores one record; it is on disk when this returns. Requests are written in the order of the calls.
    ///
    /// # Errors
    /// The disk refused; nothing of the record remains, and a later append may succeed.
    pub async fn append(&self, record: Vec<u8>) -> Result<(), StoreError> {
        self.submit(record)?.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Hands one record to the writer and returns what will say that it is on disk. Waits only where the queue is full.
    ///
    /// # Errors
    /// The record cannot be stored in this format, or the writer is gone.
    pub fn submit(&self, record: Vec<u8>) -> Result<oneshot::Receiver<Result<(), StoreError>>, StoreError> {
        if record.contains(&b'\n') {
            return Err(StoreError::LineBreak);
        }
        let (done, result) = oneshot::channel();
        self.requests.send(Request::Append(record, done)).map_err(|_| StoreError::Closed)?;
        Ok(result)
    }

    /// Replaces everything that was asked for before this call by `records`, at once: a power cut leaves either all of
    /// the old or all of the new.
    ///
    /// # Errors
    /// The disk refused; the journal goes on as it was.
    pub async fn rewrite(&self, records: Vec<Vec<u8>>) -> Result<(), StoreError> {
        self.submit_rewrite(records)?.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Hands what replaces everything that was asked for before this call to the writer, and returns what will say that
    /// it is on disk. For a caller that asks under a lock, so that nothing comes in between.
    ///
    /// # Errors
    /// A record cannot be stored in this format, or the writer is gone.
    pub fn submit_rewrite(
        &self,
        records: Vec<Vec<u8>>,
    ) -> Result<oneshot::Receiver<Result<(), StoreError>>, StoreError> {
        if records.iter().any(|record| record.contains(&b'\n')) {
            return Err(StoreError::LineBreak);
        }
        let (done, result) = oneshot::channel();
        self.requests.send(Request::Rewrite(records, done)).map_err(|_| StoreError::Closed)?;
        Ok(result)
    }
}

/// The thread that owns the file.
struct Writer {
    file: File,
    path: PathBuf,
    length: u64,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Request>) {
        let mut held = None;
        while let Some(request) = held.take().or_else(|| queue.recv().ok()) {
            match request {
                Request::Append(record, done) => held = self.append_group(record, done, queue),
                Request::Rewrite(records, done) => {
                    let result =
                        self.rewrite(&records).map_err(|error| io_error("rewrite", &self.path, &error));
                    // Whoever asked may have stopped waiting; the file is right either way.
                    let _ = done.send(result);
                }
            }
        }
    }

    /// Writes a record and all that wait behind it, with one sync. Returns the request that ended the group.
    fn append_group(&mut self, record: Vec<u8>, done: Done, queue: &Receiver<Request>) -> Option<Request> {
        let mut lines = line(&record);
        let mut waiting = vec![done];
        let mut held = None;
        while waiting.len() < GROUP {
            match queue.try_recv() {
                Ok(Request::Append(record, done)) => {
                    lines.extend(line(&record));
                    waiting.push(done);
                }
                Ok(other) => {
                    held = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        let result = self.write(&lines).map_err(|error| io_error("write", &self.path, &error));
        for done in waiting {
            let _ = done.send(result.clone());
        }
        held
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(lines).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => self.length += lines.len() as u64,
            Err(_) => {
                // What was not acknowledged must not come back: cut it off, here or at the latest at the next start.
                self.file.set_len(self.length)?;
                self.file.seek(SeekFrom::Start(self.length))?;
            }
        }
        written
    }

    fn rewrite(&mut self, records: &[Vec<u8>]) -> io::Result<()> {
        let lines: Vec<u8> = records.iter().flat_map(|record| line(record)).collect();
        let fresh_path = self.path.with_extension("new");
        let mut fresh =
            OpenOptions::new().write(true).create(true).truncate(true).mode(PRIVATE).open(&fresh_path)?;
        let written = fresh.write_all(&lines).and_then(|()| fresh.sync_all());
        if let Err(error) = written.and_then(|()| fs::rename(&fresh_path, &self.path)) {
            // A full disk is not to stay full of what nobody reads; the next attempt would write over it.
            let _ = fs::remove_file(&fresh_path);
            return Err(error);
        }
        // From here on the new file is the journal, whether or not its name is on disk yet.
        self.file = fresh;
        self.length = lines.len() as u64;
        sync_folder(self.path.parent().unwrap_or(Path::new(".")))
    }
}

fn line(record: &[u8]) -> Vec<u8> {
    let mut line = format!("{:08x} ", crc32fast::hash(record)).into_bytes();
    line.extend_from_slice(record);
    line.push(b'\n');
    line
}

/// The records up to the first line that is not whole, and how many octets they take.
pub(super) fn records(text: &[u8]) -> (Vec<Vec<u8>>, u64) {
    let mut records = Vec::new();
    let mut length = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let Some(record) = line.strip_suffix(b"\n").and_then(record) else { break };
        records.push(record.to_vec());
        length += line.len() as u64;
    }
    (records, length)
}

fn record(line: &[u8]) -> Option<&[u8]> {
    let (prefix, record) = line.split_at_checked(PREFIX)?;
    let digits = std::str::from_utf8(prefix.strip_suffix(b" ")?).ok()?;
    let checksum = u32::from_str_radix(digits, 16).ok()?;
    (crc32fast::hash(record) == checksum).then_some(record)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

fn io_error(action: &'static str, path: &Path, error: &io::Error) -> StoreError {
    StoreError::Io { action, path: path.display().to_string(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> (Journal, Vec<String>) {
        let (journal, records) = Journal::open(path).unwrap();
        (journal, records.into_iter().map(|record| String::from_utf8(record).unwrap()).collect())
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/journal");
        let (journal, records) = open(&path);
        assert!(records.is_empty());
        journal.append(b"one".to_vec()).await.unwrap();
        journal.append(b"two".to_vec()).await.unwrap();
        assert_eq!(open(&path).1, ["one", "two"]);
        journal.rewrite(vec![b"three".to_vec()]).await.unwrap();
        journal.append(b"four".to_vec()).await.unwrap();
        assert_eq!(open(&path).1, ["three", "four"]);
    }

    #[tokio::test]
    async fn nobody_else_may_read_it_before_and_after_it_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let (journal, _) = open(&path);
        assert_eq!(mode(), PRIVATE);
        journal.rewrite(vec![b"one".to_vec()]).await.unwrap();
        assert_eq!(mode(), PRIVATE);
    }

    #[tokio::test]
    async fn a_torn_end_is_cut_off_at_every_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (journal, _) = open(&path);
        journal.append(b"whole".to_vec()).await.unwrap();
        let whole = fs::read(&path).unwrap();
        journal.append(b"torn".to_vec()).await.unwrap();
        let both = fs::read(&path).unwrap();
        for length in whole.len()..both.len() {
            fs::write(&path, &both[..length]).unwrap();
            let (again, records) = open(&path);
            assert_eq!(records, ["whole"], "cut at {length}");
            again.append(b"next".to_vec()).await.unwrap();
            assert_eq!(open(&path).1, ["whole", "next"], "cut at {length}");
        }
    }

    #[tokio::test]
    async fn a_changed_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (journal, _) = open(&path);
        for record in ["one", "two", "three"] {
            journal.append(record.as_bytes().to_vec()).await.unwrap();
        }
        let mut text = fs::read(&path).unwrap();
        let second = text.windows(3).position(|window| window == b"two").unwrap();
        text[second] ^= 1;
        fs::write(&path, text).unwrap();
        assert_eq!(open(&path).1, ["one"], "nothing behind a damaged record can be trusted");
    }

    #[tokio::test]
    async fn many_that_wait_share_a_sync_and_keep_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (journal, _) = open(&path);
        let waiting: Vec<_> =
            (0..2000).map(|number| journal.submit(number.to_string().into_bytes()).unwrap()).collect();
        for done in waiting {
            done.await.unwrap().unwrap();
        }
        assert_eq!(open(&path).1, (0..2000).map(|number| number.to_string()).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_foreign_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        fs::write(&path, "somebody's notes\n").unwrap();
        assert!(matches!(Journal::open(&path), Err(StoreError::Foreign { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's notes\n");
        let (journal, _) = open(&folder.path().join("mine"));
        assert!(matches!(journal.append(b"a\nb".to_vec()).await, Err(StoreError::LineBreak)));
    }

    /// /dev/full answers every write with ENOSPC.
    #[test]
    fn a_full_disk_is_said_and_leaves_nothing_behind() {
        let file = OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
        let mut writer = Writer { file, path: PathBuf::from("/dev/full"), length: 0 };
        assert!(writer.write(b"line").is_err());
        assert_eq!(writer.length, 0);
    }
}
