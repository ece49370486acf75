//! Sockets of a broker: both ends of a channel behind one type, and how the end of a silent station is noticed.
//! Called by `mod.rs` and `link.rs`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockaddrLike as _, SockaddrStorage, getsockname};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// How a station's end is noticed: by asking it when it is silent, or by octets that it does not acknowledge. QEMU waits
/// ten minutes by itself, which would keep the VM from the next visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    /// How long a station may be silent before it is asked whether it is there.
    idle: Duration,
    /// How long it is waited for each of three answers.
    interval: Duration,
    /// How long sent octets may stay unacknowledged.
    unacknowledged: Duration,
}

/// How many answers may be missed.
const PROBES: u32 = 3;

impl Patience {
    /// What notices a station's end within this time, with room for the kernel's own steps: 25 s are 5 s of silence, three
    /// answers of 3 s each, and 15 s for octets under way.
    pub(super) fn within(limit: Duration) -> Self {
        let part =
            |numerator: u32, denominator: u32| (limit * numerator / denominator).max(Duration::from_secs(1));
        Self { idle: part(1, 5), interval: part(3, 25), unacknowledged: part(3, 5) }
    }
}

/// A connection to a station or to a console.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Prepares a station's connection.
///
/// # Errors
/// The kernel does not take an option.
pub(super) fn prepare_station(stream: &TcpStream, patience: Patience) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive =
        TcpKeepalive::new().with_time(patience.idle).with_interval(patience.interval).with_retries(PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(patience.unacknowledged))
}

/// Connects to a console's port.
///
/// # Errors
/// Nobody listens there.
pub(super) async fn connect(address: SocketAddr) -> io::Result<Box<dyn Wire>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}

/// Takes a console's descriptor, which has to be a Unix socket.
///
/// # Errors
/// It is none.
pub(super) fn adopt(descriptor: OwnedFd) -> io::Result<Box<dyn Wire>> {
    let address: SockaddrStorage = getsockname(descriptor.as_raw_fd())?;
    if address.family() != Some(AddressFamily::Unix) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the descriptor is no Unix socket"));
    }
    let stream = StdUnixStream::from(descriptor);
    stream.set_nonblocking(true)?;
    Ok(Box::new(UnixStream::from_std(stream)?))
}

/// Whether an error of a station's socket says that nobody answers there any more.
pub(super) fn is_silence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable
    )
}
