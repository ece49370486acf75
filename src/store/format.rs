//! Which layout the state directory has, and which version wrote in it last. Called by the daemon before anything else of it
//! is opened.
//!
//! The rules by which versions share a state directory, so that an update of the firmware can go back:
//!
//! - Within a format, records gain members and kinds, and lose none: what a version does not understand it passes over with a
//!   word in the journal, leaves where it is, and carries along when it writes a file anew.
//! - A member that is new is written only where somebody set it, so that a document without it is one of the version before.
//! - A generation that a version cannot read is remembered on; the last one that it can read comes back as a new one.
//! - What cannot be had within these rules is another format: its version makes files of other names of those of the format
//!   before and leaves them as they were, so that the version before finds what it left. Each version writes here the format
//!   that it uses; one that finds a lower number begins from the files of that.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The file, in the state directory.
const FILE: &str = "format.json";
/// The format of this version.
pub const FORMAT: u32 = 1;

/// What stands in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The layout.
    pub format: u32,
    /// The version of the service that wrote last.
    pub version: String,
}

/// Says that this version writes here from now on; who wrote before, where that is known. A disk that refuses keeps nobody
/// from starting.
pub fn mark(state_dir: &Path, version: &str) -> Option<Marker> {
    let path = state_dir.join(FILE);
    let found: Option<Marker> = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let own = Marker { format: FORMAT, version: version.to_owned() };
    match &found {
        Some(found) if *found == own => return Some(own),
        Some(found) if found.format > FORMAT => tracing::warn!(
            format = found.format,
            by = found.version,
            "the state directory was used by a version with another layout; what was there before that version is used"
        ),
        Some(found) => {
            tracing::info!(by = found.version, "another version wrote to the state directory last")
        }
        None => {}
    }
    if let Err(error) = write(&path, &own) {
        tracing::warn!(%error, "the state directory does not say which version writes to it");
    }
    found
}

fn write(path: &Path, marker: &Marker) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(&serde_json::to_vec(marker)?)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_says_that_it_writes() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(mark(folder.path(), "0.1.0"), None);
        let first = Marker { format: FORMAT, version: "0.1.0".into() };
        assert_eq!(mark(folder.path(), "0.2.0"), Some(first));
        let later = br#"{"format": 7, "version": "9.0.0", "more": {}}"#;
        fs::write(folder.path().join(FILE), later).unwrap();
        assert_eq!(mark(folder.path(), "0.2.0").unwrap().format, 7);
        assert_eq!(mark(folder.path(), "0.2.0").unwrap().format, FORMAT, "it writes in its own again");
        assert_eq!(mark(Path::new("/proc/nowhere"), "0.2.0"), None);
    }
}
