//! A file of records that are durable before they are acknowledged.
//!
//! One record is one line: eight hexadecimal digits of its CRC-32, a space, the record without line breaks. A line that
//! a power cut tore is recognised and cut off. One thread owns the file; what is asked for while it waits for the disk
//! is written together and shares the next sync, so durability costs one sync for a whole group. Called by the
//! generation store and by the lease store.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
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
    Shorten(Option<Vec<u8>>, u64, Done),
}

impl Journal {
    /// Opens or creates the file and reads what it holds, oldest first. A torn end is cut off.
    ///
    /// # Errors
    /// The file cannot be opened, read or cut, or it is not a journal.
    pub fn open(path: &Path) -> Result<(Self, Vec<Vec<u8>>), StoreError> {
        let mut records = Vec::new();
        let (journal, _) = Self::open_each(path, |record| records.push(record.to_vec()))?;
        Ok((journal, records))
    }

    /// The same of a file that nobody was promised anything by: one that is something else is put aside under another name,
    /// and a fresh one takes its place.
    ///
    /// # Errors
    /// The file cannot be opened, read or cut, or not be put aside.
    pub fn open_or_put_aside(path: &Path) -> Result<(Self, Vec<Vec<u8>>), StoreError> {
        match Self::open(path) {
            Err(StoreError::Foreign { .. }) => {
                put_aside(path)?;
                Self::open(path)
            }
            opened => opened,
        }
    }

    /// Opens or creates the file and shows each record that it holds, oldest first, so that no more than one of them is in
    /// memory. A torn end is cut off. With the journal comes its length in octets.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub(super) fn open_each(path: &Path, each: impl FnMut(&[u8])) -> Result<(Self, u64), StoreError> {
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
        let (length, ends) = records(&file, each).map_err(failed("read"))?;
        if length == 0 && ends {
            return Err(StoreError::Foreign { path: path.display().to_string() });
        }
        let torn = file.metadata().map_err(failed("read"))?.len().saturating_sub(length);
        if torn > 0 {
            tracing::warn!(file = %path.display(), octets = torn, "cut off a torn end");
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
        Ok((Self { requests }, length))
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

    /// Forgets what stands before an octet of the file, at which a record begins or the file ends. `first`, where there is
    /// one, stands in its place. What stays is copied by the system: none of it comes to memory.
    ///
    /// # Errors
    /// The disk refused; the journal goes on as it was.
    pub(super) async fn shorten(&self, first: Option<Vec<u8>>, from: u64) -> Result<(), StoreError> {
        if first.as_ref().is_some_and(|first| first.contains(&b'\n')) {
            return Err(StoreError::LineBreak);
        }
        let (done, result) = oneshot::channel();
        self.requests.send(Request::Shorten(first, from, done)).map_err(|_| StoreError::Closed)?;
        result.await.unwrap_or(Err(StoreError::Closed))
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

/// Gives a file that is not understood another name, under which nobody looks for it.
///
/// # Errors
/// The system refuses.
pub(super) fn put_aside(path: &Path) -> Result<(), StoreError> {
    let aside = path.with_extension("unreadable");
    tracing::warn!(aside = %aside.display(), "{} is not understood and is put aside", path.display());
    fs::rename(path, &aside).map_err(|error| io_error("put aside", path, &error))
}

/// How many octets of the file a record takes.
pub(super) const fn length(record: &[u8]) -> u64 {
    (PREFIX + record.len() + 1) as u64
}

/// The record in these octets of the file.
///
/// # Errors
/// The file cannot be read, or what stands there is no record.
pub(super) fn read_at(path: &Path, offset: u64, length: u64) -> Result<Vec<u8>, StoreError> {
    let failed = |error| io_error("read a record of", path, &error);
    let mut file = File::open(path).map_err(failed)?;
    file.seek(SeekFrom::Start(offset)).map_err(failed)?;
    let mut line = vec![0; usize::try_from(length).unwrap_or_default()];
    file.read_exact(&mut line).map_err(failed)?;
    let record = line.strip_suffix(b"\n").and_then(record);
    record.map(<[u8]>::to_vec).ok_or_else(|| failed(io::Error::other("its checksum is wrong")))
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
                    let lines: Vec<u8> = records.iter().flat_map(|record| line(record)).collect();
                    self.put(&lines, None, done);
                }
                Request::Shorten(first, from, done) => {
                    self.put(&first.map(|first| line(&first)).unwrap_or_default(), Some(from), done);
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

    /// Puts lines, and what stands in the file from an octet on, in its place.
    fn put(&mut self, lines: &[u8], from: Option<u64>, done: Done) {
        let result = self.rewrite(lines, from).map_err(|error| io_error("rewrite", &self.path, &error));
        // Whoever asked may have stopped waiting; the file is right either way.
        let _ = done.send(result);
    }

    fn rewrite(&mut self, lines: &[u8], from: Option<u64>) -> io::Result<()> {
        let fresh_path = self.path.with_extension("new");
        let mut fresh =
            OpenOptions::new().write(true).create(true).truncate(true).mode(PRIVATE).open(&fresh_path)?;
        let written = fresh.write_all(lines).and_then(|()| match from {
            Some(from) => {
                let mut old = File::open(&self.path)?;
                old.seek(SeekFrom::Start(from))?;
                io::copy(&mut old.take(self.length.saturating_sub(from)), &mut fresh)
            }
            None => Ok(0),
        });
        let written = written.and_then(|copied| fresh.sync_all().map(|()| copied));
        let renamed = written.and_then(|copied| fs::rename(&fresh_path, &self.path).map(|()| copied));
        let copied = renamed.inspect_err(|_| {
            // A full disk is not to stay full of what nobody reads; the next attempt would write over it.
            let _ = fs::remove_file(&fresh_path);
        })?;
        // From here on the new file is the journal, whether or not its name is on disk yet.
        self.file = fresh;
        self.length = lines.len() as u64 + copied;
        sync_folder(self.path.parent().unwrap_or(Path::new(".")))
    }
}

fn line(record: &[u8]) -> Vec<u8> {
    let mut line = format!("{:08x} ", crc32fast::hash(record)).into_bytes();
    line.extend_from_slice(record);
    line.push(b'\n');
    line
}

/// Shows the records up to the first line that is not whole. How many octets they take, and whether any line ends.
fn records(file: &File, mut each: impl FnMut(&[u8])) -> io::Result<(u64, bool)> {
    let mut reader = BufReader::new(file);
    let (mut line, mut length, mut ends) = (Vec::new(), 0, false);
    while reader.read_until(b'\n', &mut line)? > 0 {
        ends |= line.ends_with(b"\n");
        let Some(record) = line.strip_suffix(b"\n").and_then(record) else { break };
        each(record);
        length += line.len() as u64;
        line.clear();
    }
    Ok((length, ends))
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
mod tests;
