//! Room that one message leaves for the next: maps of fields, buffers of heads, and what rings when time is up.
//!
//! A connection that waits holds no memory for what may come; a worker does, a little for all of its connections, since
//! making room costs as much as filling it. Called by whoever reads and writes heads.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::time::Instant;

use bytes::BytesMut;
use http::HeaderMap;
use tokio::time::{Sleep, sleep_until};

/// The most fields that a map without any keeps room for.
const FIELDS: usize = 128;
/// The room that most heads need, in octets.
const HEAD: usize = 1024;
/// The longest buffer that is kept.
const LONGEST: usize = 8 * 1024;
/// How many of each a worker keeps.
const SPARE: usize = 64;

thread_local! {
    static MAPS: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
    static BUFFERS: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
    static SLEEPS: RefCell<Vec<Pin<Box<Sleep>>>> = const { RefCell::new(Vec::new()) };
    static KEEPS_SLEEPS: Cell<bool> = const { Cell::new(false) };
}

/// A map without fields.
pub(super) fn fields() -> HeaderMap {
    MAPS.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Keeps the room of a map that nobody needs any more.
pub(super) fn give_fields(mut fields: HeaderMap) {
    MAPS.with_borrow_mut(|spares| {
        if spares.len() < SPARE && (1..=FIELDS).contains(&fields.capacity()) {
            fields.clear();
            spares.push(fields);
        }
    });
}

/// A buffer without octets, with room for most heads.
pub(super) fn buffer() -> BytesMut {
    BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_else(|| BytesMut::with_capacity(HEAD))
}

/// Keeps the room of a buffer that nobody needs any more. What was taken out of it may live on: then it is of no use.
pub(super) fn give_buffer(mut buffer: BytesMut) {
    buffer.clear();
    BUFFERS.with_borrow_mut(|spares| {
        let has_room = spares.len() < SPARE && buffer.try_reclaim(HEAD);
        if has_room && buffer.capacity() <= LONGEST {
            spares.push(buffer);
        }
    });
}

/// This thread has one runtime for all of its life, so what one of its tasks waited with may serve another.
pub(crate) fn keep_sleeps() {
    KEEPS_SLEEPS.set(true);
}

/// What wakes its task at this moment, or before: whoever waits looks what time it is.
pub(super) fn sleep(at: Instant) -> Pin<Box<Sleep>> {
    let Some(mut sleep) = SLEEPS.with_borrow_mut(Vec::pop) else {
        return Box::pin(sleep_until(at.into()));
    };
    if sleep.deadline().into_std() > at {
        sleep.as_mut().reset(at.into());
    }
    sleep
}

/// Keeps it for whoever waits next. It may ring meanwhile, which wakes a task that looks around and waits on.
pub(super) fn give_sleep(sleep: Pin<Box<Sleep>>) {
    if !KEEPS_SLEEPS.get() {
        return;
    }
    SLEEPS.with_borrow_mut(|spares| {
        if spares.len() < SPARE {
            spares.push(sleep);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_on_and_nothing_else() {
        let mut first = buffer();
        first.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
        let room = first.as_ptr();
        let head = first.split_to(4).freeze();
        drop(head);
        give_buffer(first);
        let mut again = buffer();
        assert!(again.is_empty() && again.capacity() >= HEAD);
        again.extend_from_slice(b"x");
        assert_eq!(again.as_ptr(), room);
    }

    #[test]
    fn octets_that_somebody_has_are_never_written_over() {
        let mut first = buffer();
        first.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
        let head = first.split_to(4).freeze();
        give_buffer(first);
        let mut again = buffer();
        again.extend_from_slice(&[b'x'; HEAD]);
        assert_eq!(&head[..], b"GET ");
    }

    #[test]
    fn what_is_long_is_not_kept() {
        while BUFFERS.with_borrow_mut(Vec::pop).is_some() {}
        give_buffer(BytesMut::with_capacity(LONGEST + 1));
        let mut many = HeaderMap::with_capacity(FIELDS);
        many.reserve(2 * FIELDS);
        give_fields(many);
        assert_eq!(BUFFERS.with_borrow(Vec::len) + MAPS.with_borrow(Vec::len), 0);
        (0..2 * SPARE).for_each(|_| give_buffer(BytesMut::with_capacity(HEAD)));
        assert_eq!(BUFFERS.with_borrow(Vec::len), SPARE);
    }
}
