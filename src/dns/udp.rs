//! The UDP socket of one address: read, decide, answer; what needs forwarders goes on by itself.
//!
//! Called by `listener.rs`.

use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;

use super::answer::{Ask, Client, Verdict};
use super::counters::add;
use super::engine::{Active, Engine};
use super::reply::Transport;
use crate::clock;

/// How many messages are read before others get their turn.
const TURN: usize = 64;
/// The room for a query; a longer one is cut, and so malformed.
const QUERY: usize = 4096;
/// How long reading pauses after an error, so that one that stays does not keep a core busy.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers on a socket until the task is ended.
pub(super) async fn serve(socket: Arc<UdpSocket>, engine: Arc<Engine>) {
    let mut message = vec![0; QUERY];
    let mut out = Vec::with_capacity(QUERY);
    loop {
        let result = match socket.readable().await {
            Ok(()) => turn(&socket, &engine, &mut message, &mut out).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => tokio::task::yield_now().await,
            Err(error) => {
                tracing::warn!(%error, "cannot read queries");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Answers what is there, up to a number.
async fn turn(
    socket: &Arc<UdpSocket>,
    engine: &Arc<Engine>,
    message: &mut [u8],
    out: &mut Vec<u8>,
) -> std::io::Result<()> {
    let now = clock::moment();
    let active = engine.active();
    for _ in 0..TURN {
        let (length, from) = match socket.try_recv_from(message) {
            Ok((length, SocketAddr::V4(from))) => (length, from),
            Ok(_) => continue,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let message = message.get(..length).unwrap_or_default();
        let client = Client { address: *from.ip(), transport: Transport::Udp };
        match engine.decide(message, client, &active, now, out) {
            Verdict::Silence => {}
            Verdict::Answer(_) => send(socket, engine, out, from).await,
            Verdict::Ask(ask) => {
                let later = Later { message: message.to_vec(), from, ask, active: active.clone() };
                tokio::spawn(answer_later(Arc::downgrade(socket), engine.clone(), later));
            }
        }
    }
    Ok(())
}

/// A query that waits for forwarders.
struct Later {
    message: Vec<u8>,
    from: SocketAddrV4,
    ask: Ask,
    active: Arc<Active>,
}

/// Answers when forwarders have, unless the socket is closed by then.
async fn answer_later(socket: std::sync::Weak<UdpSocket>, engine: Arc<Engine>, later: Later) {
    let Later { message, from, ask, active } = later;
    let client = Client { address: *from.ip(), transport: Transport::Udp };
    let out = engine.find_out(&message, client, &active, &ask).await;
    if let Some(socket) = socket.upgrade() {
        send(&socket, &engine, &out, from).await;
    }
}

async fn send(socket: &UdpSocket, engine: &Engine, out: &[u8], to: SocketAddrV4) {
    let sent = match socket.try_send_to(out, to.into()) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => socket.send_to(out, to).await,
        sent => sent,
    };
    if let Err(error) = sent {
        add(&engine.counters.unsent);
        tracing::debug!(client = %to, %error, "an answer was not sent");
    }
}
