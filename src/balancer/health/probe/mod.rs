//! Asking a backend whether it is well: one check, bounded in time, octets and memory.
//!
//! Connections of checks are cut when they are over, so that thousands of them leave no sockets that wait. What the router
//! lacks itself, such as a descriptor, says nothing about a backend. Called by `checker.rs`.

mod http;
mod tls;
mod words;

use std::borrow::Cow;
use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use rustls::ClientConfig;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout_at;

use super::state::Outcome;
use crate::clock;
use crate::config::pool::{HealthCheck, HealthCheckType};

pub(super) use tls::client_config;

/// What keeps a check from being good.
#[derive(Debug)]
enum Failure {
    /// The backend is not well.
    Ill(Cow<'static, str>),
    /// The router could not ask.
    Undecided(Cow<'static, str>),
}

/// What a check found: why the backend is well, or why not.
type Finding = Result<Cow<'static, str>, Failure>;

/// One check: whom, how, and until when.
#[derive(Debug, Clone, Copy)]
struct Asking<'a> {
    endpoint: SocketAddrV4,
    check: &'a HealthCheck,
    deadline: tokio::time::Instant,
}

/// Asks a backend.
pub(super) async fn probe(endpoint: SocketAddrV4, check: &HealthCheck, tls: &Arc<ClientConfig>) -> Outcome {
    let timeout = Duration::from_secs(check.timeout_seconds.into());
    let asking = Asking { endpoint, check, deadline: (clock::moment() + timeout).into() };
    let finding = match check.kind {
        HealthCheckType::Tcp => words::tcp(asking).await,
        HealthCheckType::Udp => words::udp(asking).await,
        HealthCheckType::Tls => tls::hello(asking, tls).await,
        HealthCheckType::Http => http::plain(asking).await,
        HealthCheckType::Https => http::within_tls(asking, tls).await,
    };
    match finding {
        Ok(reason) => Outcome::Well(reason),
        Err(Failure::Ill(reason)) => Outcome::Ill(reason),
        Err(Failure::Undecided(reason)) => Outcome::Undecided(reason),
    }
}

impl Asking<'_> {
    /// Waits for a part of the check, to its deadline.
    async fn within<T>(self, part: impl Future<Output = T>) -> Result<T, Failure> {
        timeout_at(self.deadline, part).await.map_err(|_| self.late("answer"))
    }

    fn late(self, what: &str) -> Failure {
        Failure::Ill(format!("no {what} within {} s", self.check.timeout_seconds).into())
    }

    /// A connection, from the source that is asked for.
    async fn connect(self) -> Result<TcpStream, Failure> {
        let socket = TcpSocket::new_v4().map_err(cannot("open a socket"))?;
        if let Some(source) = self.check.source {
            // The port is chosen with the destination, so that those of all checks together are no limit.
            setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)
                .map_err(|error| cannot("set a source address")(error.into()))?;
            let source = SocketAddrV4::new(source.get(), 0);
            socket.bind(source.into()).map_err(|error| unusable(source, &error))?;
        }
        let connecting = socket.connect(self.endpoint.into());
        let connected = timeout_at(self.deadline, connecting).await.map_err(|_| self.late("connection"))?;
        let stream = connected.map_err(|error| failure(&error))?;
        stream.set_zero_linger().map_err(cannot("set up a socket"))?;
        Ok(stream)
    }
}

/// The router could not do something of its own.
fn cannot(what: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::Undecided(format!("cannot {what}: {error}").into())
}

fn unusable(source: SocketAddrV4, error: &io::Error) -> Failure {
    Failure::Undecided(format!("cannot check from {}: {error}", source.ip()).into())
}

/// What an error of a socket says.
fn failure(error: &io::Error) -> Failure {
    let own = [
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOBUFS,
        libc::ENOMEM,
        libc::EADDRNOTAVAIL,
        libc::EADDRINUSE,
        libc::EAGAIN,
    ];
    if error.raw_os_error().is_some_and(|number| own.contains(&number)) {
        return Failure::Undecided(format!("cannot connect: {error}").into());
    }
    Failure::Ill(match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "connection reset".into(),
        io::ErrorKind::HostUnreachable => "host unreachable".into(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".into(),
        io::ErrorKind::TimedOut => "no connection".into(),
        io::ErrorKind::UnexpectedEof => "closed without an answer".into(),
        _ => error.to_string().into(),
    })
}
