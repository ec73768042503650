//! Every status and code that a call may answer with: those that its handler names, and those that stand around it.
//!
//! A handler's description names its own codes. What is the same for every call of a kind (who may call, how a body
//! comes in, whether the ledger answers) is added here from the table of routes, so that no handler can forget it.

use std::collections::BTreeMap;

use axum::http::Method;
use serde_json::{Value, json};

use crate::http::access::Needs;
use crate::http::budget;
use crate::http::routes::Route;

/// The shortest code there is, `BUSY`; shorter words in capitals are abbreviations.
const SHORTEST_CODE: usize = 4;

/// Around every handler: the names of an open host, and what went wrong here.
const ALWAYS: &[(u16, &str)] = &[
    (403, "ORIGIN_NOT_ALLOWED"),
    (421, "HOST_NOT_ALLOWED"),
    (500, "INTERNAL"),
];
/// When all turns or connections of clients are in use.
const OF_CLIENTS: &[(u16, &str)] = &[(503, "BUSY")];
/// Before a handler whose caller must be known.
const OF_CREDENTIALS: &[(u16, &str)] = &[
    (401, "CREDENTIAL_MISSING"),
    (401, "CREDENTIAL_REFUSED"),
    (403, "SCOPE_MISSING"),
    (503, "LEDGER_UNAVAILABLE"),
];
/// Of all that is about jobs and what is on record.
const OF_THE_API: &[(u16, &str)] = &[
    (400, "INVALID_QUERY"),
    (500, "LEDGER_CORRUPT"),
    (503, "LEDGER_UNAVAILABLE"),
];
/// Of a call with a body.
const OF_A_BODY: &[(u16, &str)] = &[
    (400, "BODY_BROKEN_OFF"),
    (400, "INVALID_JSON"),
    (408, "REQUEST_TIMEOUT"),
    (413, "BODY_TOO_LARGE"),
    (413, "TOO_LARGE"),
    (415, "UNSUPPORTED_MEDIA_TYPE"),
];
/// Of a verb: the thing that it follows is no name of a thing.
const OF_A_VERB: &[(u16, &str)] = &[(404, "NOT_FOUND")];
/// Of a thing that has verbs: it was asked for by the name of one.
const OF_A_THING: &[(u16, &str)] = &[(405, "METHOD_NOT_ALLOWED")];

/// Completes the responses of an operation.
pub(super) fn add(operation: &mut Value, route: &Route, table: &[Route]) {
    let has_body = operation.get("requestBody").is_some();
    let mut common: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for (status, code) in around(route, table, has_body).into_iter().flatten() {
        common.entry(*status).or_default().push(code);
    }
    let mut responses = operation["responses"].take();
    for (status, codes) in common {
        let response = &mut responses[status.to_string()];
        let own = response["description"].as_str().unwrap_or_default();
        let new = codes
            .into_iter()
            .filter(|code| !names(own).any(|it| it == *code));
        let parts: Vec<&str> = Some(own)
            .filter(|own| !own.is_empty())
            .into_iter()
            .chain(new)
            .collect();
        response["description"] = parts.join(", ").into();
    }
    if let Some(responses) = responses.as_object_mut() {
        let errors = responses
            .iter_mut()
            .filter(|(status, _)| !status.starts_with('2'));
        errors.for_each(|(status, response)| complete(status, response));
    }
    operation["responses"] = responses;
}

fn around(route: &Route, table: &[Route], has_body: bool) -> [&'static [(u16, &'static str)]; 7] {
    let only = |applies: bool, problems| if applies { problems } else { [].as_slice() };
    let has_verbs = || {
        let verbs = format!("{}:", route.path);
        table.iter().any(|other| other.path.starts_with(&verbs))
    };
    [
        ALWAYS,
        only(!budget::is_for_workers(route.path), OF_CLIENTS),
        only(matches!(route.needs, Needs::Scope(_)), OF_CREDENTIALS),
        only(route.path.starts_with("/v1/"), OF_THE_API),
        only(has_body, OF_A_BODY),
        only(route.path.contains("}:"), OF_A_VERB),
        only(route.method == Method::GET && has_verbs(), OF_A_THING),
    ]
}

/// Gives an error its body, with the codes that it can have, and the headers that say what to do.
fn complete(status: &str, response: &mut Value) {
    let description = response["description"].as_str().unwrap_or_default();
    let codes: Vec<&str> = names(description).collect();
    let body = json!({ "schema": { "allOf": [
        { "$ref": "#/components/schemas/Problem" },
        { "properties": { "code": { "enum": codes } } },
    ] } });
    let header = match status {
        "401" => Some(("WWW-Authenticate", "How to bring a credential", "string")),
        "405" => Some(("Allow", "The methods that do something here", "string")),
        "429" | "503" => Some(("Retry-After", "When to try again, in seconds", "integer")),
        _ => None,
    };
    response["content"] = json!({ "application/problem+json": body });
    if let Some((name, description, kind)) = header {
        response["headers"] = json!({
            name: { "description": description, "required": true, "schema": { "type": kind } }
        });
    }
}

/// The codes in a description.
fn names(description: &str) -> impl Iterator<Item = &str> {
    let words = description.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
    words.filter(|word| word.len() >= SHORTEST_CODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_among_words() {
        let text = "REGISTRY_REFUSED, with `errors`: [{entry, reason}]; BUSY (as an ID says)";
        assert_eq!(
            names(text).collect::<Vec<_>>(),
            ["REGISTRY_REFUSED", "BUSY"]
        );
    }
}
