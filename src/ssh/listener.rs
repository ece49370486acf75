//! A socket that SSH answers on, and the life of each connection to it. Called by `service.rs`.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use russh::Disconnect;
use russh::server::{Config, run_stream};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout, timeout_at};

use super::desk::{Desk, Place};
use super::snapshot::Snapshot;
use super::standing::Standing;
use super::visitor::{CHANNELS, Visitor};
use crate::clock;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 16;
/// How long somebody may take to show who he is.
const LOGIN: Duration = Duration::from_secs(30);
/// How long what runs may go on once its key is not wanted any more: the answer to the change that said so goes out.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long a client is given to go by himself.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long a client that says nothing is believed to be there, and how long what is sent may stay unanswered.
const SILENCE: Duration = Duration::from_secs(60);
/// How often is looked whether a client is there who has sent what nobody has read yet.
const GLANCE: Duration = Duration::from_secs(1);
/// How long nothing is accepted after the system refused to.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket that is not answered on yet. The address need not be there yet.
pub(super) fn open(address: SocketAddrV4) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_freebind_v4(true)?;
    socket.bind(&SocketAddr::V4(address).into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A socket that is answered on; it is closed when this is dropped, and the connections to it go on.
#[derive(Debug)]
pub(super) struct Listener(JoinHandle<()>);

impl Listener {
    pub(super) fn serve(listener: TcpListener, desk: Arc<Desk>, config: Arc<Config>) -> Self {
        Self(tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, from)) => match desk.enter(from.ip()) {
                        Some(place) => {
                            tokio::spawn(attend(stream, from, (desk.clone(), place), config.clone()));
                        }
                        None => {
                            tracing::debug!(target: "audit", %from, "there is no place for one more over SSH")
                        }
                    },
                    Err(error) => {
                        tracing::warn!(%error, "a connection of SSH was not accepted");
                        sleep(PAUSE).await;
                    }
                }
            }
        }))
    }
}

impl Listener {
    /// Closes it; whoever wants the address can have it when this returns.
    pub(super) async fn close(mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One connection, to its end.
async fn attend(stream: TcpStream, from: SocketAddr, (desk, place): (Arc<Desk>, Place), config: Arc<Config>) {
    let socket = match prepare(stream) {
        Ok((stream, socket)) => {
            let ended = converse((stream, &socket), from, (desk, place), config).await;
            if let Err(error) = ended {
                tracing::debug!(%from, %error, "a connection of SSH ended early");
            }
            socket
        }
        Err(error) => return tracing::debug!(%from, %error, "a connection of SSH cannot be served"),
    };
    // Whatever still waits at it goes on to its own end. It may be closed already.
    let _ = SockRef::from(&socket).shutdown(Shutdown::Both);
}

/// The connection, and a second hold of it, by which it is watched and can be ended whoever waits at it.
fn prepare(stream: TcpStream) -> io::Result<(TcpStream, TcpStream)> {
    stream.set_nodelay(true)?;
    let reference = SockRef::from(&stream);
    reference.set_tcp_user_timeout(Some(SILENCE))?;
    reference.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE).with_interval(SILENCE / 4))?;
    let stream = stream.into_std()?;
    let socket = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, TcpStream::from_std(socket)?))
}

async fn converse(
    (stream, socket): (TcpStream, &TcpStream),
    from: SocketAddr,
    (desk, place): (Arc<Desk>, Place),
    config: Arc<Config>,
) -> Result<(), russh::Error> {
    let (at, mut snapshots) = (stream.local_addr()?, desk.snapshot.subscribe());
    let (known, mut who) = watch::channel(None);
    // Its end is the connection's, whatever becomes of this: nothing that runs on a channel outlives it.
    let (_end, ended) = watch::channel(false);
    let channels = Arc::new(Semaphore::new(CHANNELS as usize));
    let visitor = Visitor {
        desk,
        from,
        at,
        place,
        known,
        channels: channels.clone(),
        ended,
        open: HashMap::new(),
        refused: 0,
    };
    let login = clock::moment() + LOGIN;
    let Ok(session) = timeout(LOGIN, run_stream(config, stream, visitor)).await else { return Ok(()) };
    let mut session = session?;
    let handle = session.handle();
    let why = tokio::select! {
        ended = &mut session => return ended,
        () = gone(socket) => return Ok(()),
        () = nobody(who.clone(), login) => "nobody came in",
        () = unwanted(&mut who, &mut snapshots, at) => {
            // The answer to the change that said so may be on its way over this very connection. Nothing new is begun.
            let _ = timeout(FAREWELL, channels.acquire_many(CHANNELS)).await;
            channels.close();
            // Who has his answer goes by himself, and knows that all is well.
            if let Ok(ended) = timeout(LAST_WORDS, &mut session).await {
                return ended;
            }
            "the key is not taken here any more"
        }
    };
    let said = handle.disconnect(Disconnect::ByApplication, why.to_owned(), String::new());
    let _ = timeout(LAST_WORDS, async {
        if said.await.is_ok() {
            let _ = (&mut session).await;
        }
    })
    .await;
    Ok(())
}

/// Ends once the client is gone and the connection should have ended by itself. It does not where a channel of it waits for him:
/// then nothing is read any more, and nobody hears of his end.
async fn gone(socket: &TcpStream) {
    loop {
        match socket.ready(Interest::READABLE).await {
            Ok(ready) if !ready.is_read_closed() => sleep(GLANCE).await,
            Ok(_) | Err(_) => return sleep(LAST_WORDS).await,
        }
    }
}

/// Ends where nobody has come in by then.
async fn nobody(mut who: watch::Receiver<Option<Standing>>, by: Instant) {
    let came = who.wait_for(Option::is_some);
    if timeout_at(by.into(), came).await.is_ok() {
        std::future::pending().await
    }
}

/// Ends once whoever is there would not be let in any more, or nobody would be.
async fn unwanted(
    who: &mut watch::Receiver<Option<Standing>>,
    snapshots: &mut watch::Receiver<Arc<Snapshot>>,
    at: SocketAddr,
) {
    loop {
        let listens = snapshots.borrow_and_update().listens_at(at);
        let stays = who.borrow_and_update().as_ref().is_none_or(Standing::holds);
        if !listens || !stays {
            return;
        }
        tokio::select! {
            changed = snapshots.changed() => if changed.is_err() { return },
            // Whoever says who is there goes with the connection.
            changed = who.changed() => if changed.is_err() { return std::future::pending().await },
        }
    }
}
