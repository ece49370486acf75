//! The path of the connections. Called by `openapi.rs`.

use serde_json::{Value, json};

use super::{Schemas, answers, reads};
use crate::api::connection;
use crate::status::ConnectionList;

/// What shows them.
pub(super) fn path(schemas: &mut Schemas) -> (&'static str, Value) {
    let list = schemas.reference::<ConnectionList>();
    let asked = |name: &str, schema: Value, description: &str| json!({"name": name, "in": "query", "schema": schema, "description": description});
    let limit =
        json!({"type": "integer", "minimum": 1, "maximum": connection::MOST, "default": connection::LIMIT});
    let port = json!({"type": "integer", "minimum": 1, "maximum": u16::MAX});
    reads(
        "/v1/connections",
        ("connections", "The connections that the kernel follows, the router's own and those through it."),
        &[
            asked(
                "address",
                json!({"type": "string", "format": "ipv4"}),
                "Only those with this address at either end, before or after translation.",
            ),
            asked(
                "protocol",
                json!({"type": "string"}),
                "Only those of tcp, udp, icmp, or a protocol's number.",
            ),
            asked("port", port, "Only those with this port at either end, before or after translation."),
            asked("limit", limit, "So many are told of at most; the others are counted."),
        ],
        answers("By protocol, source and destination.", &list),
    )
}
