//! The API described (OpenAPI 3.1): paths written here, schemas taken from the types that are read and written.

use axum::Json;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::{GenerationList, LeaseList, Problem, RollbackRequest};
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
    let config = schemas.reference::<wire::Document>();
    let answer = schemas.reference::<Answer>();
    let generations = schemas.reference::<GenerationList>();
    let rollback = schemas.reference::<RollbackRequest>();
    let status = schemas.reference::<Status>();
    let leases = schemas.reference::<LeaseList>();
    let problem = schemas.reference::<Problem>();
    let json_body = |schema: &Value| json!({"application/json": {"schema": schema}});
    let answers = |description: &str, schema: &Value| {
        json!({
            "200": {"description": description, "content": json_body(schema)},
            "default": {"description": "A problem document (RFC 9457).",
                        "content": {"application/problem+json": {"schema": problem}}}
        })
    };
    let if_match = json!({"name": "If-Match", "in": "header", "schema": {"type": "string"},
        "description": "The generation that the change is for, in quotes; another one refuses it with 412."});
    let whole = |id: &str, summary: &str| {
        json!({"operationId": id, "summary": summary, "parameters": [if_match],
               "requestBody": {"required": true, "content": json_body(&config)},
               "responses": answers("What became of the change; the ETag is the generation.", &answer)})
    };
    let paths = json!({
        "/v1/config": {
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
        },
        "/v1/plan": {
            "post": {"operationId": "plan", "summary": "What a change would do; nothing is done.",
                     "parameters": [if_match],
                     "requestBody": {"required": true,
                                     "content": {"application/json": {"schema": config},
                                                 "application/merge-patch+json": {"schema": {"type": "object"}}}},
                     "responses": answers("The difference and the steps.", &answer)}
        },
        "/v1/rollback": {
            "post": {"operationId": "rollback", "summary": "Brings an older generation back, as a new one.",
                     "parameters": [if_match],
                     "requestBody": {"required": true, "content": json_body(&rollback)},
                     "responses": answers("What became of the change.", &answer)}
        },
        "/v1/generations": {
            "get": {"operationId": "generations", "summary": "The generations that are remembered.",
                    "responses": answers("Oldest first.", &generations)}
        },
        "/v1/status": {
            "get": {"operationId": "status", "summary": "How each interface and service does, since when, and why not.",
                    "responses": answers("The status of this moment.", &status)}
        },
        "/v1/leases": {
            "get": {"operationId": "leases", "summary": "The DHCP leases and quarantined addresses that count now.",
                    "parameters": [{"name": "network", "in": "query", "schema": {"type": "string"},
                                    "description": "The DHCP network; all of them where absent."}],
                    "responses": answers("By address.", &leases)}
        },
        "/metrics": {
            "get": {"operationId": "metrics", "summary": "The status as metrics.",
                    "responses": {"200": {"description": "OpenMetrics 1.0, as Prometheus reads it.",
                                          "content": {"application/openmetrics-text": {"schema": {"type": "string"}}}}}}
        },
        "/openapi.json": {
            "get": {"operationId": "openapi", "summary": "This description.",
                    "responses": answers("OpenAPI 3.1.", &json!({"type": "object"}))}
        }
    });
    json!({
        "openapi": "3.1.0",
        "info": {"title": "vrouter", "version": env!("CARGO_PKG_VERSION"),
                 "license": {"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
                 "description": "One JSON document is the whole desired state of a virtual router."},
        "paths": paths,
        "components": {"schemas": schemas.finish()}
    })
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
