//! The API described (OpenAPI 3.1): paths written here with what they answer when all is well, schemas taken from the types
//! that are read and written. `answers` adds who may ask and what is answered when something is wrong, `examples` what it
//! looks like.

mod answers;
mod connection;
mod examples;
mod firmware;

use axum::Json;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::{ConfirmRequest, GenerationList, LeaseList, Problem, RollbackRequest};
use crate::balancer::{BalancerStatistics, Statistics};
use crate::config::{limits, wire};
use crate::reconcile::{Answer, Confirmed, Difference};
use crate::status::Status;
use crate::trace::{Request as TraceRequest, Trace};

/// The members of the document that are collections.
const COLLECTIONS: [&str; 9] = [
    "interfaces",
    "routes",
    "dhcp",
    "snat",
    "eips",
    "port_forwards",
    "qos",
    "certificates",
    "load_balancers",
];

/// GET `/openapi.json`.
pub(super) async fn document() -> Json<Value> {
    Json(openapi())
}

/// The whole description.
#[must_use]
pub fn openapi() -> Value {
    let mut schemas = Schemas::new();
    let problem = schemas.reference::<Problem>();
    let mut paths: Map<String, Value> = changes(&mut schemas)
        .into_iter()
        .chain(history(&mut schemas))
        .chain(views(&mut schemas))
        .chain(firmware::paths(&mut schemas))
        .map(|(path, item)| (path.to_owned(), item))
        .collect();
    answers::complete(&mut paths);
    json!({
        "openapi": "3.1.0",
        "info": {"title": "vrouter", "version": env!("CARGO_PKG_VERSION"),
                 "license": {"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
                 "description": "One JSON document is the whole desired state of a virtual router. Refusals are problem documents \
                                 (RFC 9457): 404 where nothing is, 405 with `Allow` where the method is not known, and what each \
                                 operation names."},
        "paths": paths,
        "components": {"schemas": schemas.finish(), "responses": answers::components(&problem),
                       "securitySchemes": answers::security_schemes()}
    })
}

/// A body as JSON.
fn json_body(schema: &Value) -> Value {
    json!({"application/json": {"schema": schema}})
}

/// What is answered when all is well.
fn answers(description: &str, schema: &Value) -> Value {
    json!({"200": {"description": description, "content": json_body(schema)}})
}

/// The same, with the generation as its ETag.
fn tagged(description: &str, schema: &Value) -> Value {
    let etag = json!({"schema": {"type": "string"}, "description": "The generation, in quotes."});
    json!({"200": {"description": description, "content": json_body(schema), "headers": {"ETag": etag}}})
}

/// An object with one member more.
fn with(mut object: Value, name: &str, member: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), member);
    }
    object
}

/// What changes the configuration, and what shows it.
fn changes(schemas: &mut Schemas) -> Vec<(&'static str, Value)> {
    let config = schemas.reference::<wire::Document>();
    let patch = json!({"$ref": "#/components/schemas/ConfigPatch"});
    let answer = schemas.reference::<Answer>();
    let rollback = schemas.reference::<RollbackRequest>();
    let (confirm, confirmed) = (schemas.reference::<ConfirmRequest>(), schemas.reference::<Confirmed>());
    let if_match = json!({"name": "If-Match", "in": "header", "schema": {"type": "string"},
        "description": "The generation that the change is for, in quotes; another one refuses it with 412."});
    let seconds = json!({"name": "confirm", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 86400},
        "description": "The change goes back by itself after so many seconds unless POST /v1/confirm comes in time, and \
                        earlier where whoever posted it could be reached before it and cannot be any more for five \
                        seconds. A change that comes while another waits is part of what goes back; with `confirm` it \
                        waits anew."});
    let known = json!({"description": "It is the generation that `If-None-Match` says."});
    let read = with(tagged("The configuration; the ETag is its generation.", &config), "304", known);
    let whole = |id: &str, summary: &str| {
        json!({"operationId": id, "summary": summary, "parameters": [if_match, seconds],
               "requestBody": {"required": true, "content": json_body(&config)},
               "responses": tagged("What became of the change; the ETag is the generation.", &answer)})
    };
    vec![
        (
            "/v1/config",
            json!({
                "get": {"operationId": "readConfig", "summary": "The configuration that runs, or an older one.",
                        "parameters": [{"name": "generation", "in": "query", "schema": {"type": "integer", "minimum": 0},
                                        "description": "An older generation."},
                                       {"name": "If-None-Match", "in": "header", "schema": {"type": "string"},
                                        "description": "The generation that is known, in quotes; where it runs, the answer is 304."}],
                        "responses": read},
                "post": whole("replaceConfig", "Replaces the configuration."),
                "put": whole("putConfig", "Replaces the configuration."),
                "patch": {"operationId": "patchConfig", "summary": "Applies a merge patch (RFC 7396).",
                          "parameters": [if_match, seconds],
                          "requestBody": {"required": true,
                                          "content": {"application/merge-patch+json": {"schema": patch}}},
                          "responses": tagged("What became of the change; the ETag is the generation.", &answer)}
            }),
        ),
        (
            "/v1/plan",
            json!({
                "post": {"operationId": "plan", "summary": "What a change would do; nothing is done.",
                         "parameters": [if_match],
                         "requestBody": {"required": true,
                                         "content": {"application/json": {"schema": config},
                                                     "application/merge-patch+json": {"schema": patch}}},
                         "responses": answers("The difference and the steps.", &answer)}
            }),
        ),
        (
            "/v1/rollback",
            json!({
                "post": {"operationId": "rollback", "summary": "Brings an older generation back, as a new one.",
                         "parameters": [if_match, seconds],
                         "requestBody": {"required": true, "content": json_body(&rollback)},
                         "responses": tagged("What became of the change; the ETag is the generation.", &answer)}
            }),
        ),
        (
            "/v1/confirm",
            json!({
                "post": {"operationId": "confirm", "summary": "Keeps a change that waits to be confirmed.",
                         "description": "Where nothing waits, whoever names the generation that runs is told that it \
                                         stays; without a generation it is a problem (409). Another generation than \
                                         the one that runs is one too (412): the change may have gone back.",
                         "requestBody": {"content": json_body(&confirm)},
                         "responses": answers("It stays.", &confirmed)}
            }),
        ),
    ]
}

/// What shows what was configured before.
fn history(schemas: &mut Schemas) -> Vec<(&'static str, Value)> {
    let generations = schemas.reference::<GenerationList>();
    let difference = schemas.reference::<Difference>();
    vec![
        reads(
            "/v1/generations",
            ("generations", "The generations that are remembered."),
            &[],
            answers("Oldest first.", &generations),
        ),
        reads(
            "/v1/generations/{generation}/diff",
            ("difference", "What a generation changed, or what differs between two."),
            &[
                json!({"name": "generation", "in": "path", "required": true, "schema": {"type": "integer", "minimum": 0},
                       "description": "The generation; 0, with `to` alone, is the router with nothing configured."}),
                json!({"name": "to", "in": "query", "schema": {"type": "integer", "minimum": 0},
                       "description": "What differs between the generation and this one; without it, between the generation \
                                       and the one before it."}),
            ],
            answers("Every object that differs, before and after.", &difference),
        ),
    ]
}

/// What shows how the router does.
fn views(schemas: &mut Schemas) -> Vec<(&'static str, Value)> {
    let status = schemas.reference::<Status>();
    let leases = schemas.reference::<LeaseList>();
    let statistics = schemas.reference::<Statistics>();
    let balancer = schemas.reference::<BalancerStatistics>();
    let (trace_request, trace) = (schemas.reference::<TraceRequest>(), schemas.reference::<Trace>());
    vec![
        (
            "/v1/trace",
            json!({
                "post": {"operationId": "trace",
                         "summary": "What becomes of a packet, who of the configuration decides it, and whether the kernel does the same.",
                         "description": "The packet is the first of a connection, as it comes in by an interface. It is led \
                                         through what the configuration makes of the kernel, and through the kernel as it \
                                         is; nothing is sent.",
                         "requestBody": {"required": true, "content": json_body(&trace_request)},
                         "responses": answers("Verdict, decisions in order, translation, route, and differences.", &trace)}
            }),
        ),
        reads(
            "/v1/status",
            ("status", "How each interface and service does, since when, and why not."),
            &[],
            answers("The status of this moment.", &status),
        ),
        reads(
            "/v1/leases",
            ("leases", "The DHCP leases and quarantined addresses that count now."),
            &[json!({"name": "network", "in": "query", "schema": {"type": "string"},
                     "description": "The DHCP network; all of them where absent."})],
            answers("By address.", &leases),
        ),
        connection::path(schemas),
        reads(
            "/v1/balancers",
            ("balancers", "What every balancer counts and knows, and the certificates."),
            &[],
            answers("By id.", &statistics),
        ),
        reads(
            "/v1/balancers/{id}",
            ("balancer", "What one balancer counts and knows."),
            &[json!({"name": "id", "in": "path", "required": true, "schema": {"type": "string"},
                     "description": "Its id in the configuration."})],
            answers("The balancer.", &balancer),
        ),
        reads(
            "/",
            ("page", "A page for browsers that shows the balancers and refreshes itself."),
            &[],
            text("text/html", "One document; it loads nothing but this API."),
        ),
        reads(
            "/docs",
            ("docs", "This description as a page for browsers."),
            &[],
            text("text/html", "One document; it loads nothing but /openapi.json."),
        ),
        reads(
            "/metrics",
            ("metrics", "The status as metrics."),
            &[],
            text("application/openmetrics-text", "OpenMetrics 1.0, as Prometheus reads it."),
        ),
        reads(
            "/openapi.json",
            ("openapi", "This description."),
            &[],
            answers("OpenAPI 3.1.", &json!({"type": "object"})),
        ),
    ]
}

/// A path that is only ever read: its operation by id and summary, its parameters, and what it answers.
fn reads(
    path: &'static str,
    (id, summary): (&str, &str),
    parameters: &[Value],
    responses: Value,
) -> (&'static str, Value) {
    let mut operation = json!({"operationId": id, "summary": summary, "responses": responses});
    if !parameters.is_empty() {
        operation = with(operation, "parameters", parameters.into());
    }
    (path, json!({"get": operation}))
}

/// A text that is answered when all is well.
fn text(kind: &str, description: &str) -> Value {
    json!({"200": {"description": description, "content": {kind: {"schema": {"type": "string"}}}}})
}

/// Collects the schemas that are referred to.
struct Schemas(SchemaGenerator);

impl Schemas {
    fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Self(settings.into_generator())
    }

    fn reference<T: JsonSchema>(&mut self) -> Value {
        self.0.subschema_for::<T>().to_value()
    }

    fn finish(mut self) -> Map<String, Value> {
        let mut schemas = self.0.take_definitions(true);
        bound(&mut schemas);
        let patch = patch(schemas.get("Config"));
        schemas.insert("ConfigPatch".to_owned(), patch);
        schemas
    }
}

/// Says of each collection how many objects it has at most.
fn bound(schemas: &mut Map<String, Value>) {
    let within = [
        ("DhcpNetwork", "hosts", "/dhcp/ID/hosts"),
        ("Dns", "records", "/dns/records"),
        ("Dns", "conditional_forwarders", "/dns/conditional_forwarders"),
        ("Ssh", "keys", "/ssh/keys"),
        ("Firewall", "rules", "/firewall/rules"),
        ("Firewall", "rule_sets", "/firewall/rule_sets"),
        ("RuleSet", "rules", "/firewall/rule_sets/ID/rules"),
        ("LoadBalancer", "pools", "/load_balancers/ID/pools"),
        ("LoadBalancer", "rules", "/load_balancers/ID/rules"),
        ("Pool", "backends", "/load_balancers/ID/pools/ID/backends"),
    ];
    let mut say = |schema: &str, member: &str, place: &str| {
        let members = schemas.get_mut(schema).and_then(|schema| schema.get_mut("properties"));
        let found = members.and_then(|members| members.get_mut(member)).and_then(Value::as_object_mut);
        if let Some(found) = found {
            found.insert("maxProperties".to_owned(), limits::most(place).into());
        }
    };
    within.into_iter().for_each(|(schema, member, place)| say(schema, member, place));
    for member in COLLECTIONS {
        say("Config", member, &format!("/{member}"));
    }
}

/// The schema of a merge patch on a document of this one: its members, each of which may be null.
fn patch(config: Option<&Value>) -> Value {
    let members = config.and_then(|config| config["properties"].as_object()).into_iter().flatten();
    let member = |(name, schema): (&String, &Value)| {
        let kind = match schema["type"].as_str() {
            Some("integer") => json!("integer"),
            Some("object") => json!(["object", "null"]),
            _ => json!(["object", "string", "null"]),
        };
        (name.clone(), json!({"type": kind, "description": schema["description"]}))
    };
    let members: Map<String, Value> = members.map(member).collect();
    json!({
        "type": "object",
        "description": "A merge patch (RFC 7396) on a Config: what it does not name stays, what is null goes. The result has \
                        to be a Config.",
        "properties": members,
        "additionalProperties": {"type": "null"}
    })
}

#[cfg(test)]
mod tests;
