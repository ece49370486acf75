//! Connections to backends: made, and kept for the next request where that is safe.
//!
//! Each worker keeps its own, so taking one costs no lock. Called by `exchange.rs`.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddrV4;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use foldhash::HashMap;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::io::Io;
use super::outgoing::Outgoing;
use super::socket::Socket;
use super::spare;
use crate::balancer::backend::Backend;
use crate::balancer::upstream_tls::UpstreamTls;
use crate::clock;

/// How many connections a worker keeps to one backend.
const KEPT_PER_BACKEND: usize = 512;
/// How many it keeps altogether.
const KEPT: usize = 4096;

/// Where a connection goes: the backend, and the number of the TLS settings towards it, 0 for none.
pub(crate) type Endpoint = (SocketAddrV4, u64);

/// A connection to a backend.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) io: Io,
    pub(super) buffer: BytesMut,
    pub(super) out: Outgoing,
    /// Whether it served a request before.
    pub(super) reused: bool,
}

#[derive(Debug)]
struct Kept {
    server: Server,
    since: Instant,
    longest: Duration,
}

#[derive(Debug, Default)]
struct Idle {
    by_endpoint: HashMap<Endpoint, VecDeque<Kept>>,
    count: usize,
}

thread_local! {
    /// The connections that wait on this worker.
    static IDLE: RefCell<Idle> = RefCell::default();
}

/// A connection that waits, the one that was used last: others may go when few are needed.
pub(super) fn take(endpoint: Endpoint, now: Instant) -> Option<Server> {
    IDLE.with_borrow_mut(|idle| {
        let kept = idle.by_endpoint.get_mut(&endpoint)?;
        while let Some(Kept { mut server, since, longest }) = kept.pop_back() {
            idle.count -= 1;
            if server.io.is_idle() && now.duration_since(since) < longest {
                server.reused = true;
                return Some(server);
            }
        }
        None
    })
}

/// Keeps a connection whose last exchange is complete, for so long at most.
pub(super) fn keep(endpoint: Endpoint, mut server: Server, now: Instant, longest: Duration) {
    server.out.rest();
    spare::give_buffer(std::mem::take(&mut server.buffer));
    let kept = Kept { server, since: now, longest };
    IDLE.with_borrow_mut(|idle| {
        if idle.count >= KEPT {
            return;
        }
        let place = idle.by_endpoint.entry(endpoint).or_default();
        if place.len() < KEPT_PER_BACKEND {
            place.push_back(kept);
            idle.count += 1;
        }
    });
}

/// Closes what waited too long, was closed by its backend, or leads where nobody goes any more. Each worker calls it
/// now and then.
pub(crate) fn sweep(wanted: &HashSet<Endpoint>) {
    let now = clock::moment();
    IDLE.with_borrow_mut(|idle| {
        idle.by_endpoint.retain(|endpoint, kept| {
            if !wanted.contains(endpoint) {
                return false;
            }
            kept.retain(|kept| now.duration_since(kept.since) < kept.longest && kept.server.io.is_idle());
            !kept.is_empty()
        });
        idle.count = idle.by_endpoint.values().map(VecDeque::len).sum();
    });
}

/// A new connection. `preface` is written before anything else: the PROXY protocol's header.
pub(super) async fn connect(
    address: SocketAddrV4,
    tls: Option<&Arc<UpstreamTls>>,
    preface: &[u8],
    timeout: Duration,
) -> io::Result<Server> {
    let connecting = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        if !preface.is_empty() {
            stream.write_all(preface).await?;
        }
        Ok::<_, io::Error>(match tls {
            None => Io::Plain(Socket::watched(stream)),
            Some(tls) => {
                let connector = TlsConnector::from(tls.config().clone());
                let stream = connector.connect(tls.name(address), Socket::watched(stream)).await?;
                Io::Tls(Box::new(stream.into()))
            }
        })
    };
    let io = tokio::time::timeout(timeout, connecting).await??;
    Ok(Server { io, buffer: BytesMut::new(), out: Outgoing::default(), reused: false })
}

/// Goes on until it is done, or until the backend is cut off. What is done at once never looks for that.
pub(super) async fn until_cut<T>(work: impl Future<Output = T>, backend: &Backend) -> Option<T> {
    let mut work = pin!(work);
    if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await {
        return Some(done);
    }
    tokio::select! {
        biased;
        done = work => Some(done),
        // Apart, since most answers are there at once.
        () = Box::pin(backend.cut()) => None,
    }
}
