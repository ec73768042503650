//! Whatever these tests are answered, the OpenAPI document names it: the status, and the code of a problem.

use std::sync::LazyLock;

use axum::http::{HeaderMap, Method, StatusCode};
use lucius_server::http::routes::{self, Route};
use serde_json::Value;

use crate::host::Answer;

static DOCUMENT: LazyLock<Value> = LazyLock::new(lucius_server::http::document);

/// Checks an answer to a call that is in the table of routes.
#[track_caller]
pub(crate) fn check(method: &Method, path: &str, answer: &Answer) {
    let table = routes::table();
    let Some(route) = table
        .iter()
        .find(|route| route.method == *method && is_at(route, path))
    else {
        return;
    };
    let operation = &DOCUMENT["paths"][route.path][method.as_str().to_lowercase()];
    let response = &operation["responses"][answer.status.as_str()];
    let call = format!("{method} {}", route.path);
    assert!(
        response.is_object(),
        "{call} is not said to answer {answer:?}"
    );
    if answer.status.is_success() {
        return;
    }
    let schema = &response["content"]["application/problem+json"]["schema"];
    let codes = schema["allOf"][1]["properties"]["code"]["enum"]
        .as_array()
        .unwrap();
    assert!(
        codes.contains(&answer.json()["code"]),
        "{call} is not said to answer {answer:?}"
    );
}

fn is_at(route: &Route, path: &str) -> bool {
    let (known, asked): (Vec<&str>, Vec<&str>) =
        (route.path.split('/').collect(), path.split('/').collect());
    known.len() == asked.len()
        && known
            .iter()
            .zip(asked)
            .all(|(known, asked)| is_part(known, asked))
}

fn is_part(known: &str, asked: &str) -> bool {
    match known
        .strip_prefix('{')
        .and_then(|parameter| parameter.split_once('}'))
    {
        Some((_, "")) => !asked.is_empty() && !asked.contains(':'),
        Some((_, verb)) => asked
            .strip_suffix(verb)
            .is_some_and(|thing| !thing.is_empty()),
        None => known == asked,
    }
}

fn answer(status: StatusCode, code: &str) -> Answer {
    Answer {
        status,
        headers: HeaderMap::new(),
        text: format!("{{\"code\":\"{code}\"}}"),
    }
}

#[test]
fn verbs_and_things_are_told_apart() {
    let known = answer(StatusCode::CONFLICT, "JOB_TERMINAL");
    check(&Method::POST, "/v1/jobs/1:cancel", &known);
    // The router's own answer to a method that is not there.
    check(
        &Method::POST,
        "/v1/jobs/1",
        &answer(StatusCode::METHOD_NOT_ALLOWED, ""),
    );
}

#[test]
#[should_panic(expected = "POST /v1/jobs/{jobId}:cancel is not said to answer")]
fn a_status_that_is_not_in_the_document_is_found() {
    let unknown = answer(StatusCode::GONE, "JOB_TERMINAL");
    check(&Method::POST, "/v1/jobs/1:cancel", &unknown);
}

#[test]
#[should_panic(expected = "POST /v1/jobs/{jobId}:cancel is not said to answer")]
fn a_code_that_is_not_in_the_document_is_found() {
    let unknown = answer(StatusCode::CONFLICT, "JOB_NOT_FAILED");
    check(&Method::POST, "/v1/jobs/1:cancel", &unknown);
}
