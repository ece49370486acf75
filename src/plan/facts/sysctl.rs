//! Values of `/proc/sys/net` that routing needs.

use std::fmt;

use super::link::Device;

/// A value of `/proc/sys/net` (kernel: `Documentation/networking/ip-sysctl.rst`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sysctl {
    /// One of the whole network namespace, by its path below `net`.
    Namespace(&'static str),
    /// One of `net/ipv4/conf/DEVICE`.
    Device(Device, &'static str),
}

impl Sysctl {
    /// The path below `/proc/sys`.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::Namespace(path) => format!("net/{path}"),
            Self::Device(device, value) => format!("net/ipv4/conf/{device}/{value}"),
        }
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}
