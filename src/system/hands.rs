//! What an update does to disks: a trait of few calls, so that tests can cut the power after each, and the calls themselves.
//!
//! Whatever returns from a call that says so is on the medium.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::libc::O_EXCL;
use nix::unistd::syncfs;

/// How much is read at once.
const CHUNK: usize = 256 << 10;
/// How much of a slot is written until it is waited for: a small machine has no memory for more.
const UNSYNCED: u64 = 4 << 20;

/// Takes what is read back, in order.
pub type Each<'a> = &'a mut dyn FnMut(&[u8]);

/// What an update does to disks.
pub trait Hands {
    /// Writes what follows in the idle slot.
    ///
    /// # Errors
    /// The system refuses.
    fn write_slot(&mut self, octets: &[u8]) -> io::Result<()>;
    /// Waits until all of that is on the medium.
    ///
    /// # Errors
    /// The system refuses.
    fn sync_slot(&mut self) -> io::Result<()>;
    /// Reads that many octets back from the medium.
    ///
    /// # Errors
    /// The system refuses.
    fn read_slot(&mut self, octets: u64, each: Each<'_>) -> io::Result<()>;
    /// Makes an empty file beside the entries.
    ///
    /// # Errors
    /// The system refuses.
    fn create(&mut self, name: &str) -> io::Result<()>;
    /// Writes what follows in the file that was made last.
    ///
    /// # Errors
    /// The system refuses.
    fn write(&mut self, octets: &[u8]) -> io::Result<()>;
    /// Waits until all of that file is on the medium.
    ///
    /// # Errors
    /// The system refuses.
    fn sync(&mut self) -> io::Result<()>;
    /// Reads a file beside the entries back from the medium.
    ///
    /// # Errors
    /// The system refuses.
    fn read(&mut self, name: &str, each: Each<'_>) -> io::Result<()>;
    /// Gives a file another name, which is on the medium when this returns.
    ///
    /// # Errors
    /// The system refuses.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file, which is gone from the medium when this returns.
    ///
    /// # Errors
    /// The system refuses.
    fn remove(&mut self, name: &str) -> io::Result<()>;
}

/// The machine's disks: the folder of the boot loader's entries, and the device of a slot.
#[derive(Debug)]
pub struct Disks {
    entries: PathBuf,
    slot: Option<File>,
    unsynced: u64,
    file: Option<File>,
}

impl Disks {
    /// The entries in this folder, and no slot.
    #[must_use]
    pub const fn entries(folder: PathBuf) -> Self {
        Self { entries: folder, slot: None, unsynced: 0, file: None }
    }

    /// The same with the slot on this device.
    ///
    /// # Errors
    /// It cannot be opened; one that the kernel uses cannot (open(2), O_EXCL).
    pub fn with_slot(self, device: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let slot = options.read(true).write(true).custom_flags(O_EXCL).open(device)?;
        Ok(Self { slot: Some(slot), ..self })
    }

    fn slot(&mut self) -> io::Result<&mut File> {
        self.slot.as_mut().ok_or_else(|| io::Error::other("no slot is open"))
    }

    /// Waits until names and contents are on the medium.
    fn settle(&self) -> io::Result<()> {
        let folder = File::open(&self.entries)?;
        folder.sync_all()?;
        Ok(syncfs(&folder)?)
    }
}

/// Reads so many octets from the medium, not from memory.
fn read_back(file: &mut File, octets: u64, each: Each<'_>) -> io::Result<()> {
    forget(file)?;
    file.seek(SeekFrom::Start(0))?;
    let (mut buffer, mut left) = (vec![0; CHUNK], octets);
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let part = buffer.get_mut(..length).unwrap_or_default();
        file.read_exact(part)?;
        each(part);
        left -= length as u64;
    }
    // Nobody reads it again until the next start, and memory is short.
    forget(file)
}

/// Has the kernel forget what it keeps of a file in memory.
fn forget(file: &File) -> io::Result<()> {
    Ok(posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?)
}

impl Hands for Disks {
    fn write_slot(&mut self, octets: &[u8]) -> io::Result<()> {
        self.slot()?.write_all(octets)?;
        self.unsynced += octets.len() as u64;
        if self.unsynced >= UNSYNCED { self.sync_slot() } else { Ok(()) }
    }

    fn sync_slot(&mut self) -> io::Result<()> {
        self.unsynced = 0;
        let slot = self.slot()?;
        slot.sync_all()?;
        forget(slot)
    }

    fn read_slot(&mut self, octets: u64, each: Each<'_>) -> io::Result<()> {
        read_back(self.slot()?, octets, each)
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        self.file = Some(File::create(self.entries.join(name))?);
        Ok(())
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.file.as_mut().ok_or_else(|| io::Error::other("no file is open"))?.write_all(octets)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.take().ok_or_else(|| io::Error::other("no file is open"))?.sync_all()?;
        self.settle()
    }

    fn read(&mut self, name: &str, each: Each<'_>) -> io::Result<()> {
        let mut file = File::open(self.entries.join(name))?;
        let octets = file.metadata()?.len();
        read_back(&mut file, octets, each)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.entries.join(from), self.entries.join(to))?;
        self.settle()
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.entries.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.settle(),
        }
    }
}
