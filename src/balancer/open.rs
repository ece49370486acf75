//! The socket of a port that is listened on: how it is made, and when a connection to it is there.
//!
//! Called by `service.rs`, which opens ports before anything is changed, and by `accept.rs`.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;

use nix::sys::socket::setsockopt;
use nix::{setsockopt_impl, sockopt_impl};
use socket2::{Domain, Protocol, Type};
use tokio::io::{Interest, unix::AsyncFd};

use super::site::Site;
use crate::config::load_balancer::BalancerProtocol;

/// How many connections wait to be taken.
const BACKLOG: i32 = 4096;

sockopt_impl!(
    /// How many seconds a connection may wait for its first octets before it is there (tcp(7), `TCP_DEFER_ACCEPT`): it is
    /// taken with them, or without once the time is over. The kernel counts in handshakes that it repeats.
    DeferAccept,
    SetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_DEFER_ACCEPT,
    u32
);

/// What speaks first where the client does: a request, or a hello of TLS. A second is the least that there is.
const DEFERRED: u32 = 1;

/// A socket that is bound and listens, and is not served yet.
#[derive(Debug)]
pub(crate) struct Open {
    pub(super) local: SocketAddrV4,
    pub(super) socket: mio::net::TcpListener,
}

impl Open {
    /// Listens at `local`, whether the address is there yet or not.
    ///
    /// # Errors
    /// Somebody else has the port.
    pub(crate) fn new(local: SocketAddrV4) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_freebind_v4(true)?;
        socket.set_nonblocking(true)?;
        // Connections inherit it: none has to be asked by itself.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&SocketAddr::V4(local).into())?;
        socket.listen(BACKLOG)?;
        Ok(Self { local, socket: mio::net::TcpListener::from_std(socket.into()) })
    }
}

/// Has connections wait for their first octets where the client speaks first: most are read and answered at once then.
/// Where it cannot be done they are taken earlier, which costs more and changes nothing else.
pub(super) fn defer(socket: &Arc<mio::net::TcpListener>, site: &Site) {
    let seconds = if site.config.protocol == BalancerProtocol::Tcp { 0 } else { DEFERRED };
    if let Err(error) = setsockopt(socket, DeferAccept, &seconds) {
        tracing::debug!(%error, "connections are not deferred");
    }
}

/// Has the runtime watch a socket that listens. Its own listener would watch every connection too.
#[expect(unsafe_code, reason = "the runtime has no safe way to be told of another's socket")]
pub(super) fn watch(socket: Arc<mio::net::TcpListener>) -> io::Result<AsyncFd<Arc<mio::net::TcpListener>>> {
    // SAFETY: the listener owns its descriptor, which stays open and the same until the last of those who share it drops it:
    // whoever watches it is one of them.
    Ok(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?)
}
