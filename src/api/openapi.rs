//! The API described (OpenAPI 3.1): paths written here, schemas taken from the types that are read and written.

use axum::Json;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::{GenerationList, LeaseList, Problem, RollbackRequest};
use crate::balancer::{BalancerStatistics, Statistics};
use crate::config::wire;
use crate::reconcile::Answer;
use crate::status::Status;

/// GET `/openapi.json`.
pub(super) async fn document() -> Json<Value> {
    Json(openapi())
}

/// The whole description.
#[must_use]
pub fn openapi() -> Value {
    let mut schemas = Schemas::new();
    let problem = schemas.reference::<Problem>();
    let paths: Map<String, Value> = changes(&mut schemas, &problem)
        .into_iter()
        .chain(views(&mut schemas, &problem))
        .map(|(path, item)| (path.to_owned(), item))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {"title": "vrouter", "version": env!("CARGO_PKG_VERSION"),
                 "license": {"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
                 "description": "One JSON document is the whole desired state of a virtual router."},
        "paths": paths,
        "components": {"schemas": schemas.finish()}
    })
}

/// A body as JSON.
fn json_body(schema: &Value) -> Value {
    json!({"application/json": {"schema": schema}})
}

/// What is answered: this, or a problem.
fn answers(problem: &Value, description: &str, schema: &Value) -> Value {
    json!({
        "200": {"description": description, "content": json_body(schema)},
        "default": {"description": "A problem document (RFC 9457).",
                    "content": {"application/problem+json": {"schema": problem}}}
    })
}

/// What changes the configuration, and what shows it.
fn changes(schemas: &mut Schemas, problem: &Value) -> Vec<(&'static str, Value)> {
    let config = schemas.reference::<wire::Document>();
    let answer = schemas.reference::<Answer>();
    let rollback = schemas.reference::<RollbackRequest>();
    let answers = |description: &str, schema: &Value| answers(problem, description, schema);
    let if_match = json!({"name": "If-Match", "in": "header", "schema": {"type": "string"},
        "description": "The generation that the change is for, in quotes; another one refuses it with 412."});
    let whole = |id: &str, summary: &str| {
        json!({"operationId": id, "summary": summary, "parameters": [if_match],
               "requestBody": {"required": true, "content": json_body(&config)},
               "responses": answers("What became of the change; the ETag is the generation.", &answer)})
    };
    vec![
        (
            "/v1/config",
            json!({
                "get": {"operationId": "readConfig", "summary": "The configuration that runs, or an older one.",
                        "parameters": [{"name": "generation", "in": "query", "schema": {"type": "integer", "minimum": 0},
                                        "description": "An older generation."}],
                        "responses": answers("The configuration; the ETag is its generation.", &config)},
                "post": whole("replaceConfig", "Replaces the configuration."),
                "put": whole("putConfig", "Replaces the configuration."),
                "patch": {"operationId": "patchConfig", "summary": "Applies a merge patch (RFC 7396).",
                          "parameters": [if_match],
                          "requestBody": {"required": true,
                                          "content": {"application/merge-patch+json": {"schema": {"type": "object"}}}},
                          "responses": answers("What became of the change; the ETag is the generation.", &answer)}
            }),
        ),
        (
            "/v1/plan",
            json!({
                "post": {"operationId": "plan", "summary": "What a change would do; nothing is done.",
                         "parameters": [if_match],
                         "requestBody": {"required": true,
                                         "content": {"application/json": {"schema": config},
                                                     "application/merge-patch+json": {"schema": {"type": "object"}}}},
                         "responses": answers("The difference and the steps.", &answer)}
            }),
        ),
        (
            "/v1/rollback",
            json!({
                "post": {"operationId": "rollback", "summary": "Brings an older generation back, as a new one.",
                         "parameters": [if_match],
                         "requestBody": {"required": true, "content": json_body(&rollback)},
                         "responses": answers("What became of the change.", &answer)}
            }),
        ),
    ]
}

/// What shows how the router does.
fn views(schemas: &mut Schemas, problem: &Value) -> Vec<(&'static str, Value)> {
    let generations = schemas.reference::<GenerationList>();
    let status = schemas.reference::<Status>();
    let leases = schemas.reference::<LeaseList>();
    let statistics = schemas.reference::<Statistics>();
    let balancer = schemas.reference::<BalancerStatistics>();
    let answers = |description: &str, schema: &Value| answers(problem, description, schema);
    vec![
        (
            "/v1/generations",
            json!({
                "get": {"operationId": "generations", "summary": "The generations that are remembered.",
                        "responses": answers("Oldest first.", &generations)}
            }),
        ),
        (
            "/v1/status",
            json!({
                "get": {"operationId": "status", "summary": "How each interface and service does, since when, and why not.",
                        "responses": answers("The status of this moment.", &status)}
            }),
        ),
        (
            "/v1/leases",
            json!({
                "get": {"operationId": "leases", "summary": "The DHCP leases and quarantined addresses that count now.",
                        "parameters": [{"name": "network", "in": "query", "schema": {"type": "string"},
                                        "description": "The DHCP network; all of them where absent."}],
                        "responses": answers("By address.", &leases)}
            }),
        ),
        (
            "/v1/balancers",
            json!({
                "get": {"operationId": "balancers", "summary": "What every balancer counts and knows, and the certificates.",
                        "responses": answers("By id.", &statistics)}
            }),
        ),
        (
            "/v1/balancers/{id}",
            json!({
                "get": {"operationId": "balancer", "summary": "What one balancer counts and knows.",
                        "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"},
                                        "description": "Its id in the configuration."}],
                        "responses": answers("The balancer.", &balancer)}
            }),
        ),
        (
            "/",
            json!({
                "get": {"operationId": "page", "summary": "A page for browsers that shows the balancers and refreshes itself.",
                        "responses": {"200": {"description": "One document; it loads nothing but this API.",
                                              "content": {"text/html": {"schema": {"type": "string"}}}}}}
            }),
        ),
        (
            "/metrics",
            json!({
                "get": {"operationId": "metrics", "summary": "The status as metrics.",
                        "responses": {"200": {"description": "OpenMetrics 1.0, as Prometheus reads it.",
                                              "content": {"application/openmetrics-text": {"schema": {"type": "string"}}}}}}
            }),
        ),
        (
            "/openapi.json",
            json!({
                "get": {"operationId": "openapi", "summary": "This description.",
                        "responses": answers("OpenAPI 3.1.", &json!({"type": "object"}))}
            }),
        ),
    ]
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
        self.0.take_definitions(true)
    }
}
