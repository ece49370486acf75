//! Images in the qcow2 format: what a header says, and overlays that keep only what is written over another image.
//!
//! After QEMU's `docs/interop/qcow2.txt`; numbers are big-endian. An overlay is written whole by us in a fraction of a
//! millisecond, without a child process. Called by `libvirt`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// How every image begins.
const MAGIC: u32 = 0x5146_49fb;
/// Octets of the header that is written here.
const HEADER: u32 = 104;
/// Header extension: the format of the backing file, without which QEMU refuses the image.
const BACKING_FORMAT: u32 = 0xe279_2aca;
/// Clusters of 64 KiB, QEMU's own choice.
const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Octets of disk that one entry of the first-level table stands for: a second-level table of 8192 clusters.
const PER_ENTRY: u64 = CLUSTER / 8 * CLUSTER;
/// The longest first-level table that QEMU opens.
const MAX_TABLE: u64 = 32 << 20;
/// The longest path that a header has room for (QEMU's limit).
const MAX_PATH: usize = 1023;

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Qcow2Error {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// It is not such an image.
    #[error("{} is no qcow2 image of version 2 or 3", .0.display())]
    Format(PathBuf),
    /// The disk is larger than an overlay can say.
    #[error("a disk of {0} octets is too large for an overlay")]
    Size(u64),
    /// The path does not fit into a header.
    #[error("the path of the golden image has more than {MAX_PATH} octets or is not absolute")]
    Path,
}

/// What a header says that matters to a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Octets of the disk.
    pub size: u64,
    /// How many snapshots are inside the image.
    pub snapshots: u32,
    /// Whether it keeps only what differs from another image.
    pub has_backing: bool,
    /// Whether it is encrypted.
    pub encrypted: bool,
}

impl Header {
    /// Reads the header of an image.
    ///
    /// # Errors
    /// It cannot be read, or is no such image.
    pub fn read(path: &Path) -> Result<Self, Qcow2Error> {
        let mut octets = [0; 72];
        let mut file = File::open(path).map_err(|source| Qcow2Error::File { path: path.into(), source })?;
        file.read_exact(&mut octets).map_err(|_| Qcow2Error::Format(path.into()))?;
        Self::parse(&octets).ok_or_else(|| Qcow2Error::Format(path.into()))
    }

    /// Reads the first octets of an image; nothing where they are no header.
    #[must_use]
    pub fn parse(octets: &[u8; 72]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_be_bytes(octets.get(at..at + 4)?.try_into().ok()?));
        let long = |at: usize| Some(u64::from_be_bytes(octets.get(at..at + 8)?.try_into().ok()?));
        if word(0)? != MAGIC || !matches!(word(4)?, 2 | 3) {
            return None;
        }
        Some(Self {
            size: long(24)?,
            snapshots: word(60)?,
            has_backing: long(8)? != 0,
            encrypted: word(32)? != 0,
        })
    }
}

/// What an overlay lies over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Its file, absolute.
    pub path: PathBuf,
    /// `raw` or `qcow2`.
    pub format: String,
    /// Octets of the disk.
    pub size: u64,
}

/// The octets of an overlay in which nothing is written yet.
///
/// # Errors
/// The disk is too large or the path too long.
pub fn overlay(base: &Base) -> Result<Vec<u8>, Qcow2Error> {
    let path = base.path.as_os_str().as_encoded_bytes();
    if path.len() > MAX_PATH || !base.path.is_absolute() {
        return Err(Qcow2Error::Path);
    }
    // QEMU counts a disk in sectors.
    let size = base.size.checked_next_multiple_of(512).ok_or(Qcow2Error::Size(base.size))?;
    let entries = size.div_ceil(PER_ENTRY).max(1);
    if entries * 8 > MAX_TABLE {
        return Err(Qcow2Error::Size(base.size));
    }
    let table = (entries * 8).div_ceil(CLUSTER);
    // Header, table of reference counts, one block of them, then the first-level table: all zero, so all of the disk is
    // looked up in the image below.
    let clusters = 3 + table;
    let extension = u32::try_from(base.format.len().next_multiple_of(8)).unwrap_or_default() + 8;
    let path_at = HEADER + extension + 8;
    let word = |value: u64| u32::try_from(value).unwrap_or_default();
    let mut head = Vec::with_capacity(usize::from(u16::MAX));
    let mut put = |octets: &[u8]| head.extend_from_slice(octets);
    put(&MAGIC.to_be_bytes());
    put(&3u32.to_be_bytes());
    put(&u64::from(path_at).to_be_bytes());
    put(&word(path.len() as u64).to_be_bytes());
    put(&CLUSTER_BITS.to_be_bytes());
    put(&size.to_be_bytes());
    put(&0u32.to_be_bytes()); // Not encrypted.
    put(&word(entries).to_be_bytes());
    put(&(3 * CLUSTER).to_be_bytes()); // The first-level table.
    put(&CLUSTER.to_be_bytes()); // The table of reference counts,
    put(&1u32.to_be_bytes()); // which is one cluster.
    put(&[0; 12]); // No snapshots.
    put(&[0; 24]); // No features.
    put(&4u32.to_be_bytes()); // Reference counts of 16 bits.
    put(&HEADER.to_be_bytes());
    put(&BACKING_FORMAT.to_be_bytes());
    put(&word(base.format.len() as u64).to_be_bytes());
    put(base.format.as_bytes());
    put(&vec![0; base.format.len().next_multiple_of(8) - base.format.len()]);
    put(&[0; 8]); // The end of extensions.
    put(path);
    let cluster = usize::try_from(CLUSTER).unwrap_or(usize::MAX);
    let mut octets = head;
    octets.resize(cluster, 0);
    octets.extend_from_slice(&(2 * CLUSTER).to_be_bytes());
    octets.resize(2 * cluster, 0);
    for _ in 0..clusters {
        octets.extend_from_slice(&1u16.to_be_bytes());
    }
    octets.resize(usize::try_from(clusters).unwrap_or_default() * cluster, 0);
    Ok(octets)
}

/// Writes an overlay to a file that must not be there.
///
/// # Errors
/// The file is there or cannot be written; nothing is left of it then.
pub fn create(path: &Path, base: &Base) -> Result<(), Qcow2Error> {
    let octets = overlay(base)?;
    let failed = |source| Qcow2Error::File { path: path.into(), source };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let written = file.write_all(&octets);
    if let Err(source) = written {
        // What is half an image is of no use to anybody; that it could not be written is what is reported.
        let _ = std::fs::remove_file(path);
        return Err(Qcow2Error::File { path: path.into(), source });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs qemu-img; nothing where the machine has none.
    #[expect(clippy::disallowed_methods, reason = "QEMU's own tool judges our images")]
    fn qemu_img(arguments: &[&str]) -> Option<String> {
        let output = std::process::Command::new("qemu-img").args(arguments).output().ok()?;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8(output.stdout).unwrap())
    }

    #[test]
    fn overlays_are_what_qemu_takes_for_good() {
        let folder = tempfile::tempdir().unwrap();
        let golden = folder.path().join("golden.raw");
        std::fs::write(&golden, vec![7; 1 << 20]).unwrap();
        for (number, size) in [1 << 20, 1, PER_ENTRY, PER_ENTRY + 1, 8 << 40].into_iter().enumerate() {
            let file = folder.path().join(format!("{number}.qcow2"));
            let base = Base { path: golden.clone(), format: "raw".to_owned(), size };
            create(&file, &base).unwrap();
            let header = Header::read(&file).unwrap();
            assert_eq!(
                header,
                Header {
                    size: size.next_multiple_of(512),
                    snapshots: 0,
                    has_backing: true,
                    encrypted: false
                }
            );
            let name = file.to_str().unwrap();
            if let Some(said) = qemu_img(&["check", name]) {
                assert!(said.contains("No errors were found"), "{said}");
                let info = qemu_img(&["info", "--output=json", name]).unwrap();
                let info: serde_json::Value = serde_json::from_str(&info).unwrap();
                assert_eq!(info["virtual-size"], size.next_multiple_of(512));
                assert_eq!(info["backing-filename"], golden.to_str().unwrap());
                assert_eq!(info["backing-filename-format"], "raw");
            }
            assert!(create(&file, &base).is_err(), "it is there already");
        }
        let same = folder.path().join("0.qcow2");
        if qemu_img(&[
            "compare",
            "-f",
            "qcow2",
            "-F",
            "raw",
            same.to_str().unwrap(),
            golden.to_str().unwrap(),
        ])
        .is_none()
        {
            // Without QEMU only the header was judged.
            return;
        }
        let second = folder.path().join("second.qcow2");
        let base = Base { path: same, format: "qcow2".to_owned(), size: 1 << 20 };
        create(&second, &base).unwrap();
        qemu_img(&["check", second.to_str().unwrap()]);
    }

    #[test]
    fn what_is_no_image_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("text");
        std::fs::write(&file, "x".repeat(100)).unwrap();
        assert!(matches!(Header::read(&file), Err(Qcow2Error::Format(_))));
        std::fs::write(&file, "short").unwrap();
        assert!(matches!(Header::read(&file), Err(Qcow2Error::Format(_))));
        assert!(matches!(Header::read(&folder.path().join("none")), Err(Qcow2Error::File { .. })));
        let large = Base { path: "/golden".into(), format: "raw".to_owned(), size: u64::MAX };
        assert!(matches!(overlay(&large), Err(Qcow2Error::Size(_))));
        let relative = Base { path: "golden".into(), format: "raw".to_owned(), size: 1 };
        assert!(matches!(overlay(&relative), Err(Qcow2Error::Path)));
    }
}
