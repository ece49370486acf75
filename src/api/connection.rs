//! Connections that the kernel follows, over HTTP.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::problem::Problem;
use super::{Context, chunks};
use crate::status::{ConnectionList, ConnectionQuestion};

/// How many connections are told of where nothing else is said.
pub(super) const LIMIT: usize = 1_000;
/// How many are told of at most.
pub(super) const MOST: usize = 10_000;
/// The kernel's table is read by one at a time: it may be long, and packets wait for the parts that are being read.
static READING: Semaphore = Semaphore::const_new(1);
/// How long somebody waits for those before him.
const TURN: Duration = Duration::from_secs(5);

/// `?address=A&protocol=P&port=N&limit=N`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConnectionQuery {
    address: Option<Ipv4Addr>,
    protocol: Option<String>,
    port: Option<NonZeroU16>,
    limit: Option<usize>,
}

impl ConnectionQuery {
    fn question(self) -> Result<ConnectionQuestion, Problem> {
        let most = self.limit.unwrap_or(LIMIT);
        if !(1..=MOST).contains(&most) {
            return Err(Problem::bad_request(format!("limit: {most} is not 1 to {MOST}")));
        }
        let protocol = self.protocol.as_deref().map(protocol).transpose()?;
        Ok(ConnectionQuestion { address: self.address, protocol, port: self.port.map(NonZeroU16::get), most })
    }
}

/// A transport by its name or number.
fn protocol(text: &str) -> Result<u8, Problem> {
    match text {
        "icmp" => Ok(1),
        "tcp" => Ok(6),
        "udp" => Ok(17),
        number => number.parse().map_err(|_| {
            Problem::bad_request(format!(
                "protocol: `{text}` is not tcp, udp, icmp, or a number from 0 to 255"
            ))
        }),
    }
}

/// GET `/v1/connections`.
pub(super) async fn connections(
    State(context): State<Context>,
    query: Result<Query<ConnectionQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let question = query.question()?;
    let Ok(Ok(turn)) = timeout(TURN, READING.acquire()).await else {
        return Err(Problem::busy("others are reading the connections"));
    };
    let body = chunks::body(move |chunks| {
        let found = context.reporter.connections(&question)?;
        // Whoever takes the answer slowly keeps nobody from reading.
        drop(turn);
        serde_json::to_writer(chunks, &ConnectionList::from(found)).map_err(|error| error.to_string())
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], body.await?).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(protocol: Option<&str>, limit: Option<usize>) -> Result<ConnectionQuestion, String> {
        let query =
            ConnectionQuery { address: None, protocol: protocol.map(str::to_owned), port: None, limit };
        query.question().map_err(|problem| problem.detail)
    }

    #[test]
    fn what_is_asked_is_bounded_and_understood() {
        let all = ConnectionQuestion { most: LIMIT, ..ConnectionQuestion::default() };
        assert_eq!(asked(None, None).unwrap(), all);
        assert_eq!(
            asked(Some("udp"), Some(MOST)).unwrap(),
            ConnectionQuestion { protocol: Some(17), most: MOST, ..all }
        );
        assert_eq!(asked(Some("47"), None).unwrap(), ConnectionQuestion { protocol: Some(47), ..all });
        for (protocol, limit) in [
            (Some("TCP"), None),
            (Some("256"), None),
            (Some(""), None),
            (None, Some(0)),
            (None, Some(MOST + 1)),
        ] {
            assert!(asked(protocol, limit).is_err(), "{protocol:?} {limit:?}");
        }
    }
}
