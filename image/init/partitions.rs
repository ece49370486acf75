//! Partitions by the names that their table gives them, as the kernel lists them. The slots of the root and the firmware's
//! partition are found by these, whatever the disk is called.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A named partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Partition {
    /// Its name in the partition table.
    pub(crate) name: String,
    /// Its device file.
    pub(crate) device: PathBuf,
    /// Its device number, `MAJOR:MINOR`.
    pub(crate) number: String,
    /// The folder of the disk that it is a part of, which tells disks apart.
    disk: PathBuf,
}

impl Partition {
    /// Whether both are parts of the same disk.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        self.disk == other.disk
    }

    /// Fills `octets` from a place in the partition.
    ///
    /// # Errors
    /// It ends before, or cannot be read.
    pub(crate) fn read_at(&self, offset: u64, octets: &mut [u8]) -> io::Result<()> {
        let mut device = File::open(&self.device)?;
        device.seek(SeekFrom::Start(offset))?;
        device.read_exact(octets)
    }
}

/// Every named partition that the kernel knows, in a stable order. One that goes away meanwhile is left out.
pub(crate) fn all() -> Vec<Partition> {
    let Ok(entries) = fs::read_dir("/sys/class/block") else { return Vec::new() };
    let mut found: Vec<_> = entries.flatten().filter_map(|entry| partition(&entry.path())).collect();
    found.sort_by(|one, other| one.device.cmp(&other.device));
    found
}

fn partition(folder: &Path) -> Option<Partition> {
    let folder = fs::canonicalize(folder).ok()?;
    describe(&fs::read_to_string(folder.join("uevent")).ok()?, folder.parent()?)
}

/// A partition from what its `uevent` says; whole disks have no partition's name.
fn describe(uevent: &str, disk: &Path) -> Option<Partition> {
    let value = |key: &str| uevent.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    Some(Partition {
        name: value("PARTNAME")?.to_owned(),
        device: Path::new("/dev").join(value("DEVNAME")?),
        number: format!("{}:{}", value("MAJOR")?, value("MINOR")?),
        disk: disk.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_partition_with_a_name_is_one() {
        let uevent =
            "MAJOR=254\nMINOR=2\nDEVNAME=vda2\nDEVTYPE=partition\nDISKSEQ=9\nPARTN=2\nPARTNAME=root-a\n";
        let disk = Path::new("/sys/devices/pci0000:00/0000:00:03.0/virtio2/block/vda");
        let found = describe(uevent, disk).unwrap();
        assert_eq!(found.name, "root-a");
        assert_eq!(found.device, Path::new("/dev/vda2"));
        assert_eq!(found.number, "254:2");
        assert!(found.is_beside(&describe(uevent, disk).unwrap()));
        assert!(!found.is_beside(&describe(uevent, Path::new("/sys/block/vdb")).unwrap()));
        assert_eq!(describe("MAJOR=254\nMINOR=0\nDEVNAME=vda\nDEVTYPE=disk\n", disk), None);
        assert_eq!(describe("PARTNAME=root-a\n", disk), None);
    }
}
