//! Values of `/proc/sys/net`. A value that is not there is one that this kernel, or this network namespace, lacks.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use super::KernelError;
use crate::plan::facts::Sysctl;

/// The values that are there.
pub(super) fn observe(sysctls: &[Sysctl]) -> Result<BTreeMap<Sysctl, String>, KernelError> {
    let mut values = BTreeMap::new();
    for sysctl in sysctls {
        match fs::read_to_string(path(sysctl)) {
            Ok(value) => {
                values.insert(sysctl.clone(), value.trim().to_owned());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("read", sysctl, &error)),
        }
    }
    Ok(values)
}

/// Writes a value.
pub(super) fn write(sysctl: &Sysctl, value: &str) -> Result<(), KernelError> {
    fs::write(path(sysctl), value).map_err(|error| failed("write", sysctl, &error))
}

/// Whether a value is there and can be written: by writing what it is.
pub(super) fn is_writable(sysctl: &Sysctl) -> bool {
    fs::read_to_string(path(sysctl)).and_then(|value| fs::write(path(sysctl), value.trim())).is_ok()
}

fn path(sysctl: &Sysctl) -> String {
    format!("/proc/sys/{}", sysctl.path())
}

fn failed(action: &'static str, sysctl: &Sysctl, error: &io::Error) -> KernelError {
    KernelError::Sysctl { action, path: sysctl.path(), reason: error.to_string() }
}
