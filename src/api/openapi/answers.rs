//! What is the same for all operations of the description: who may ask, what is answered when something is wrong, and
//! examples of what is sent and answered.
//!
//! Operations are written with what they answer when all is well, and are completed here, so that none forgets a refusal.
//! Called by `openapi.rs`.

use serde_json::{Map, Value, json};

use super::{examples, with};

/// A refusal: its status, the name of its description, what it is, and an example of its problem document.
type Refusal = (&'static str, &'static str, &'static str, fn() -> Value);

/// Every refusal that is described.
const REFUSALS: [Refusal; 14] = [
    (
        "400",
        "BadRequest",
        "The request is not understood: a parameter, a header or the syntax of the body.",
        || {
            problem(
                400,
                "bad-request",
                "The request is not understood",
                "If-Match is a generation in quotes, such as \"7\", or *",
            )
        },
    ),
    (
        "401",
        "Unauthorized",
        "It is not known who asks: there is no token and no client certificate, or one that is not known.",
        || problem(401, "unauthorized", "It is not known who asks", "the token is not known"),
    ),
    (
        "403",
        "Forbidden",
        "Whoever asks may not: it takes the role write, or a page of another site made a browser ask.",
        || {
            problem(
                403,
                "forbidden",
                "Whoever asks may not; nothing changed",
                "token watch may only look, and this takes the role write",
            )
        },
    ),
    ("404", "NotFound", "There is no such thing.", || {
        problem(
            404,
            "not-found",
            "There is no such thing",
            "generation 99 is not remembered; GET /v1/generations lists those that are",
        )
    }),
    (
        "408",
        "Timeout",
        "The request did not come, or was not done, within 60 seconds. What it asked may have been done.",
        || problem(408, "timeout", "The request took too long", "the request was not done after 60 seconds"),
    ),
    (
        "409",
        "Conflict",
        "A service or the machine cannot take it over, or somebody else commands the router. Nothing changed.",
        || {
            problem(
                409,
                "not-served",
                "A service cannot take it over; nothing changed",
                "dns: 10.1.1.1 port 53 is taken; generation 7 runs on",
            )
        },
    ),
    ("412", "Outdated", "Another generation runs than `If-Match` says. Nothing changed.", || {
        problem(
            412,
            "outdated",
            "Another generation runs; nothing changed",
            "generation 8 runs, not 7: read it, and apply the change to that",
        )
    }),
    (
        "413",
        "TooLarge",
        "The body is larger than 64 MiB, or than a 32nd of the machine's memory where that is less; an update, than its place on the disk.",
        || {
            problem(
                413,
                "too-large",
                "The request is too large",
                "a body is at most 67108864 octets on this machine",
            )
        },
    ),
    (
        "422",
        "Invalid",
        "The configuration has faults: each with its place, its rule and a sentence. Nothing changed.",
        || {
            let problem = problem(
                422,
                "invalid-configuration",
                "The configuration has faults; nothing changed",
                "1 fault; `faults` says where",
            );
            let fault = json!({"pointer": "/eips/7f0c/interface", "rule": "dangling-reference",
                               "detail": "there is no interface `wan`"});
            with(problem, "faults", json!([fault]))
        },
    ),
    (
        "429",
        "TooMany",
        "Too much was presented that is not known, or too many changes were sent: `Retry-After` says how long to wait.",
        || {
            problem(
                429,
                "too-many-failures",
                "Too much was presented that is not known",
                "too many requests from 192.0.2.66 presented what is not known; try again in 1 s",
            )
        },
    ),
    (
        "431",
        "HeadTooLarge",
        "The head of the request is larger than 64 KiB or has more than 100 fields.",
        || {
            problem(
                431,
                "head-too-large",
                "The head of the request is too large",
                "a request's head is at most 65536 octets, and 100 fields",
            )
        },
    ),
    ("500", "NotApplied", "The kernel does not follow, or the router is at fault. Nothing changed.", || {
        problem(
            500,
            "not-applied",
            "The kernel does not follow; nothing changed",
            "address add 10.1.1.1/24 dev eth2: no such device; generation 7 runs on",
        )
    }),
    (
        "503",
        "Unavailable",
        "More is being worked on than may be, or the service is stopping: `Retry-After` says how long to wait. Nothing changed.",
        || {
            problem(
                503,
                "busy",
                "Not now; nothing changed",
                "64 requests are being worked on, as many as may be",
            )
        },
    ),
    ("507", "NotStored", "It cannot be stored. Nothing changed.", || {
        problem(
            507,
            "not-stored",
            "It cannot be stored; nothing changed",
            "cannot write /var/lib/vrouter/generations.journal: no space left on device; generation 7 runs on",
        )
    }),
];

/// What may go wrong with everything.
const ALWAYS: [&str; 8] = ["400", "401", "403", "408", "429", "431", "500", "503"];
/// What may go wrong besides with what carries a body.
const WITH_BODY: [&str; 5] = ["404", "409", "412", "413", "422"];

fn problem(status: u16, kind: &str, title: &str, detail: &str) -> Value {
    json!({"type": format!("urn:vrouter:problem:{kind}"), "title": title, "status": status, "detail": detail})
}

/// The refusals as components; `problem` is the schema of their documents.
pub(super) fn components(problem: &Value) -> Value {
    let describe = |(status, name, description, example): &Refusal| {
        let content = json!({"application/problem+json": {"schema": problem, "example": example()}});
        let mut response = json!({"description": description, "content": content});
        let header =
            |kind: &str, description: &str| json!({"schema": {"type": kind}, "description": description});
        match *status {
            "401" => {
                let what = "What has to be shown (RFC 6750, RFC 7617).";
                response = with(response, "headers", json!({"WWW-Authenticate": header("string", what)}));
            }
            "429" | "503" => {
                let what = "In how many seconds it is worth asking again.";
                response = with(response, "headers", json!({"Retry-After": header("integer", what)}));
            }
            _ => {}
        }
        ((*name).to_owned(), response)
    };
    Value::Object(REFUSALS.iter().map(describe).collect())
}

/// Who may ask.
pub(super) fn security_schemes() -> Value {
    json!({
        "token": {"type": "http", "scheme": "bearer", "description": "A token of `--token-file`, with the role read or write."},
        "browser": {"type": "http", "scheme": "basic", "description": "For browsers, where nothing is changed: any name, and a token as the password."},
        "certificate": {"type": "mutualTLS", "description": "A client certificate that `--client-ca` vouches for."}
    })
}

/// Completes every operation: who may ask, every refusal, and examples.
pub(super) fn complete(paths: &mut Map<String, Value>) {
    for (path, item) in paths {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            let reads = method == "get" || matches!(path.as_str(), "/v1/plan" | "/v1/trace");
            secure(operation, reads, method == "get");
            refuse(operation, path, method, reads);
            examples::add(operation);
        }
    }
}

fn secure(operation: &mut Value, reads: bool, browser: bool) {
    // On the socket, and on loopback where nothing is set, nobody has to show anything.
    let mut ways = vec![json!({}), json!({"token": []}), json!({"certificate": []})];
    if browser {
        ways.push(json!({"browser": []}));
    }
    operation["security"] = Value::Array(ways);
    let role = if reads { "read" } else { "write" };
    let said = operation
        .get("description")
        .and_then(Value::as_str)
        .map(|said| format!("{said} "))
        .unwrap_or_default();
    operation["description"] = format!("{said}It takes the role {role}.").into();
}

fn refuse(operation: &mut Value, path: &str, method: &str, reads: bool) {
    let mut wanted = ALWAYS.to_vec();
    if method != "get" {
        wanted.extend(WITH_BODY);
    }
    if !reads {
        wanted.push("507");
    }
    let asks_for_one =
        operation.get("parameters").and_then(Value::as_array).is_some_and(|all| !all.is_empty());
    if method == "get" && (path.contains('{') || asks_for_one) {
        wanted.push("404");
    }
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    responses.remove("default");
    for (status, name, ..) in REFUSALS.iter().filter(|(status, ..)| wanted.contains(status)) {
        let reference = json!({"$ref": format!("#/components/responses/{name}")});
        responses.entry((*status).to_owned()).or_insert(reference);
    }
}
