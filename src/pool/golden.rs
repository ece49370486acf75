//! The golden domain: whether it can be cloned now, and what names its content. Called by `libvirt`.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use sha1::{Digest as _, Sha1};

use super::clone::qcow2::{Base, Header, Qcow2Error};
use super::clone::read;
use super::clone::xml::XmlError;

/// Why a golden domain cannot be cloned.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// Its description does not fit.
    #[error(transparent)]
    Description(#[from] XmlError),
    /// Its image cannot be read.
    #[error(transparent)]
    Image(#[from] Qcow2Error),
    /// It is changing.
    #[error("it is not shut off: what it writes would show through in its clones")]
    Running,
    /// Clones would not see the newest state of its disk alone.
    #[error("{0} internal snapshots are in its image; delete them")]
    Snapshots(u32),
    /// It has no image of its own.
    #[error("it is itself a clone: its image lies over another one")]
    IsClone,
    /// Clones could not open it.
    #[error("its image is encrypted")]
    Encrypted,
}

/// A golden domain that can be cloned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What its description says.
    pub description: read::Golden,
    /// What overlays lie over.
    pub base: Base,
    /// What names its content: another description, another file, or another time of change is another version.
    pub version: String,
}

/// Checks a golden domain by its description and by its image.
///
/// # Errors
/// It cannot be cloned now.
pub fn check(text: &str, runs: bool) -> Result<Checked, GoldenError> {
    let description = read::Golden::read(text)?;
    if runs {
        return Err(GoldenError::Running);
    }
    let base = base(&description)?;
    let version = version(text, &description.disk)?;
    Ok(Checked { description, base, version })
}

fn base(description: &read::Golden) -> Result<Base, GoldenError> {
    let path = description.disk.clone();
    let size = if description.format == "qcow2" {
        let header = Header::read(&path)?;
        if header.snapshots > 0 {
            return Err(GoldenError::Snapshots(header.snapshots));
        }
        if header.has_backing {
            return Err(GoldenError::IsClone);
        }
        if header.encrypted {
            return Err(GoldenError::Encrypted);
        }
        header.size
    } else {
        stat(&path)?.len()
    };
    Ok(Base { path, format: description.format.clone(), size })
}

/// Names the content of a golden domain.
///
/// # Errors
/// The image's file cannot be looked at.
pub fn version(text: &str, disk: &Path) -> Result<String, GoldenError> {
    let file = stat(disk)?;
    let mut digest = Sha1::new();
    digest.update(text);
    for number in [file.dev(), file.ino(), file.len()] {
        digest.update(number.to_be_bytes());
    }
    digest.update(file.mtime().to_be_bytes());
    digest.update(file.mtime_nsec().to_be_bytes());
    let mut name = String::with_capacity(16);
    for octet in digest.finalize().iter().take(8) {
        let _ = write!(name, "{octet:02x}");
    }
    Ok(name)
}

fn stat(path: &Path) -> Result<fs::Metadata, Qcow2Error> {
    fs::metadata(path).map_err(|source| Qcow2Error::File { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::clone::qcow2;

    fn description(disk: &Path, format: &str) -> String {
        format!(
            "<domain><name>g</name><memory>1024</memory><devices><disk type='file'><driver type='{format}'/>\
             <source file='{}'/><target dev='vda'/></disk><graphics type='spice'/></devices></domain>",
            disk.display()
        )
    }

    #[test]
    fn a_golden_domain_is_checked_and_its_versions_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let raw = folder.path().join("golden.img");
        fs::write(&raw, vec![0; 1 << 20]).unwrap();
        let text = description(&raw, "raw");
        let first = check(&text, false).unwrap();
        assert_eq!((first.base.size, first.description.memory), (1 << 20, 1 << 20));
        assert_eq!(check(&text, false).unwrap().version, first.version);
        assert!(matches!(check(&text, true), Err(GoldenError::Running)));
        fs::write(&raw, vec![1; 1 << 21]).unwrap();
        assert_ne!(check(&text, false).unwrap().version, first.version);
        let clone = folder.path().join("clone.qcow2");
        qcow2::create(&clone, &first.base).unwrap();
        assert!(matches!(check(&description(&clone, "qcow2"), false), Err(GoldenError::IsClone)));
        let mut octets = fs::read(&clone).unwrap();
        octets[8..16].fill(0);
        fs::write(&clone, &octets).unwrap();
        assert_eq!(check(&description(&clone, "qcow2"), false).unwrap().base.format, "qcow2");
        octets[63] = 2;
        fs::write(&clone, &octets).unwrap();
        assert!(matches!(check(&description(&clone, "qcow2"), false), Err(GoldenError::Snapshots(2))));
        octets[63] = 0;
        octets[35] = 1;
        fs::write(&clone, &octets).unwrap();
        assert!(matches!(check(&description(&clone, "qcow2"), false), Err(GoldenError::Encrypted)));
        assert!(check(&description(&folder.path().join("none"), "raw"), false).is_err());
    }
}
