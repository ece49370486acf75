//! Octets between a client and a backend, both ways, until both are done or somebody has to stop.
//!
//! Each side may close its own direction and go on to take what the other sends. Called by `serve.rs`, which cuts off the
//! other side where one broke.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::pump::{Broken, Moved, Pump};
use crate::clock;

/// How long nothing comes before a pipe is given back.
const PIPE_REST: Duration = Duration::from_secs(1);

/// How long either side may send and take nothing.
#[derive(Debug, Clone, Copy)]
pub struct Idle {
    /// The client.
    pub client: Duration,
    /// The backend.
    pub server: Duration,
}

/// How a relayed connection ended.
#[derive(Debug)]
pub enum Ended {
    /// Both sides closed it.
    Closed,
    /// The client sent and took nothing for too long.
    ClientIdle,
    /// The backend sent and took nothing for too long.
    ServerIdle,
    /// It had to end.
    Cut,
    /// The client cut it off, or could not be reached any more.
    ClientBroke(io::Error),
    /// The backend cut it off, or could not be reached any more.
    ServerBroke(io::Error),
}

/// What moved at the two ends, and when.
struct Ends {
    client: Instant,
    server: Instant,
}

/// Carries octets until the connection ends. What was read of the client before, and is not written yet, is `read`.
/// `carried` is told of what was written to the backend and to the client, as it is; `cut` ends everything.
pub async fn carry(
    client: &mut TcpStream,
    server: &mut TcpStream,
    read: Vec<u8>,
    idle: Idle,
    carried: impl Fn(u64, u64),
    cut: impl Future<Output = ()>,
) -> Ended {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let (mut inward, mut outward) = (Pump::with(read), Pump::default());
    let mut cut = pin!(cut);
    let begin = clock::moment();
    let mut ends = Ends { client: begin, server: begin };
    let mut timer = pin!(tokio::time::sleep_until((begin + idle.client.min(idle.server)).into()));
    poll_fn(|cx| {
        if cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ended::Cut);
        }
        let (mut in_moved, mut out_moved) = (Moved::default(), Moved::default());
        let in_poll = inward.poll(cx, &mut from_client, &mut to_server, &mut in_moved);
        let out_poll = outward.poll(cx, &mut from_server, &mut to_client, &mut out_moved);
        if in_moved.written + out_moved.written > 0 {
            carried(in_moved.written, out_moved.written);
        }
        match (&in_poll, &out_poll) {
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => {
                return Poll::Ready(broken(in_poll, out_poll));
            }
            _ if inward.is_over() && outward.is_over() => return Poll::Ready(Ended::Closed),
            // A direction had its turn and has more to move.
            (Poll::Ready(Ok(())), _) if !inward.is_over() => cx.waker().wake_by_ref(),
            (_, Poll::Ready(Ok(()))) if !outward.is_over() => cx.waker().wake_by_ref(),
            _ => {}
        }
        let by_client = in_moved.read + out_moved.written > 0;
        let by_server = out_moved.read + in_moved.written > 0;
        if by_client || by_server {
            let now = clock::moment();
            if by_client {
                ends.client = now;
            }
            if by_server {
                ends.server = now;
            }
            // A pipe that was just made is looked after sooner than the idle time ends.
            let soon = now + PIPE_REST;
            if (inward.has_pipe() || outward.has_pipe()) && timer.deadline().into_std() > soon {
                timer.as_mut().reset(soon.into());
            }
        }
        while timer.as_mut().poll(cx).is_ready() {
            let now = clock::moment();
            let (client_until, server_until) = (ends.client + idle.client, ends.server + idle.server);
            if now >= client_until {
                return Poll::Ready(Ended::ClientIdle);
            }
            if now >= server_until {
                return Poll::Ready(Ended::ServerIdle);
            }
            if now >= ends.client.max(ends.server) + PIPE_REST {
                inward.rest();
                outward.rest();
            }
            let mut next = client_until.min(server_until);
            if inward.has_pipe() || outward.has_pipe() {
                next = next.min(now + PIPE_REST);
            }
            timer.as_mut().reset(next.into());
        }
        Poll::Pending
    })
    .await
}

fn broken(inward: Poll<Result<(), Broken>>, outward: Poll<Result<(), Broken>>) -> Ended {
    match (inward, outward) {
        (Poll::Ready(Err(Broken::Reading(error))), _) | (_, Poll::Ready(Err(Broken::Writing(error)))) => {
            Ended::ClientBroke(error)
        }
        (Poll::Ready(Err(Broken::Writing(error))), _) | (_, Poll::Ready(Err(Broken::Reading(error)))) => {
            Ended::ServerBroke(error)
        }
        _ => Ended::Closed,
    }
}
