//! A connection that became something else, such as a WebSocket (RFC 9110 section 7.8): octets both ways.
//!
//! Called by `exchange.rs` once both sides have agreed.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWrite;

use super::io::{Io, Timer};

/// One direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Its sender is done; the receiver has to be told once it has everything.
    Ending,
    Ended,
}

/// Carries octets between two connections until both are done, or nothing moves for `idle`. What was read from either
/// before lies in its buffer. The octets that went from `one` to `two` and back are added to the counts.
pub(super) async fn run(
    one: (&mut Io, &mut BytesMut),
    two: (&mut Io, &mut BytesMut),
    timer: &mut Timer,
    idle: Duration,
    counts: (&mut u64, &mut u64),
) {
    let ((one, from_one), (two, from_two)) = (one, two);
    let (mut there, mut back) = (State::Open, State::Open);
    timer.set(idle);
    poll_fn(|cx| {
        let before = (*counts.0, *counts.1);
        let first = poll_direction(cx, one, from_one, two, &mut there, counts.0);
        let second = poll_direction(cx, two, from_two, one, &mut back, counts.1);
        if first == Poll::Ready(false) || second == Poll::Ready(false) {
            return Poll::Ready(());
        }
        if there == State::Ended && back == State::Ended {
            return Poll::Ready(());
        }
        if before != (*counts.0, *counts.1) {
            timer.set(idle);
        }
        timer.poll(cx)
    })
    .await;
}

/// Moves what can be moved; false if a connection broke.
fn poll_direction(
    cx: &mut Context<'_>,
    from: &mut Io,
    buffer: &mut BytesMut,
    to: &mut Io,
    state: &mut State,
    count: &mut u64,
) -> Poll<bool> {
    loop {
        while !buffer.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, buffer) {
                Poll::Ready(Ok(written)) if written > 0 => {
                    *count += written as u64;
                    buffer.advance(written);
                }
                Poll::Ready(_) => return Poll::Ready(false),
                Poll::Pending => return Poll::Pending,
            }
        }
        match Pin::new(&mut *to).poll_flush(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(false),
            Poll::Pending => return Poll::Pending,
        }
        match *state {
            State::Open => match from.poll_fill(cx, buffer, *count > 64 * 1024) {
                Poll::Ready(Ok(0)) => *state = State::Ending,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(false),
                Poll::Pending => {
                    // A silent tunnel holds no memory.
                    *buffer = BytesMut::new();
                    return Poll::Pending;
                }
            },
            State::Ending => match Pin::new(&mut *to).poll_shutdown(cx) {
                Poll::Ready(_) => *state = State::Ended,
                Poll::Pending => return Poll::Pending,
            },
            State::Ended => return Poll::Ready(true),
        }
    }
}
