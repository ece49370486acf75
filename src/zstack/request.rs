//! A request as it came to the port, and a refusal in words. Called by the door.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::callback::TASK_UUID;
use super::server::Ends;
use crate::api::bodies;

/// The largest body, in octets: ten thousand DHCP entries fit.
const BODY_LIMIT: usize = 16 << 20;
/// How many octets of bodies may wait.
const WAITING_LIMIT: usize = 64 << 20;
/// The longest uuid of a task, in octets.
const LONGEST_UUID: usize = 128;

/// A request that is refused, in words for whoever reads the management node's log.
#[derive(Debug)]
pub(super) struct Refused(pub(super) StatusCode, pub(super) String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let retry = self.0 == StatusCode::SERVICE_UNAVAILABLE;
        let mut response = (self.0, self.1).into_response();
        if retry {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// How many octets are held of bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bodies {
    /// One has at most.
    pub(super) one: usize,
    /// Those that wait have at most.
    pub(super) waiting: usize,
}

impl Bodies {
    /// What fits a machine with so many octets of memory.
    pub(super) fn within(memory: u64) -> Self {
        let one = bodies::fitting(BODY_LIMIT, memory);
        Self { one, waiting: WAITING_LIMIT.min(4 * one) }
    }
}

/// One request.
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) ends: Ends,
    pub(super) body: Result<Bytes, BytesRejection>,
    pub(super) body_limit: usize,
}

/// A path without the slashes at its end and in lower case, as the management node's agents take it.
pub(super) fn plain(path: &str) -> String {
    let plain = path.trim_end_matches('/').to_ascii_lowercase();
    if plain.is_empty() { "/".to_owned() } else { plain }
}

impl Asked {
    pub(super) fn posted(&self) -> Result<(), Refused> {
        if self.method == Method::POST {
            return Ok(());
        }
        Err(Refused(StatusCode::METHOD_NOT_ALLOWED, format!("{} is posted to", self.path)))
    }

    pub(super) fn body(&self) -> Result<Bytes, Refused> {
        self.body.as_ref().map(Clone::clone).map_err(|error| match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                let why = format!("a body is at most {} octets on this machine", self.body_limit);
                Refused(StatusCode::PAYLOAD_TOO_LARGE, why)
            }
            _ => Refused(StatusCode::BAD_REQUEST, error.body_text()),
        })
    }

    pub(super) fn header(&self, name: &str) -> Result<&str, Refused> {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if value.is_empty() {
            let why = format!("the header `{name}` is missing: {} is answered by a callback", self.path);
            return Err(Refused(StatusCode::BAD_REQUEST, why));
        }
        Ok(value)
    }

    pub(super) fn uuid(&self) -> Result<String, Refused> {
        let uuid = self.header(TASK_UUID)?;
        if uuid.len() > LONGEST_UUID || !uuid.bytes().all(|octet| octet.is_ascii_graphic()) {
            let why = format!("the header `{TASK_UUID}` is no uuid");
            return Err(Refused(StatusCode::BAD_REQUEST, why));
        }
        Ok(uuid.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_machine_holds_less() {
        let of = |memory: u64| Bodies::within(memory);
        assert_eq!(of(4 << 30), Bodies { one: 16 << 20, waiting: 64 << 20 });
        assert_eq!(of(96 << 20), Bodies { one: 3 << 20, waiting: 12 << 20 });
        assert_eq!(of(0), Bodies { one: 1 << 20, waiting: 4 << 20 });
    }

    #[test]
    fn a_path_is_the_same_with_a_slash_at_its_end_and_in_any_case() {
        for path in ["/createEip", "/createeip/", "/createeip//"] {
            assert_eq!(plain(path), "/createeip", "{path}");
        }
        assert_eq!((plain("/"), plain("")), ("/".to_owned(), "/".to_owned()));
    }
}
