//! What the management node is told every few seconds: the uuid that it gave, and how the router does. Pure.
//!
//! The uuid is a switch: another one than the management node's, or none, asks for everything to be sent anew. It stands in
//! the configuration, so it comes back with all that was acknowledged and with nothing else. A router that has not carried
//! out what it remembers does not tell it.

use serde_json::{Map, Value, json};

use crate::status::{Health, Status};

/// The answer to a ping.
#[must_use]
pub(super) fn answer(status: &Status, uuid: Option<&str>) -> Value {
    let is_there = status.verified.is_some();
    let healthy = !matches!(status.state, Health::Failed | Health::Starting);
    json!({
        "success": true,
        "error": "",
        "uuid": uuid.filter(|_| is_there).unwrap_or_default(),
        "version": status.version,
        "haStatus": "NoHa",
        "healthy": healthy,
        "healthDetail": status.reasons.join("; "),
        "serviceHealthList": services(status),
    })
}

/// How each service does that anything is wanted of.
fn services(status: &Status) -> Value {
    let mut services = Map::new();
    for (name, head) in status.services.heads() {
        if head.state != Health::Off {
            let why = head.why.as_deref().unwrap_or_default();
            services.insert(name.to_owned(), json!({"state": head.state.name(), "detail": why}));
        }
    }
    Value::Object(services)
}
