//! The machine as the kernel, the firmware and the boot loader show it: read here, decided in `layout.rs`. Everything is looked
//! for below one folder, which is `/` on a real one.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use nix::unistd::{User, chown};

use super::entry::Entry;
use super::firmware::{self, COUNT_PATH, SELECTED, VENDOR};
use super::hands::{Disks, Hands as _};
use super::keys::Keys;
use super::layout::{Facts, Layout, Partition, slots};

/// The public keys of whoever may sign updates.
const KEYS: &str = "usr/share/vrouter/update.pub";
/// The folder of the boot loader's entries.
const ENTRIES: &str = "efi/EFI/Linux";
/// The variables of the firmware.
const VARIABLES: &str = "sys/firmware/efi/efivars";
/// The disks and partitions that the kernel knows.
const BLOCK: &str = "sys/class/block";
/// The verity device that the root is on.
const VERITY: &str = "dm-0";
/// What is there once the router has decided whether the version that runs is good: nobody else has to.
const DECIDED: &str = "run/vrouter/trial-over";
/// The unit in which the kernel tells sizes, in octets.
const SECTOR: u64 = 512;

/// A machine.
#[derive(Debug, Clone)]
pub struct Machine {
    root: PathBuf,
    /// What is written to have the machine started again; nothing where nobody would.
    reboot: Option<PathBuf>,
}

impl Machine {
    /// The machine below a folder. Whoever starts it again does so when the file `reboot` appears.
    #[must_use]
    pub const fn new(root: PathBuf, reboot: Option<PathBuf>) -> Self {
        Self { root, reboot }
    }

    /// What there is to be decided over.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let variable = |name: &str| {
            let file = fs::read(self.root.join(VARIABLES).join(format!("{name}-{VENDOR}")));
            file.ok().and_then(|file| firmware::text(&file))
        };
        let files = names(&self.root.join(ENTRIES));
        Facts {
            partitions: self.partitions(),
            verity: names(&self.root.join(BLOCK).join(VERITY).join("slaves")).unwrap_or_default(),
            files: files.map_err(|error| format!("/{ENTRIES}: {error}")),
            selected: variable(SELECTED),
            count_path: variable(COUNT_PATH),
        }
    }

    /// The partitions that have a name.
    fn partitions(&self) -> Vec<Partition> {
        let block = self.root.join(BLOCK);
        let partition = |device: String| {
            let path = block.join(&device);
            let event = fs::read_to_string(path.join("uevent")).ok()?;
            let label = event.lines().find_map(|line| line.strip_prefix("PARTNAME="))?.to_owned();
            let sectors: u64 = fs::read_to_string(path.join("size")).ok()?.trim().parse().ok()?;
            // The kernel shows a partition as a folder in that of its disk.
            let place = path.canonicalize().ok()?;
            let disk = place.parent()?.file_name()?.to_string_lossy().into_owned();
            Some(Partition { device, disk, label, octets: sectors.saturating_mul(SECTOR) })
        };
        names(&block).unwrap_or_default().into_iter().filter_map(partition).collect()
    }

    /// Who may sign updates.
    ///
    /// # Errors
    /// In words, why that is not known.
    pub fn keys(&self) -> Result<Keys, String> {
        let why = |why: String| format!("it does not know who may sign updates: /{KEYS}: {why}");
        let pem = fs::read(self.root.join(KEYS)).map_err(|error| why(error.to_string()))?;
        Keys::parse(&pem).map_err(|fault| why(fault.to_string()))
    }

    /// The disks of this layout, to write an update to.
    ///
    /// # Errors
    /// The idle slot cannot be opened.
    pub fn disks(&self, layout: &Layout) -> io::Result<Disks> {
        Disks::entries(self.root.join(ENTRIES)).with_slot(&self.device(&layout.idle))
    }

    fn device(&self, partition: &Partition) -> PathBuf {
        self.root.join("dev").join(&partition.device)
    }

    /// Gives an entry another counter, or none.
    ///
    /// # Errors
    /// The system refuses.
    pub fn rename(&self, from: &Entry, to: &Entry) -> io::Result<()> {
        Disks::entries(self.root.join(ENTRIES)).rename(&from.to_string(), &to.to_string())
    }

    /// Says that it is decided whether what runs is good.
    ///
    /// # Errors
    /// The system refuses.
    pub fn say_decided(&self) -> io::Result<()> {
        put(&self.root.join(DECIDED))
    }

    /// Whether somebody starts the machine again when asked to.
    #[must_use]
    pub const fn can_reboot(&self) -> bool {
        self.reboot.is_some()
    }

    /// Asks for the machine to be started again.
    ///
    /// # Errors
    /// The system refuses, or there is nobody to be asked.
    pub fn reboot(&self) -> io::Result<()> {
        match &self.reboot {
            Some(file) => put(file),
            None => Err(io::Error::other("nobody starts this machine again when asked to")),
        }
    }

    /// Hands the idle slot to a user of the machine, so that the service may write it, which runs as one who may write no
    /// disk. A machine without slots is left as it is. For a process of root, before the service starts.
    ///
    /// # Errors
    /// There is no such user, or the system refuses.
    pub fn hand_over(&self, user: &str) -> io::Result<()> {
        let user = User::from_name(user)?;
        let user = user.ok_or_else(|| io::Error::other("there is no such user"))?;
        match slots(&self.facts()) {
            Ok([_, (_, idle)]) => Ok(chown(&self.device(idle), Some(user.uid), None)?),
            Err(_) => Ok(()),
        }
    }
}

/// The names in a folder, in a stable order.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let mut names: Vec<String> =
        entries.iter().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// Makes a file that is there for its name.
fn put(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::File::create(path)?.write_all(b"1\n")
}

#[cfg(test)]
pub(super) mod tests;
