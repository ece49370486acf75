//! Lines over a Unix socket, with descriptors travelling beside them (unix(7), `SCM_RIGHTS`). Both the control socket and
//! its client read and write by this. Bounded: a longer line or more descriptors than belong to lines end the connection.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// The longest line. A list of a thousand sessions fits.
const MAX_LINE: usize = 1 << 20;
/// The most descriptors that wait for their line.
const MAX_DESCRIPTORS: usize = 16;
/// Octets that are read at once.
const READ: usize = 16 * 1024;

/// What was read and is not yet a line.
#[derive(Debug, Default)]
pub(super) struct Lines {
    octets: Vec<u8>,
    /// How many of them hold no end of a line.
    searched: usize,
    descriptors: VecDeque<OwnedFd>,
}

impl Lines {
    /// The next line; none at the end. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The socket's, or a bound is passed.
    pub(super) async fn next(&mut self, stream: &UnixStream) -> io::Result<Option<Vec<u8>>> {
        loop {
            let fresh = self.octets.get(self.searched..).unwrap_or_default();
            if let Some(end) = fresh.iter().position(|octet| *octet == b'\n') {
                let rest = self.octets.split_off(self.searched + end + 1);
                let mut line = std::mem::replace(&mut self.octets, rest);
                line.pop();
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.octets.len();
            if self.octets.len() > MAX_LINE {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the line is too long"));
            }
            stream.readable().await?;
            match stream.try_io(Interest::READABLE, || self.receive(stream.as_raw_fd())) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if self.descriptors.len() > MAX_DESCRIPTORS {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "too many descriptors"));
            }
        }
    }

    /// The descriptor that came with the oldest line that has one.
    pub(super) fn descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }

    fn receive(&mut self, socket: RawFd) -> io::Result<usize> {
        let mut buffer = [0; READ];
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let mut space = cmsg_space!([RawFd; MAX_DESCRIPTORS]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(socket, &mut slices, Some(&mut space), flags)?;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(descriptors) = control {
                for descriptor in descriptors {
                    self.descriptors.push_back(own(descriptor));
                }
            }
        }
        let read = message.bytes;
        self.octets.extend_from_slice(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

#[expect(unsafe_code, reason = "a number becomes an owner")]
fn own(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the kernel made it for this process in the call that has just come back, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// Writes a line, whose end is added here, and a descriptor with its first octet.
///
/// # Errors
/// The socket's.
pub(super) async fn write(
    stream: &UnixStream,
    mut line: Vec<u8>,
    descriptor: Option<OwnedFd>,
) -> io::Result<()> {
    line.push(b'\n');
    let mut descriptor = descriptor;
    let mut written = 0;
    while let Some(rest) = line.get(written..).filter(|rest| !rest.is_empty()) {
        stream.writable().await?;
        let sent = stream.try_io(Interest::WRITABLE, || {
            let raw = descriptor.as_ref().map(|descriptor| [descriptor.as_raw_fd()]);
            let control = raw.as_ref().map(|raw| [ControlMessage::ScmRights(raw)]);
            let control = control.as_ref().map_or([].as_slice(), |control| control.as_slice());
            let flags = MsgFlags::MSG_NOSIGNAL;
            Ok(sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(rest)], control, flags, None)?)
        });
        match sent {
            Ok(octets) => {
                written += octets;
                descriptor = None;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
