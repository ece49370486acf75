//! Saved memory images of libvirt (`virDomainSave`): taken apart, and put together for another VM.
//!
//! A file is a header of 92 octets, the domain's description, a cookie, padding, and QEMU's stream. libvirt restores only
//! to the name, UUID and MACs that stand in the description, and refuses to change them itself; a file with another
//! description before the same stream is a file of another VM. The layout is the one that libvirt keeps on disks across
//! versions (`qemu_saveimage.h`). Called by `libvirt`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// How every complete file begins; one that was not finished begins otherwise.
const MAGIC: &[u8; 16] = b"LibvirtQemudSave";
/// Octets of the header.
const HEADER: usize = 92;
/// The layout that is known here.
const VERSION: u32 = 2;
/// The longest description and cookie that are taken.
const MAX_DATA: u32 = 16 << 20;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// It is not a finished memory image of a layout that is known.
    #[error("{} is no memory image of libvirt", .0.display())]
    Format(PathBuf),
}

/// What stands before the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The domain's description.
    pub description: String,
    /// What libvirt keeps besides, from its own beginning to its end.
    cookie: Vec<u8>,
    /// Whether the domain ran, how the stream is packed: as they stand in the header.
    was_running: u32,
    compressed: u32,
}

impl Head {
    /// Reads what stands before the stream, and leaves the file at the stream's first octet.
    fn take(file: &mut File) -> Option<Self> {
        let mut header = [0; HEADER];
        file.read_exact(&mut header).ok()?;
        let word = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
        let length = word(20)?;
        if header.get(..16)? != MAGIC || word(16)? != VERSION || length > MAX_DATA {
            return None;
        }
        let mut data = vec![0; usize::try_from(length).ok()?];
        file.read_exact(&mut data).ok()?;
        let offset = usize::try_from(word(32)?).ok()?;
        let (description, cookie) =
            if offset == 0 { (&data[..], &[][..]) } else { data.split_at_checked(offset)? };
        let text =
            |octets: &[u8]| octets.iter().take_while(|octet| **octet != 0).copied().collect::<Vec<u8>>();
        Some(Self {
            description: String::from_utf8(text(description)).ok()?,
            cookie: text(cookie),
            was_running: word(24)?,
            compressed: word(28)?,
        })
    }

    /// The octets that stand before the stream.
    fn octets(&self) -> Vec<u8> {
        let mut data = self.description.clone().into_bytes();
        data.push(0);
        let offset = if self.cookie.is_empty() { 0 } else { data.len() };
        if offset > 0 {
            data.extend_from_slice(&self.cookie);
            data.push(0);
        }
        let mut octets = MAGIC.to_vec();
        let word = |number: usize| u32::try_from(number).unwrap_or_default();
        for number in [VERSION, word(data.len()), self.was_running, self.compressed, word(offset)] {
            octets.extend_from_slice(&number.to_le_bytes());
        }
        octets.resize(HEADER, 0);
        octets.extend_from_slice(&data);
        octets
    }
}

/// Reads what stands before the stream of an image.
///
/// # Errors
/// It cannot be read, or is no finished image.
pub fn head(path: &Path) -> Result<Head, ImageError> {
    let mut file = File::open(path).map_err(|source| ImageError::File { path: path.into(), source })?;
    Head::take(&mut file).ok_or_else(|| ImageError::Format(path.into()))
}

/// Writes a copy of an image with another description. The stream is copied inside of the kernel where it can.
///
/// # Errors
/// The image cannot be read, or the copy not be written; nothing is left of the copy then.
pub fn rewrite(image: &Path, copy: &Path, description: &str) -> Result<(), ImageError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ImageError::File { path, source }
    };
    let mut from = File::open(image).map_err(failed(image))?;
    let mut head = Head::take(&mut from).ok_or_else(|| ImageError::Format(image.into()))?;
    description.clone_into(&mut head.description);
    let mut to = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(copy)
        .map_err(failed(copy))?;
    let written = to.write_all(&head.octets()).and_then(|()| io::copy(&mut from, &mut to)).and_then(|_| {
        // What is missing is noticed here and not by a VM that crashes.
        let expected = from.metadata()?.len() - from.stream_position()?;
        if expected == 0 { Ok(()) } else { Err(io::Error::other("the image grew while it was copied")) }
    });
    if let Err(source) = written {
        // The copy's failure is what is reported.
        let _ = std::fs::remove_file(copy);
        return Err(ImageError::File { path: copy.into(), source });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(cookie: &str, stream: &[u8]) -> Vec<u8> {
        let head = Head {
            description: "<domain>template</domain>".to_owned(),
            cookie: cookie.as_bytes().to_vec(),
            was_running: 1,
            compressed: 0,
        };
        let mut octets = head.octets();
        octets.extend_from_slice(stream);
        octets
    }

    #[test]
    fn another_description_stands_before_the_same_stream() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("image"), folder.path().join("copy"));
        let stream: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        for cookie in ["", "<cookie/>"] {
            std::fs::write(&from, image(cookie, &stream)).unwrap();
            rewrite(&from, &to, "<domain>a longer description of a clone</domain>").unwrap();
            let mut file = File::open(&to).unwrap();
            let found = Head::take(&mut file).unwrap();
            assert_eq!(found.description, "<domain>a longer description of a clone</domain>");
            assert_eq!((found.cookie, found.was_running), (cookie.as_bytes().to_vec(), 1));
            let mut rest = Vec::new();
            file.read_to_end(&mut rest).unwrap();
            assert_eq!(rest, stream);
        }
    }

    #[test]
    fn what_is_no_image_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("image");
        let whole = image("<cookie/>", b"");
        // An unfinished image, a strange version, a length beyond all bounds, a cookie behind the end, and a short one.
        for (at, octets) in [(8, &b"Partial"[..]), (16, &[9]), (23, &[0xff]), (33, &[0xff]), (0, &[])] {
            let mut broken = whole.clone();
            broken[at..at + octets.len()].copy_from_slice(octets);
            if octets.is_empty() {
                broken.truncate(100);
            }
            std::fs::write(&file, &broken).unwrap();
            assert!(matches!(head(&file), Err(ImageError::Format(_))), "{at}");
        }
        assert!(matches!(head(&folder.path().join("none")), Err(ImageError::File { .. })));
    }
}
