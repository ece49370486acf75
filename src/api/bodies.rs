//! How much of what is posted is held at once, by the memory of the machine. Called by the doors, this one and ZStack's.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::header;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The largest body, in octets: a configuration of a hundred thousand objects fits.
pub(super) const MOST: usize = 64 << 20;
/// On a small machine, what part of its memory a body may be. As values, with what they are compared with, a document takes
/// up to eighteen times its octets, so a hostile one takes somewhat more than half of the memory; ten thousand EIPs fit a
/// machine of 64 MiB.
const SHARE: u64 = 32;
/// However small the machine is, a body of so many octets is read.
const LEAST: usize = 1 << 20;
/// What bodies are counted in.
const UNIT: usize = 1 << 10;

/// What bodies take, and may take.
#[derive(Debug)]
pub(super) struct Bodies {
    one: usize,
    all: usize,
    free: Arc<Semaphore>,
}

/// Others have what bodies may take together.
#[derive(Debug)]
pub(super) struct Full;

impl Default for Bodies {
    fn default() -> Self {
        Self::within(u64::MAX)
    }
}

impl Bodies {
    /// Bodies on a machine with so many octets of memory.
    pub(super) fn within(memory: u64) -> Self {
        let (one, all) = limits(memory);
        Self { one, all, free: Arc::new(Semaphore::new(all.div_ceil(UNIT))) }
    }

    /// How many octets one has at most.
    pub(super) const fn one(&self) -> usize {
        self.one
    }

    /// How many octets those that are being worked on have together at most.
    pub(super) const fn all(&self) -> usize {
        self.all
    }

    /// A share of that for the body of a request.
    pub(super) fn admit(&self, request: &Request) -> Result<OwnedSemaphorePermit, Full> {
        let headers = request.headers();
        let said = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let octets = match said {
            // Without either there is no body (RFC 9112 section 6.3).
            None if !headers.contains_key(header::TRANSFER_ENCODING) => 0,
            // Who does not say how long it is may send as much as anybody.
            said => said.and_then(|length| length.parse().ok()).unwrap_or(self.one).min(self.one),
        };
        let units = u32::try_from(octets.div_ceil(UNIT)).unwrap_or(u32::MAX);
        self.free.clone().try_acquire_many_owned(units).map_err(|_| Full)
    }
}

/// How many octets a share has.
pub(super) fn octets(share: &OwnedSemaphorePermit) -> usize {
    share.num_permits() * UNIT
}

/// The octets of one body, and of all together, on a machine with so much memory: two of the largest, where the memory is
/// for more than one.
fn limits(memory: u64) -> (usize, usize) {
    match fitting(MOST, memory) {
        MOST => (MOST, 2 * MOST),
        one => (one, one),
    }
}

/// The octets of a body of at most so many, on a machine with so much memory.
pub(crate) fn fitting(most: usize, memory: u64) -> usize {
    usize::try_from(memory / SHARE).unwrap_or(most).clamp(LEAST, most)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn a_small_machine_holds_less() {
        assert_eq!(limits(u64::MAX), (64 << 20, 128 << 20));
        assert_eq!(limits(2 << 30), (64 << 20, 128 << 20));
        assert_eq!(limits(1 << 30), (32 << 20, 32 << 20));
        assert_eq!(limits(96 << 20), (3 << 20, 3 << 20));
        assert_eq!(limits(0), (1 << 20, 1 << 20));
        let ordered = [0, 16 << 20, 64 << 20, 96 << 20, 1 << 30, 4 << 30].map(limits);
        assert!(ordered.is_sorted());
    }

    fn posted(length: Option<usize>) -> Request {
        let request = Request::post("/v1/config");
        let request = match length {
            Some(length) => request.header("content-length", length.to_string()),
            None => request.header("transfer-encoding", "chunked"),
        };
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn the_largest_fits_and_none_at_all_always_does() {
        for memory in [62_210_048, 96 << 20, 1 << 30] {
            let bodies = Bodies::within(memory);
            let largest = bodies.admit(&posted(None)).unwrap();
            assert!(bodies.admit(&posted(Some(1))).is_err());
            assert!(bodies.admit(&Request::post("/v1/confirm").body(Body::empty()).unwrap()).is_ok());
            drop(largest);
        }
    }

    #[test]
    fn bodies_share_what_there_is() {
        let bodies = Bodies::default();
        let first = bodies.admit(&posted(None)).unwrap();
        let second = bodies.admit(&posted(Some(MOST - 4096))).unwrap();
        let third = bodies.admit(&posted(Some(4096))).unwrap();
        assert!(bodies.admit(&posted(Some(1))).is_err());
        assert!(bodies.admit(&posted(Some(0))).is_ok());
        drop((first, third));
        // What is longer than may be is refused where it is read.
        assert!(bodies.admit(&posted(Some(usize::MAX))).is_ok());
        drop(second);
    }
}
