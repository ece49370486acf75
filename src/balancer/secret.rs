//! What cookies are signed with: random, kept over restarts, so that clients stay where they are.
//!
//! Called once, when the service begins.

use std::fs::{File, OpenOptions, rename};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::sticky::Secret;
use crate::clock;

/// The file within the state directory; nobody but the router reads it.
const NAME: &str = "balancer-secret";
/// How long it is, in octets.
const LENGTH: usize = 32;

/// The secret of this router, made where there is none yet. One that is not whole is made anew: clients lose their place
/// once, and nothing else.
///
/// # Errors
/// The file cannot be read or written, or the kernel has no randomness.
pub(super) fn keep(state_dir: &Path) -> io::Result<Secret> {
    let path = state_dir.join(NAME);
    let mut octets = Vec::new();
    match File::open(&path) {
        Ok(mut file) => drop(file.read_to_end(&mut octets)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if octets.len() == LENGTH {
        return Ok(Secret::new(&octets));
    }
    octets.clear();
    while octets.len() < LENGTH {
        octets.extend_from_slice(&clock::random_u64().map_err(io::Error::from)?.to_ne_bytes());
    }
    let new = state_dir.join(format!("{NAME}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&octets)?;
    file.sync_all()?;
    rename(&new, &path)?;
    File::open(state_dir)?.sync_all()?;
    Ok(Secret::new(&octets))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_is_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        keep(folder.path()).unwrap();
        let read = || std::fs::read(folder.path().join(NAME)).unwrap();
        let first = read();
        assert_eq!(first.len(), LENGTH);
        keep(folder.path()).unwrap();
        assert_eq!(read(), first);
        let mode = std::fs::metadata(folder.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(folder.path().join(NAME), b"cut short").unwrap();
        keep(folder.path()).unwrap();
        assert_eq!(read().len(), LENGTH);
    }
}
