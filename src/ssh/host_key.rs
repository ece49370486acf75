//! The key by which clients know the router again: made when SSH is first turned on, and kept with the router's state.
//! Called by `service.rs`.
//!
//! The file is one of OpenSSH, for its owner alone, so that it can be carried over from or to another router.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{Algorithm, PrivateKey};

/// The name of the file in the state directory.
const FILE: &str = "ssh_host_ed25519_key";
/// What is written before it takes the file's place.
const NEW: &str = "ssh_host_ed25519_key.new";
/// Where a file goes that holds no key.
const UNREADABLE: &str = "ssh_host_ed25519_key.unreadable";
/// The largest file that is read, in octets.
const LIMIT: u64 = 16 << 10;

/// The host key, and why it ends with this process where it could not be kept.
#[derive(Debug)]
pub(super) struct HostKey {
    pub(super) key: PrivateKey,
    pub(super) fault: Option<String>,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("{0}")]
    System(#[from] io::Error),
    #[error("{0}")]
    Key(#[from] russh::keys::ssh_key::Error),
    #[error("it is not an Ed25519 key without a passphrase")]
    Other,
}

/// The key that is kept, or a new one of `seed`, which nobody may know, kept from now on. A file that cannot be read stays for
/// whoever looks into it; one that holds no key is put aside.
pub(super) fn open(state_dir: &Path, seed: &[u8; 32]) -> HostKey {
    let path = state_dir.join(FILE);
    match read(&path) {
        Ok(Some(key)) => return HostKey { key, fault: None },
        Ok(None) => {}
        Err(Unusable::System(error)) => {
            let fault = Some(format!("cannot read {}: {error}", path.display()));
            return HostKey { key: made(seed), fault };
        }
        Err(error) => {
            tracing::error!(file = %path.display(), %error, "the host key of SSH is put aside, and a new one made");
            if let Err(error) = fs::rename(&path, state_dir.join(UNREADABLE)) {
                tracing::error!(%error, "it cannot be put aside");
            }
        }
    }
    let key = made(seed);
    let kept = keep(state_dir, &key);
    let fault = kept.err().map(|error| format!("cannot write {}: {error}", path.display()));
    if fault.is_none() {
        tracing::info!(target: "audit", fingerprint = fingerprint(&key), "a host key of SSH was made");
    }
    HostKey { key, fault }
}

/// How people compare it, as `ssh` shows it: `SHA256:` and base64.
pub(super) fn fingerprint(key: &PrivateKey) -> String {
    key.fingerprint(russh::keys::HashAlg::Sha256).to_string()
}

fn made(seed: &[u8; 32]) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(seed))
}

fn read(path: &Path) -> Result<Option<PrivateKey>, Unusable> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut text = Vec::new();
    file.take(LIMIT).read_to_end(&mut text)?;
    let key = PrivateKey::from_openssh(text)?;
    let usable = key.algorithm() == Algorithm::Ed25519 && matches!(key.key_data(), KeypairData::Ed25519(_));
    if usable { Ok(Some(key)) } else { Err(Unusable::Other) }
}

/// Writes it so that power may fail at any moment.
fn keep(state_dir: &Path, key: &PrivateKey) -> Result<(), Unusable> {
    let text = key.to_openssh(LineEnding::LF)?;
    let new = state_dir.join(NEW);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, state_dir.join(FILE))?;
    File::open(state_dir)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path(), &[1; 32]);
        let again = open(folder.path(), &[2; 32]);
        assert_eq!((&first.fault, &again.fault), (&None, &None));
        assert_eq!(fingerprint(&first.key), fingerprint(&again.key));
        assert!(fingerprint(&first.key).starts_with("SHA256:"));
        let file = folder.path().join(FILE);
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!folder.path().join(NEW).exists());
    }

    #[test]
    fn a_file_that_holds_no_key_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "nonsense").unwrap();
        let made = open(folder.path(), &[3; 32]);
        assert_eq!(made.fault, None);
        assert_eq!(fs::read_to_string(folder.path().join(UNREADABLE)).unwrap(), "nonsense");
        assert_eq!(fingerprint(&open(folder.path(), &[4; 32]).key), fingerprint(&made.key));
    }

    #[test]
    fn a_disk_that_takes_nothing_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("gone");
        let fault = open(&nowhere, &[5; 32]).fault.unwrap();
        assert!(fault.starts_with("cannot write ") && fault.contains("ssh_host_ed25519_key"), "{fault}");
        fs::create_dir(folder.path().join(FILE)).unwrap();
        let fault = open(folder.path(), &[5; 32]).fault.unwrap();
        assert!(fault.starts_with("cannot read "), "{fault}");
    }
}
