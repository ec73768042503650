//! The registry over HTTP.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::host::Host;

#[tokio::test]
async fn the_live_generation_is_shown_with_plugins_and_protocols() {
    let host = Host::start().await;
    let registry = host.get("/v1/registry").await.json();
    assert_eq!(registry["generation"], 1);
    assert!(registry["activated_at"].is_string());
    let plugin = &registry["plugins"][0];
    let expected = json!({
        "id": "fake", "version": "1.0.0", "digest": plugin["digest"], "state": "active",
        "services": ["platform-ocr", "platform-embedding"],
        "limits": { "memory_bytes": 16_777_216, "deadline_ms": 250, "fuel": 200_000_000, "output_bytes": 1_048_576 },
    });
    assert_eq!(*plugin, expected);
    assert_eq!(registry["protocols"][1]["protocol_id"], "ocr-embedding.v1");
    assert_eq!(
        registry["protocols"][1]["request_types"],
        json!(["OCR->EMBEDDING"])
    );
    let step = json!({
        "step_id": "embedding", "step_type": "EMBEDDING", "service": "platform-embedding", "plugin": "fake@1.0.0",
    });
    assert_eq!(registry["protocols"][1]["steps"][1], step);
    assert_eq!(registry["protocols"][2]["steps"][0]["plugin"], Value::Null);
    let last = &registry["last_reload"];
    assert_eq!((&last["ok"], &last["errors"]), (&json!(true), &json!([])));
    assert_eq!(registry["previous_generations"], json!([]));
}

#[tokio::test]
async fn a_reload_makes_the_next_generation_live_and_keeps_the_old_on_record() {
    let host = Host::start().await;
    let before = host.get("/v1/registry").await.json();
    host.shelf
        .edit(|manifest| manifest["protocols"][2]["request_types"] = json!(["PLAIN", "PURE"]));
    let answer = host.bare(Method::POST, "/v1/registry:reload").await;
    assert_eq!(answer.status, StatusCode::OK);
    let after = answer.json();
    assert_eq!(
        (&after["generation"], &after["last_reload"]["ok"]),
        (&json!(2), &json!(true))
    );
    let previous = json!([{
        "generation": 1, "activated_at": before["activated_at"], "digest": before["digest"],
    }]);
    assert_eq!(after["previous_generations"], previous);
    assert_eq!(host.get("/v1/registry").await.json(), after);
}

#[tokio::test]
async fn a_reload_that_is_refused_names_every_reason_and_changes_nothing() {
    let host = Host::start().await;
    host.shelf.edit(|manifest| {
        manifest["plugins"][0]["sha256"] = json!("0".repeat(64));
        manifest["protocols"][2]["steps"][0]["plugin"] = json!("nowhere@1.0.0");
    });
    let problem = host
        .bare(Method::POST, "/v1/registry:reload")
        .await
        .problem(422, "REGISTRY_REFUSED");
    let errors = problem["errors"].as_array().unwrap();
    let entries: Vec<&str> = errors
        .iter()
        .map(|error| error["entry"].as_str().unwrap())
        .collect();
    assert!(entries.contains(&"plugin fake@1.0.0"), "{entries:?}");
    assert!(
        entries.contains(&"protocol plain.v1 step plain"),
        "{entries:?}"
    );
    assert!(errors.iter().all(|error| error["reason"].is_string()));

    let registry = host.get("/v1/registry").await.json();
    assert_eq!(
        (&registry["generation"], &registry["last_reload"]["ok"]),
        (&json!(1), &json!(false))
    );
    assert_eq!(registry["last_reload"]["errors"], problem["errors"]);
}
