//! Commands as a client writes them, and what workers claim to have made.

use serde_json::{Value, json};

/// A command that every rule lets in.
pub fn order(tenant: &str, request_type: &str) -> Value {
    json!({
        "tenant_id": tenant,
        "request_type": request_type,
        "input_ref": "https://documents.example/in/invoice.pdf",
        "output_ref": "https://documents.example/out/",
        "payload": {},
        "schema_version": "v1",
    })
}

/// The same with members added or replaced.
///
/// # Panics
/// `more` is no object.
pub fn with(mut order: Value, more: Value) -> Value {
    let Value::Object(members) = more else {
        panic!("members are given as an object")
    };
    for (name, value) in members {
        order[name] = value;
    }
    order
}

/// What a step's worker made, as the step after it expects it.
pub fn artifact(step_id: &str) -> Value {
    match step_id {
        "ocr" => json!({
            "uri": "https://documents.example/workspace/text.txt", "content_type": "text/plain",
            "metadata": { "characters": 42, "pages": 1 },
        }),
        "embedding" => json!({
            "uri": "https://documents.example/workspace/vectors.json", "content_type": "application/json",
            "metadata": { "chunks": 3 },
        }),
        other => json!(format!("https://documents.example/workspace/{other}.json")),
    }
}

/// The text of a document without text.
pub fn empty_text() -> Value {
    json!({
        "uri": "https://documents.example/workspace/text.txt", "content_type": "text/plain",
        "metadata": { "characters": 0, "pages": 1 },
    })
}
