//! The API as an OpenAPI 3.1 document, made from the handlers and the views.
//!
//! What a client submits and a service calls back with is not described a second time: the contracts that the host
//! checks against are put in as they are.

use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use lucius_domain::contract::{ACK, COMMAND_ENVELOPE, HEARTBEAT, RESULT, Schema};
use lucius_domain::job::Status;
use serde_json::{Value, json};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use super::access::Needs;
use super::routes;
use super::{
    audit, callbacks, commands, console, dead_letters, decisions, events, gates, health, hosts,
    jobs, keys, metrics, redrives, registry, views,
};

mod problems;

/// Contracts under the names that the handlers refer to.
const CONTRACTS: [(&str, Schema); 4] = [
    ("CommandEnvelope", COMMAND_ENVELOPE),
    ("Ack", ACK),
    ("Heartbeat", HEARTBEAT),
    ("Result", RESULT),
];

const CREDENTIAL: &str = "credential";
const ATTEMPT: &str = "callback_token";
/// What goes after `Authorization: Bearer`.
const BEARERS: [(&str, &str); 2] = [
    (
        CREDENTIAL,
        "An API key or a JWT that has the call's `x-scope`; an open host asks for none",
    ),
    (
        ATTEMPT,
        "The directive's `callback_token`, good for that very attempt",
    ),
];

static TEXT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", document()));

#[derive(OpenApi)]
#[openapi(
    info(
        title = "LUCIUS",
        description = "Runs document jobs that must not get lost. Every error is a problem document (RFC 9457) with a stable `code`, and each call names all that it answers with; a path or a method that is not here answers 404 `NOT_FOUND` or 405 `METHOD_NOT_ALLOWED`, and what is no HTTP 400 or 431 without a body. The calls of the embedded bus, below /bus, are those of Azure Service Bus; see docs/bus.md.",
    ),
    servers((url = "/")),
    tags(
        (name = "jobs", description = "Submitting commands, and what becomes of them"),
        (name = "callbacks", description = "What services say back"),
        (name = "registry", description = "Plugins and protocols"),
        (name = "access", description = "Who may do what, and who did what"),
        (name = "operation", description = "Health and metrics"),
    ),
    paths(
        commands::submit, jobs::list, jobs::show, jobs::cancel, jobs::redrive, jobs::steps, events::events,
        callbacks::ack, callbacks::heartbeat, callbacks::result, registry::show, registry::plan, registry::reload,
        registry::rollback, registry::approve, registry::release, decisions::list, decisions::migrate,
        gates::show, gates::pauses, gates::pause, gates::resume,
        audit::list, keys::list, keys::create, keys::revoke,
        dead_letters::list, redrives::begin, redrives::list, redrives::show, redrives::cancel,
        hosts::list, console::page, console::part, health::healthz, health::readyz, metrics::show, show,
    ),
    components(schemas(views::ProblemView, views::EventListView)),
)]
struct Described;

/// The document.
pub fn document() -> Value {
    let mut api = Described::openapi();
    let components = api.components.get_or_insert_default();
    for (name, description) in BEARERS {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(description))
            .build();
        components.add_security_scheme(name, SecurityScheme::Http(bearer));
    }
    // A document of texts and lists always serializes.
    let mut document = serde_json::to_value(&api).unwrap_or(Value::Null);
    add_contracts(&mut document);
    add_states(&mut document);
    let table = routes::table();
    for route in &table {
        let method = route.method.as_str().to_ascii_lowercase();
        let operation = &mut document["paths"][route.path][method];
        add_access(operation, route.needs);
        problems::add(operation, route, &table);
    }
    document
}

/// Says what a route takes.
fn add_access(operation: &mut Value, needs: Needs) {
    let bearer = match needs {
        Needs::Nothing | Needs::Bus => {
            operation["security"] = json!([]);
            return;
        }
        Needs::AttemptToken => ATTEMPT,
        Needs::Scope(scope) => {
            operation["x-scope"] = json!(scope);
            CREDENTIAL
        }
    };
    operation["security"] = json!([{ bearer: [] }]);
}

/// Puts the contracts in; what they refer to within themselves moves along.
fn add_contracts(document: &mut Value) {
    for (name, schema) in CONTRACTS {
        // The schemas ship with the program and are compiled when it starts; one that is not JSON does not start.
        let mut contract: Value = serde_json::from_str(schema.text).unwrap_or(Value::Null);
        if let Value::Object(members) = &mut contract {
            members.remove("$schema");
            members.remove("$id");
        }
        move_references(&mut contract, &format!("#/components/schemas/{name}/"));
        document["components"]["schemas"][name] = contract;
    }
}

fn move_references(value: &mut Value, base: &str) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "$ref" => {
                        if let Some(place) = text.strip_prefix("#/") {
                            *text = format!("{base}{place}");
                        }
                    }
                    Value::Null
                    | Value::Bool(_)
                    | Value::Number(_)
                    | Value::String(_)
                    | Value::Array(_)
                    | Value::Object(_) => move_references(member, base),
                }
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| move_references(item, base)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Names the states a job can have, from where they are defined.
fn add_states(document: &mut Value) {
    for schema in ["Job", "Accepted"] {
        let state = &mut document["components"]["schemas"][schema]["properties"]["state"];
        state["enum"] = json!(Status::NAMES);
    }
}

/// This document
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "openapi", tag = "operation",
    responses((status = 200, description = "OpenAPI 3.1", body = Value, content_type = "application/json"))
)]
pub(super) async fn show() -> Response {
    ([(CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}
