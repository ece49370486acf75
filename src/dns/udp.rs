//! The UDP socket of one address: read, decide, answer; what needs forwarders goes on by itself.
//!
//! Called by `listener.rs`.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;

use super::answer::{Ask, Client, Verdict};
use super::batch::{Answers, Queries};
use super::counters::add;
use super::engine::{Active, Engine};
use super::reply::Transport;
use crate::clock;

/// How long reading pauses after an error, so that one that stays does not keep a core busy.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers on a socket until the task is ended.
pub(super) async fn serve(socket: Arc<UdpSocket>, engine: Arc<Engine>) {
    let mut queries = Queries::new();
    let mut answers = Answers::default();
    loop {
        match queries.receive(&socket).await {
            Ok(more) => {
                turn(&socket, &engine, &queries, &mut answers);
                for (client, error) in answers.send(&socket).await {
                    unsent(&engine, client, &error);
                }
                if more {
                    tokio::task::yield_now().await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot read queries");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Answers what can be answered at once; the rest goes on by itself.
fn turn(socket: &Arc<UdpSocket>, engine: &Arc<Engine>, queries: &Queries, answers: &mut Answers) {
    let now = clock::moment();
    let active = engine.active();
    for (message, from) in queries.iter() {
        let client = Client { address: *from.ip(), transport: Transport::Udp };
        match engine.decide(message, client, &active, now, &mut answers.room) {
            Verdict::Silence => {}
            Verdict::Answer(_) => answers.keep(from),
            Verdict::Ask(ask) => {
                let later = Later { message: message.to_vec(), from, ask, active: active.clone() };
                tokio::spawn(answer_later(Arc::downgrade(socket), engine.clone(), later));
            }
        }
    }
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
        unsent(engine, to, &error);
    }
}

fn unsent(engine: &Engine, client: SocketAddrV4, error: &std::io::Error) {
    add(&engine.counters.unsent);
    tracing::debug!(%client, %error, "an answer was not sent");
}
