//! From the command line's word to a verified root: which slot holds it, and the device over it.

use std::fs;
use std::path::PathBuf;

use crate::partitions::{self, Partition};
use crate::verity::{SUPERBLOCK, Salt, WantedRoot};
use crate::{InitError, mapper, mounts};

/// The names of the partitions that hold roots.
const SLOTS: [&str; 2] = ["root-a", "root-b"];

/// The root that the kernel's command line asks for, if it asks for one.
///
/// # Errors
/// It cannot be read, or the word in it is not understood.
pub(crate) fn wanted() -> Result<Option<WantedRoot>, InitError> {
    let line = fs::read_to_string("/proc/cmdline").map_err(InitError::refused("read", "/proc/cmdline"))?;
    WantedRoot::from_command_line(&line).map_err(InitError::refused("follow", "the command line"))
}

/// A verified device over the slot that holds the wanted root, and that slot. Waits a while for a disk to appear.
///
/// # Errors
/// No slot holds it, or the kernel refuses the device.
pub(crate) fn open(wanted: &WantedRoot) -> Result<(PathBuf, Partition), InitError> {
    let mut seen = Vec::new();
    for () in mounts::tries() {
        seen = slots();
        for slot in &seen {
            if let Ok(salt) = salt(wanted, slot) {
                let device = mapper::verified(&wanted.table(&slot.number, &salt), wanted.sectors())?;
                return Ok((device, slot.clone()));
            }
        }
        // Both are there: no third will come.
        if SLOTS.iter().all(|name| seen.iter().any(|slot| slot.name == *name)) {
            break;
        }
    }
    let said: Vec<_> = seen
        .iter()
        .map(|slot| match salt(wanted, slot) {
            Ok(_) => format!("{} on {}: it came too late", slot.name, slot.device.display()),
            Err(why) => format!("{} on {}: {why}", slot.name, slot.device.display()),
        })
        .collect();
    let seen = if said.is_empty() { "there are none".to_owned() } else { said.join("; ") };
    Err(InitError::NoSlot { seen })
}

fn slots() -> Vec<Partition> {
    partitions::all().into_iter().filter(|partition| SLOTS.contains(&partition.name.as_str())).collect()
}

/// The salt of a slot that holds the wanted root, or why it does not.
fn salt(wanted: &WantedRoot, slot: &Partition) -> Result<Salt, String> {
    let mut superblock = [0; SUPERBLOCK];
    slot.read_at(wanted.superblock_offset(), &mut superblock).map_err(|error| error.to_string())?;
    wanted.fits(&superblock).map_err(|misfit| misfit.to_string())
}
