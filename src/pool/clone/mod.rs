//! How a clone differs from its golden domain: a description with a few values changed, and a disk that only keeps what
//! is written. Pure but for the writing of files; called by `libvirt`.
//!
//! - [`read`]: what a description says.
//! - [`xml`]: a clone's description. Whatever is not a clone's own stays octet for octet as it was.
//! - [`image`]: saved memory images, for clones that wake instead of booting.
//! - [`qcow2`]: headers of images, and overlays.

pub mod image;
pub mod qcow2;
pub mod read;
pub mod splice;
pub mod xml;
