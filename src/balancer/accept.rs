//! A port that is listened on: its socket, its connections, and how they come to an end.
//!
//! What is served is swapped under it. A listener that is not wanted any more takes nothing new at once; its connections
//! finish what they are at, those that wait for a request are closed, and what goes on after the deadline is cut. Called
//! by `service.rs`.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arc_swap::ArcSwap;
use foldhash::HashMap;
use parking_lot::Mutex;
use tokio::io::{Interest, unix::AsyncFd};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use super::counters::Tally;
use super::hands::Job;
use super::http::{connection, io::Io, socket::Socket, stream};
use super::open::{Open, defer, watch};
use super::relay;
use super::site::{Site, Visit};
use super::tcp::Tcp;
use super::tls::ListenerTls;
use super::told::Told;
use super::worker::{Occupied, Worker, least_busy};
use crate::config::load_balancer::BalancerProtocol;

/// How long a listener rests when the system has no descriptors left.
const REST: Duration = Duration::from_millis(50);

/// A port that is served.
#[derive(Debug)]
pub(crate) struct Listener {
    local: SocketAddrV4,
    /// The socket, for as long as it is watched.
    socket: Weak<mio::net::TcpListener>,
    site: ArcSwap<Site>,
    ending: AtomicBool,
    current: AtomicUsize,
    /// A connection has ended, or more of them are allowed.
    freed: Notify,
    connections: Mutex<Connections>,
    accepting: Mutex<Option<AbortHandle>>,
}

#[derive(Debug, Default)]
struct Connections {
    next: u64,
    by_number: HashMap<u64, Arc<Entry>>,
}

/// One connection, as its listener knows it.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// The task that serves it: it is woken when the listener ends, and when the connection is cut.
    waker: Mutex<Option<Waker>>,
    is_cut: AtomicBool,
}

impl Entry {
    /// Whether the connection is to end where it stands. The task that asks is woken when the answer changes.
    fn poll_cut(&self, cx: &Context<'_>) -> bool {
        self.woken(cx);
        self.is_cut.load(Ordering::Acquire)
    }

    fn woken(&self, cx: &Context<'_>) {
        let mut waker = self.waker.lock();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        self.waker.lock().iter().for_each(Waker::wake_by_ref);
    }
}

impl Listener {
    /// Serves a socket.
    ///
    /// # Errors
    /// The system cannot watch it.
    pub(crate) fn serve(
        open: Open,
        site: Arc<Site>,
        own: &Arc<Worker>,
        workers: &Arc<[Arc<Worker>]>,
    ) -> io::Result<Arc<Self>> {
        let socket = Arc::new(open.socket);
        defer(&socket, &site);
        let watched = {
            let _on = own.handle().enter();
            watch(socket.clone())?
        };
        let listener = Arc::new(Self {
            local: open.local,
            socket: Arc::downgrade(&socket),
            site: ArcSwap::new(site),
            ending: AtomicBool::new(false),
            current: AtomicUsize::new(0),
            freed: Notify::new(),
            connections: Mutex::default(),
            accepting: Mutex::default(),
        });
        let task = accept(listener.clone(), watched, own.clone(), workers.clone());
        *listener.accepting.lock() = Some(own.handle().spawn(task).abort_handle());
        Ok(listener)
    }

    /// Where it listens.
    pub(crate) const fn local(&self) -> SocketAddrV4 {
        self.local
    }

    /// What it serves.
    pub(crate) fn site(&self) -> Arc<Site> {
        self.site.load_full()
    }

    /// It serves this from now on: connections that are there too, with their next request.
    pub(crate) fn swap(&self, site: &Arc<Site>) {
        if !Arc::ptr_eq(&self.site.load(), site) {
            if let Some(socket) = self.socket.upgrade() {
                defer(&socket, site);
            }
            self.site.store(site.clone());
            self.freed.notify_one();
        }
    }

    /// Whether it still takes connections; a task that ended, which only a bug can do, takes none.
    pub(crate) fn is_running(&self) -> bool {
        self.accepting.lock().as_ref().is_some_and(|task| !task.is_finished())
    }

    /// Whether it takes nothing new and waits for its connections to end.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// How many connections it has.
    pub(crate) fn connections(&self) -> usize {
        self.connections.lock().by_number.len()
    }

    /// Takes nothing new from now on. The socket is closed when this returns.
    pub(crate) async fn end(&self) {
        self.ending.store(true, Ordering::Release);
        let task = self.accepting.lock().take();
        if let Some(task) = task {
            task.abort();
            while !task.is_finished() {
                tokio::task::yield_now().await;
            }
        }
        let entries: Vec<_> = self.connections.lock().by_number.values().cloned().collect();
        entries.iter().for_each(|entry| entry.wake());
    }

    /// Cuts whatever goes on still.
    pub(crate) fn cut(&self) {
        for entry in self.connections.lock().by_number.values() {
            entry.cut();
        }
    }

    fn admit(self: &Arc<Self>, site: &Site) -> Admitted {
        self.current.fetch_add(1, Ordering::Relaxed);
        let entry = Arc::<Entry>::default();
        let mut connections = self.connections.lock();
        let number = connections.next;
        connections.next += 1;
        connections.by_number.insert(number, entry.clone());
        drop(connections);
        let tally = site.tally.clone();
        tally.opened();
        Admitted { listener: self.clone(), entry, number, tally }
    }
}

/// A connection that was taken and is to be served.
#[derive(Debug)]
pub(crate) struct Taken {
    socket: Socket,
    client: SocketAddrV4,
    /// What its listener served when it came.
    site: Arc<Site>,
    admitted: Admitted,
    _occupied: Occupied,
}

/// What is counted of a connection; it is over when this is dropped.
#[derive(Debug)]
struct Admitted {
    listener: Arc<Listener>,
    entry: Arc<Entry>,
    number: u64,
    /// What it is counted in.
    tally: Arc<Tally>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.tally.closed();
        self.listener.connections.lock().by_number.remove(&self.number);
        self.listener.current.fetch_sub(1, Ordering::Relaxed);
        self.listener.freed.notify_one();
    }
}

/// A connection's view of its listener's end.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    listener: Arc<Listener>,
    entry: Arc<Entry>,
}

impl Ending {
    /// What the listener serves now.
    pub(crate) fn site(&self) -> Arc<Site> {
        self.listener.site()
    }

    /// Whether the connection should take no further request.
    pub(crate) fn is_near(&self) -> bool {
        self.listener.is_ending()
    }

    /// The same, for one that waits: it is woken when the answer changes.
    pub(crate) fn poll_near(&self, cx: &Context<'_>) -> bool {
        self.entry.woken(cx);
        self.is_near()
    }
}

/// Takes connections and hands them to the workers, for as long as the listener is wanted.
async fn accept(
    listener: Arc<Listener>,
    socket: AsyncFd<Arc<mio::net::TcpListener>>,
    own: Arc<Worker>,
    workers: Arc<[Arc<Worker>]>,
) {
    loop {
        let most = listener.site.load().config.max_connections.map_or(usize::MAX, |most| most as usize);
        if listener.current.load(Ordering::Relaxed) >= most {
            // Who comes waits in the backlog until somebody leaves.
            listener.freed.notified().await;
            continue;
        }
        let (stream, client) = match socket.async_io(Interest::READABLE, |socket| socket.accept()).await {
            Ok((stream, SocketAddr::V4(client))) => (stream, client),
            Ok(_) => continue,
            Err(error) if is_of_connection(&error) => continue,
            Err(error) => {
                tracing::warn!(local = %listener.local, %error, "no connection can be taken");
                sleep(REST).await;
                continue;
            }
        };
        let site = listener.site();
        if !site.config.admits(*client.ip()) {
            site.tally.turned_away();
            continue;
        }
        let worker = least_busy(&workers, &own);
        let (occupied, admitted) = (worker.occupy(), listener.admit(&site));
        worker.serve(Taken { socket: Socket::fresh(stream), client, site, admitted, _occupied: occupied });
    }
}

/// Whether it is the connection that failed, and not the system.
fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

impl Job for Taken {
    async fn run(self) {
        let entry = self.admitted.entry.clone();
        let mut served = pin!(self.serve());
        // What is cut is dropped where it stands.
        poll_fn(|cx| if entry.poll_cut(cx) { Poll::Ready(()) } else { served.as_mut().poll(cx) }).await;
    }
}

impl Taken {
    /// Serves it to its end.
    async fn serve(self) {
        let Self { socket, client, site, admitted, _occupied } = self;
        let https = site.config.protocol == BalancerProtocol::Https;
        let ending = Ending { listener: admitted.listener.clone(), entry: admitted.entry.clone() };
        let local = admitted.listener.local;
        if site.config.protocol == BalancerProtocol::Tcp {
            let stream = match socket.into_watched() {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%local, %error, "a connection cannot be watched");
                    return site.tally.turned_away();
                }
            };
            // Whoever cuts it drops this.
            let relayed = Tcp(site);
            let relay = relay::serve(stream, (client, local), &relayed, std::future::pending());
            // Apart, as below.
            return Box::pin(relay).await;
        }
        let told = Told::new(*client.ip(), local.port(), https);
        let visit = Visit { client, local, https, told, ending };
        let tls = site.tls.clone();
        let patience = site.times.client_header;
        // A connection outlives many sites and keeps none of them.
        drop(site);
        match tls {
            None => connection::serve(Io::Plain(socket), visit, patience).await,
            // Apart, so that who speaks no TLS needs no room for it.
            Some(tls) => Box::pin(secure(socket, tls, patience, visit, &admitted.tally)).await,
        }
    }
}

/// Serves a connection within TLS.
async fn secure(socket: Socket, tls: Arc<ListenerTls>, patience: Duration, visit: Visit, tally: &Tally) {
    let handshake = TlsAcceptor::from(tls.config().clone()).accept(socket);
    drop(tls);
    match tokio::time::timeout(patience, handshake).await {
        Ok(Ok(stream)) => {
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let io = Io::Tls(Box::new(stream.into()));
            if h2 {
                stream::serve(io, bytes::Bytes::new(), visit).await;
            } else {
                connection::serve(io, visit, patience).await;
            }
        }
        _ => tally.turned_away(),
    }
}
