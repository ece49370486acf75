//! What an update needs of the machine's firmware: its partition, on which the systems to start lie, and its variables,
//! which say what was started. Without either the router serves all the same, and only cannot be updated.

use std::fs;
use std::path::Path;

use nix::mount::MsFlags;

use crate::InitError;
use crate::mounts::{DATA_ONLY, NEW_ROOT, attach};
use crate::partitions::{self, Partition};

/// The firmware's partition, by its name in the table.
const NAME: &str = "esp";
/// Who may write there: the service that takes updates.
const USER: &str = "vrouter";
/// Where the kernel keeps the firmware's variables for a file system of theirs; absent without such firmware.
const VARIABLES: &str = "/sys/firmware/efi/efivars";

/// Mounts the firmware's partition of the slot's disk on `/efi` of the new root.
///
/// # Errors
/// There is none, or the kernel refuses it.
pub(crate) fn partition(slot: &Partition) -> Result<(), InitError> {
    let partition = partitions::all()
        .into_iter()
        .find(|partition| partition.name == NAME && partition.is_beside(slot))
        .ok_or_else(|| {
            InitError::refused("find", "the firmware's partition")("the disk has no partition esp")
        })?;
    let users = format!("{NEW_ROOT}/etc/passwd");
    let users = fs::read_to_string(&users).map_err(InitError::refused("read", users))?;
    let (user, group) = numbers(&users).ok_or_else(|| InitError::refused("find", USER)("it is no user"))?;
    let options = format!("uid={user},gid={group},umask=0077");
    attach(&partition.device.display().to_string(), "vfat", &format!("{NEW_ROOT}/efi"), DATA_ONLY, &options)
}

/// Mounts the firmware's variables, to be read, where there are some.
///
/// # Errors
/// The kernel refuses them.
pub(crate) fn variables() -> Result<(), InitError> {
    if !Path::new(VARIABLES).exists() {
        return Ok(());
    }
    attach("efivarfs", "efivarfs", VARIABLES, DATA_ONLY.union(MsFlags::MS_RDONLY), "")
}

/// The service's user and group in the text of a passwd(5).
fn numbers(users: &str) -> Option<(u32, u32)> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(USER)).then_some(())?;
        let (user, group) = (fields.nth(1)?, fields.next()?);
        Some((user.parse().ok()?, group.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_the_service_are_found() {
        let users = "root:x:0:0:root:/root:/usr/sbin/nologin\nvrouter:x:970:971:a: b:/var/lib/vrouter:/no\n";
        assert_eq!(numbers(users), Some((970, 971)));
        assert_eq!(numbers("vrouter2:x:1:1::/:/\n"), None);
        assert_eq!(numbers("vrouter:x:one:1::/:/\n"), None);
        assert_eq!(numbers("vrouter:x"), None);
    }
}
