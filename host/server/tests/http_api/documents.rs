//! The OpenAPI document: it is the one that is checked in, and it says what the router does.

use std::collections::BTreeSet;
use std::path::Path;

use axum::http::Method;
use serde_json::Value;

use crate::host::Host;

const CHECKED_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

#[test]
fn the_document_that_is_checked_in_is_the_one_that_is_served() {
    let made = lucius_server::http::document();
    if std::env::var_os("LUCIUS_BLESS").is_some() {
        std::fs::write(CHECKED_IN, format!("{made:#}\n")).unwrap();
    }
    let kept = std::fs::read_to_string(Path::new(CHECKED_IN)).unwrap_or_default();
    let kept: Value = serde_json::from_str(&kept).unwrap_or(Value::Null);
    assert!(
        kept == made,
        "docs/openapi.json is not what the code says: run \
         LUCIUS_BLESS=1 cargo test --release -p lucius-server --test http_api the_document"
    );
}

#[tokio::test]
async fn every_route_is_in_the_document_and_nothing_else() {
    let host = Host::start().await;
    let document = host.get("/openapi.json").await.json();
    let mut described = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            described.insert((method.to_uppercase(), path.clone()));
        }
    }
    let table = lucius_server::http::routes::table();
    let served = table
        .iter()
        .map(|route| (route.method.to_string(), route.path.to_owned()));
    assert_eq!(described, served.collect());
}

/// The router serves what the table says, and of other methods says which ones there are.
#[tokio::test]
async fn every_method_of_the_table_is_served_and_no_other() {
    let host = Host::start().await;
    let table = lucius_server::http::routes::table();
    for route in &table {
        let answer = host.bare(Method::TRACE, route.path).await;
        answer.problem(405, "METHOD_NOT_ALLOWED");
        let allowed: BTreeSet<&str> = answer.header("allow").split(',').collect();
        let same = table
            .iter()
            .filter(|other| thing(other.path) == thing(route.path));
        let mut methods: BTreeSet<&str> = same.map(|other| other.method.as_str()).collect();
        if methods.contains("GET") {
            methods.insert("HEAD");
        }
        assert_eq!(allowed, methods, "{}", route.path);
    }
}

/// The path without the verb, which the router serves by the same method.
fn thing(path: &str) -> &str {
    path.rfind("}:").map_or(path, |end| &path[..=end])
}

#[tokio::test]
async fn the_document_is_openapi_3_1_and_every_reference_in_it_leads_somewhere() {
    let host = Host::start().await;
    let answer = host.get("/openapi.json").await;
    assert_eq!(answer.header("content-type"), "application/json");
    let document = answer.json();
    assert!(
        document["openapi"].as_str().unwrap().starts_with("3.1."),
        "{}",
        document["openapi"]
    );
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let states = &document["components"]["schemas"]["Job"]["properties"]["state"]["enum"];
    assert_eq!(states.as_array().unwrap().len(), 7);
}

#[tokio::test]
async fn every_operation_has_a_name_a_text_and_problems_for_errors() {
    let host = Host::start().await;
    let document = host.get("/openapi.json").await.json();
    let mut names = BTreeSet::new();
    for operation in document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|path| path.as_object().unwrap().values())
    {
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name.to_owned()), "{name}");
        assert!(operation["summary"].is_string(), "{name}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            if !status.starts_with('2') {
                assert!(
                    response["content"]["application/problem+json"].is_object(),
                    "{name} {status}"
                );
            }
        }
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if let (Value::String(text), "$ref") = (member, name.as_str()) {
                    references.push(text.clone());
                }
                collect(member, references);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
