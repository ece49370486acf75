//! The sockets of one address, and the tasks that answer on them. Called by `service.rs`.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::engine::Engine;
use super::reply::Transport;
use super::tcp::{self, Connections};
use super::udp;
use crate::config::dns::PORT;

/// How many connections may wait to be taken.
const BACKLOG: i32 = 128;
/// How many octets of queries may wait to be read: a burst of some thousand. The system may give less.
const RECEIVE_BUFFER: usize = 1 << 20;

/// What keeps DNS from being served.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The system gave no thread or no event queue.
    #[error("cannot start DNS: {0}")]
    Start(io::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} port {PORT} ({transport}) for DNS: {reason}")]
    Listen {
        /// The address.
        address: Ipv4Addr,
        /// `UDP` or `TCP`.
        transport: &'static str,
        /// The system's words.
        reason: io::Error,
    },
}

/// Sockets that are open and not answered on yet.
#[derive(Debug)]
pub(super) struct Open {
    udp: UdpSocket,
    tcp: TcpListener,
}

/// Sockets that are answered on.
#[derive(Debug)]
pub(super) struct Listener {
    tasks: [JoinHandle<()>; 2],
}

impl Open {
    /// Opens both sockets of an address, which need not be there yet.
    pub(super) fn new(address: Ipv4Addr, runtime: &Handle) -> Result<Self, DnsError> {
        let _within = runtime.enter();
        let failed = |transport| {
            move |reason| {
                let transport = match transport {
                    Transport::Udp => "UDP",
                    Transport::Tcp => "TCP",
                };
                DnsError::Listen { address, transport, reason }
            }
        };
        let at = SocketAddrV4::new(address, PORT);
        Ok(Self {
            udp: open_udp(at).map_err(failed(Transport::Udp))?,
            tcp: open_tcp(at).map_err(failed(Transport::Tcp))?,
        })
    }

    /// Starts to answer.
    pub(super) fn serve(
        self,
        runtime: &Handle,
        engine: &Arc<Engine>,
        connections: &Arc<Connections>,
    ) -> Listener {
        let Self { udp, tcp } = self;
        Listener {
            tasks: [
                runtime.spawn(udp::serve(Arc::new(udp), engine.clone())),
                runtime.spawn(tcp::serve(tcp, engine.clone(), connections.clone())),
            ],
        }
    }
}

impl Listener {
    /// Whether both sockets are answered on.
    pub(super) fn is_running(&self) -> bool {
        self.tasks.iter().all(|task| !task.is_finished())
    }

    /// Ends both tasks; the address is free when this returns.
    pub(super) async fn close(mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        for task in &mut self.tasks {
            // It ends by being ended.
            let _ = task.await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn open_udp(at: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    // Not SO_REUSEADDR: with it, another server on the port would go unnoticed and take turns with this one.
    socket.set_freebind_v4(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    UdpSocket::from_std(socket.into())
}

fn open_tcp(at: SocketAddrV4) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_freebind_v4(true)?;
    // Connections of before that are only waiting for their end do not keep the port.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
