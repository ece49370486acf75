//! Examples of what is sent and answered: a file for each operation, as a real router answered it.
//!
//! `VROUTER_UPDATE=1 cargo nextest run openapi` writes the answers anew. Called by `answers.rs`.

use serde_json::Value;

/// What is answered, by the id of the operation.
const ANSWERS: &[(&str, &str)] = &[
    ("readConfig", include_str!("examples/readConfig.json")),
    ("replaceConfig", include_str!("examples/replaceConfig.json")),
    ("putConfig", include_str!("examples/putConfig.json")),
    ("patchConfig", include_str!("examples/patchConfig.json")),
    ("plan", include_str!("examples/plan.json")),
    ("rollback", include_str!("examples/rollback.json")),
    ("confirm", include_str!("examples/confirm.json")),
    ("difference", include_str!("examples/difference.json")),
    ("generations", include_str!("examples/generations.json")),
    ("trace", include_str!("examples/trace.json")),
    ("status", include_str!("examples/status.json")),
    ("leases", include_str!("examples/leases.json")),
    ("connections", include_str!("examples/connections.json")),
    ("balancers", include_str!("examples/balancers.json")),
    ("balancer", include_str!("examples/balancer.json")),
    ("system", include_str!("examples/system.json")),
    ("update", include_str!("examples/update.json")),
    ("reboot", include_str!("examples/reboot.json")),
];

/// What is sent.
const REQUESTS: &[(&str, &str)] = &[
    ("replaceConfig", include_str!("examples/readConfig.json")),
    ("putConfig", include_str!("examples/readConfig.json")),
    ("patchConfig", PATCH),
    ("plan", include_str!("examples/readConfig.json")),
    ("rollback", "{\"generation\": 1}"),
    ("confirm", "{\"generation\": 7}"),
    ("trace", TRACE),
];

/// Somebody outside and an EIP.
const TRACE: &str = "{\"interface\": \"public\", \"source\": \"192.0.2.53\", \"destination\": \"198.51.100.8\", \
                     \"protocol\": \"tcp\", \"ports\": {\"source\": 40000, \"destination\": 80}}";

/// A merge patch that adds an EIP and removes another.
const PATCH: &str = "{\"eips\": {\"7f0c\": {\"address\": \"198.51.100.7\", \"interface\": \"public\", \"target\": \"10.1.1.20\"}, \
                     \"old\": null}}";

/// Adds its examples to an operation.
pub(super) fn add(operation: &mut Value) {
    let Some(id) = operation.get("operationId").and_then(Value::as_str).map(str::to_owned) else { return };
    let of = |examples: &[(&str, &str)]| {
        let (_, text) = examples.iter().find(|(known, _)| *known == id)?;
        serde_json::from_str::<Value>(text).ok()
    };
    let places = [
        (of(ANSWERS), "/responses/200/content/application~1json"),
        (of(REQUESTS).filter(|_| id != "patchConfig"), "/requestBody/content/application~1json"),
        (serde_json::from_str(PATCH).ok(), "/requestBody/content/application~1merge-patch+json"),
    ];
    for (example, place) in places {
        if let (Some(example), Some(content)) = (example, operation.pointer_mut(place))
            && content.get("example").is_none()
        {
            content["example"] = example;
        }
    }
}
