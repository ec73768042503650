//! Any program as a service.

use std::sync::Arc;

use lucius_platform::program::{Service, Settings};
use serde_json::{Value, json};

use crate::rig::Rig;

async fn result_of(script: &str) -> (Rig, Value) {
    let rig = Rig::new().await;
    let args = vec!["-c".into(), script.into()];
    let settings = Settings::new("test-service", "sh".into(), args);
    let result = rig
        .result_of(Arc::new(Service::new(settings)), json!({}))
        .await;
    (rig, result)
}

#[tokio::test]
async fn a_program_gets_the_directive_and_its_artifacts_reach_the_host() {
    let script = r#"
        cat > "$LUCIUS_WORKSPACE_DIR/directive.json"
        echo "working" >&2
        echo '{"status": "SUCCEEDED", "artifact_refs": [{"uri": "s3://b/k", "size_bytes": 3}],
               "output_ref": "s3://b/out"}'"#;
    let (rig, result) = result_of(script).await;
    assert_eq!(result["status"], "SUCCEEDED", "{result}");
    assert_eq!(
        result["artifact_refs"],
        json!([{ "uri": "s3://b/k", "size_bytes": 3 }])
    );
    assert_eq!(result["output_ref"], "s3://b/out");

    let given = std::fs::read(rig.root.join("workspace/acme/job/OCR/1/directive.json")).unwrap();
    let given: Value = serde_json::from_slice(&given).unwrap();
    assert_eq!(
        (&given["jobId"], &given["tenant_id"]),
        (&json!("job"), &json!("acme"))
    );
    assert_eq!(given.get("callback_token"), None);
    assert_ne!(given["lease_id"], result["lease_id"]);
}

#[tokio::test]
async fn a_program_may_work_for_places_that_the_worker_cannot_reach() {
    let rig = Rig::new().await;
    let script = r#"
        test -d "$LUCIUS_WORKSPACE_DIR" && touch "$LUCIUS_WORKSPACE_DIR/made"
        echo '{"status": "SUCCEEDED", "artifact_refs": ["s3://b/k"]}'"#;
    let settings = Settings::new(
        "test-service",
        "sh".into(),
        vec!["-c".into(), script.into()],
    );
    let elsewhere = json!({ "workspace_ref": "file:///not/here/", "output_ref": "s3://b/out" });
    let result = rig
        .result_of_changed(Arc::new(Service::new(settings)), elsewhere)
        .await;
    assert_eq!(result["status"], "SUCCEEDED", "{result}");
    assert!(rig.root.join("workspace/acme/job/OCR/1/made").is_file());
}

#[tokio::test]
async fn a_program_that_fails_is_tried_again_and_its_last_words_are_kept() {
    let (_rig, result) = result_of("echo first >&2; echo 'disk on fire' >&2; exit 7").await;
    assert_eq!(result["failure_class"], "RETRYABLE");
    assert_eq!(result["error"]["code"], "PROGRAM_FAILED");
    assert!(
        result["error"]["message"]
            .as_str()
            .unwrap()
            .contains("disk on fire"),
        "{result}"
    );
}

#[tokio::test]
async fn a_program_decides_the_class_of_its_failure() {
    let script = r#"echo '{"status": "FAILED", "failure_class": "NON_RETRYABLE",
                          "error": {"code": "NO_SUCH_ANIMAL", "message": "not a cat"}}'"#;
    let (_rig, result) = result_of(script).await;
    assert_eq!(result["failure_class"], "NON_RETRYABLE");
    assert_eq!(
        result["error"],
        json!({ "code": "NO_SUCH_ANIMAL", "message": "not a cat" })
    );
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let rig = Rig::new().await;
    let settings = Settings::new("test-service", "/no/such/program".into(), vec![]);
    let result = rig
        .result_of(Arc::new(Service::new(settings)), json!({}))
        .await;
    assert_eq!(result["error"]["code"], "PROGRAM_MISSING");
    assert!(
        result["error"]["message"]
            .as_str()
            .unwrap()
            .contains("/no/such/program")
    );
}
