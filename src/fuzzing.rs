//! Doors for the fuzz targets of `tests/fuzz` into rooms that are otherwise closed. Built under `cfg(fuzzing)` alone, so
//! nothing of this is in the product; what the rooms show to everybody, the targets call where it stands.

/// Messages of HTTP/1.
pub mod http {
    pub use crate::balancer::http::fuzzing::{Body, Framed, Head, body, head, written};
}

/// Messages of DNS.
pub mod dns {
    pub use crate::dns::fuzzing::{forwarded, respond};
}

/// What a machine is started with.
pub mod boot_credential {
    pub use crate::daemon::first::{first_boot, read};
}

/// What comes by the virtio-serial port.
pub mod virtio_serial {
    pub use crate::zstack::vport::configure;
}
