//! The kernel modules without which no disk is seen. The image's build lists them in the order in which they load.

use std::fs::{self, File};

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

use crate::InitError;

/// One path in the initramfs a line, each behind what it needs. Absent where the kernel has everything built in.
const LIST: &str = "/modules";

/// Loads every module of the list. A module that is there already, or whose device is not, is no obstacle.
///
/// # Errors
/// A listed file is missing, or the kernel refuses it for another reason.
pub(crate) fn load_all() -> Result<(), InitError> {
    let list = match fs::read_to_string(LIST) {
        Ok(list) => list,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(InitError::refused("read", LIST)(error)),
    };
    for path in list.lines() {
        let file = File::open(path).map_err(InitError::refused("open", path))?;
        match finit_module(&file, c"", ModuleInitFlags::empty()) {
            Ok(()) | Err(Errno::EEXIST | Errno::ENODEV) => {}
            Err(error) => return Err(InitError::refused("load", path)(error)),
        }
    }
    Ok(())
}
