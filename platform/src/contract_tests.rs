use serde_json::json;

use super::*;

fn directive() -> Value {
    json!({
        "jobId": "j1", "tenant_id": "acme", "stepId": "ocr", "protocol_id": "atomic-ocr.v1",
        "step_type": "OCR", "attempt_no": 1,
        "lease_id": "7b0f3f0e-6d5d-4a39-9f0f-8f6a3a6f8f11",
        "input_ref": "file:///in/a.pdf", "workspace_ref": "file:///ws",
        "output_ref": {"uri": "file:///out", "later_field": 1},
        "payload": {}, "callback_token": "t0ken",
        "callback_urls": {"ack": "http://h/a", "result": "http://h/r", "heartbeat": "http://h/h"},
        "inputs": [{"step_id": "x", "step_type": "X", "skipped": true, "artifact_refs": []}],
        "not_known_yet": true
    })
}

#[test]
fn a_directive_with_unknown_fields_is_read() {
    let read = Directive::parse(directive().to_string().as_bytes()).unwrap();
    assert_eq!(read.output_ref, Ref::bare("file:///out"));
    assert!(read.inputs[0].skipped);
}

#[test]
fn a_directive_never_prints_its_secrets() {
    let read = Directive::parse(directive().to_string().as_bytes()).unwrap();
    let printed = format!("{read:?} {:?}", read.attempt());
    assert!(
        !printed.contains("t0ken") && !printed.contains("7b0f3f0e"),
        "{printed}"
    );
}

#[test]
fn each_broken_directive_is_refused() {
    let broken = [
        ("/attempt_no", json!(0)),
        ("/lease_id", json!("no uuid")),
        ("/payload", json!([])),
        ("/jobId", json!("")),
        ("/input_ref", json!("")),
        ("/callback_urls", json!({})),
    ];
    for (pointer, value) in broken {
        let mut body = directive();
        *body.pointer_mut(pointer).unwrap() = value;
        assert!(
            Directive::parse(body.to_string().as_bytes()).is_err(),
            "{pointer}"
        );
    }
    assert!(Directive::parse(b"\xff\x00").is_err());
}

#[test]
fn a_result_is_written_flat_and_reads_back() {
    let read = Directive::parse(directive().to_string().as_bytes()).unwrap();
    let result = AttemptResult {
        envelope: Envelope::of(&read, "2026-01-01T00:00:00Z".into()),
        ending: Ending::Failed {
            failure_class: FailureClass::NonRetryable,
            error: ErrorBody {
                code: "X".into(),
                message: "m".into(),
                details: None,
            },
        },
        workspace_ref: None,
    };
    let written = serde_json::to_value(&result).unwrap();
    assert_eq!(
        written,
        json!({
            "jobId": "j1", "stepId": "ocr", "attempt_no": 1,
            "lease_id": "7b0f3f0e-6d5d-4a39-9f0f-8f6a3a6f8f11",
            "timestamp": "2026-01-01T00:00:00Z", "tenant_id": "acme",
            "status": "FAILED", "failure_class": "NON_RETRYABLE",
            "error": {"code": "X", "message": "m"}
        })
    );
    let back: AttemptResult = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(serde_json::to_value(back).unwrap(), written);
}

#[test]
fn a_media_type_is_compared_without_its_parameters() {
    let mut text = Ref::bare("file:///a");
    text.content_type = Some("Text/Plain; charset=utf-8".into());
    assert!(text.is_type("text/plain"));
    assert!(!text.is_type("application/json"));
}
