//! A pipe that octets pass on their way from one socket to another without being copied (splice(2)). Called by `pump.rs`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// How much a pipe holds; the kernel gives as much to anybody (pipe(7), `pipe-max-size`).
const SIZE: i32 = 1 << 20;
/// What it holds where the kernel gives no more.
const LEAST: usize = 1 << 16;

/// A pipe and how much is in it.
#[derive(Debug)]
pub(super) struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    capacity: usize,
    length: usize,
}

impl Pipe {
    /// An empty pipe.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub(super) fn new() -> io::Result<Self> {
        let (out, into) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let capacity = fcntl(&into, FcntlArg::F_SETPIPE_SZ(SIZE)).ok();
        let capacity = capacity.and_then(|capacity| usize::try_from(capacity).ok()).unwrap_or(LEAST);
        Ok(Self { out, into, capacity, length: 0 })
    }

    /// Whether nothing is in it.
    pub(super) const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Takes what a socket has; 0 is the end of the stream. The pipe has to be empty, so that it is the socket that blocks
    /// where something does.
    pub(super) fn fill_from(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        let moved = splice(socket, &self.into, self.capacity)?;
        self.length += moved;
        Ok(moved)
    }

    /// Gives a socket what it takes.
    pub(super) fn drain_to(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        let moved = splice(&self.out, socket, self.length)?;
        if moved == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.length -= moved;
        Ok(moved)
    }
}

/// Moves up to `length` octets from one descriptor to another, one of which is a pipe.
#[expect(unsafe_code, reason = "nix has the call behind a feature that nothing else here needs")]
fn splice(from: &impl AsFd, to: &impl AsFd, length: usize) -> io::Result<usize> {
    let (from, to) = (from.as_fd(), to.as_fd());
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    // SAFETY: both descriptors are borrowed and so open for as long as the call takes; there are no offsets, and the kernel
    // reads and writes no memory of ours.
    let moved = unsafe {
        let none = std::ptr::null_mut();
        libc::splice(from.as_raw_fd(), none, to.as_raw_fd(), none, length, flags)
    };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}
