//! The signal port: a station connects and reads lines. When a VM is ready for it, `RULE ADDED, CONNECT NOW!` comes once a
//! second until its viewer is connected. Any other line is for people and may be ignored.
//!
//! Stations are old shell loops around `nc`: they may stop reading at any time, close one direction, or vanish. So nothing is
//! awaited of them, and no write waits. Called by the manager, which says what each is told.

mod lines;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};

use self::lines::{Lines, Words};
use super::state::Told;

/// How often a station that is to connect is told so, and how often a dead one is noticed.
const BEAT: Duration = Duration::from_secs(1);
/// How long the kernel tries to bring a line to a station that does not answer.
const DEAD_AFTER: Duration = Duration::from_secs(15);
/// How long accepting pauses when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What happens at the signal port.
#[derive(Debug)]
pub enum Visit {
    /// A station connected.
    Arrived {
        /// Its address.
        station: IpAddr,
        /// Which of its connections this is.
        connection: u64,
        /// What it is told. Dropping this ends the connection.
        told: watch::Sender<Told>,
    },
    /// A connection ended.
    Left {
        /// The station's address.
        station: IpAddr,
        /// Which of its connections it was.
        connection: u64,
    },
}

/// Listens, on one network interface where one is named.
///
/// # Errors
/// The system's words.
pub fn listen(address: SocketAddr, interface: &str) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if !interface.is_empty() {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(128)?;
    TcpListener::from_std(socket.into())
}

/// Serves stations until the future is dropped; no more than `most` at once.
pub async fn serve(listener: TcpListener, most: u16, visits: mpsc::Sender<Visit>) {
    let places = Arc::new(Semaphore::new(usize::from(most)));
    let connections = AtomicU64::new(0);
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no station is accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let station = peer.ip().to_canonical();
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!(%station, "a station is sent away: too many wait");
            // Whether it arrives is no matter: the connection is closed.
            let _ = stream.try_write(Words::TooMany.to_string().as_bytes());
            continue;
        };
        let connection = connections.fetch_add(1, Ordering::Relaxed);
        let visits = visits.clone();
        tokio::spawn(async move {
            let (told, listening) = watch::channel(Told::Wait { position: 0, reason: String::new() });
            if visits.send(Visit::Arrived { station, connection, told }).await.is_ok() {
                if let Err(error) = attend(&stream, listening).await {
                    tracing::debug!(%station, %error, "a station went");
                }
                // The manager has ended where nobody takes this.
                let _ = visits.send(Visit::Left { station, connection }).await;
            }
            drop(place);
        });
    }
}

/// Tells a station what there is to tell until there is nothing more, or it is gone.
async fn attend(stream: &TcpStream, mut told: watch::Receiver<Told>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_user_timeout(Some(DEAD_AFTER))?;
    let mut lines = Lines::default();
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut reads = true;
    loop {
        tokio::select! {
            changed = told.changed() => {
                let now = told.borrow_and_update().clone();
                lines.changed(&now);
                if changed.is_err() {
                    lines.say(&Words::Replaced);
                }
                if changed.is_err() || lines.ends() {
                    return lines.flush(stream);
                }
            }
            _ = beat.tick() => lines.beat(),
            ready = stream.readable(), if reads => {
                ready?;
                reads = read(stream, &mut lines)?;
            }
            ready = stream.writable(), if lines.waits() => ready?,
        }
        lines.flush(stream)?;
    }
}

/// Reads what a station says, which is next to nothing. False once it says no more; it may still listen.
fn read(stream: &TcpStream, lines: &mut Lines) -> io::Result<bool> {
    let mut octets = [0; 256];
    match stream.try_read(&mut octets) {
        Ok(0) => Ok(false),
        Ok(count) => {
            lines.heard(octets.get(..count).unwrap_or_default());
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}
