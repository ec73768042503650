//! Submitting: every answer there is.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::StatusCode;
use futures_util::FutureExt as _;
use lucius_engine::settings::Limits;
use lucius_memory::faulty::Fault;
use lucius_server::http::Settings;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::host::{Host, command, command_with, json_request, limits};
use crate::scripted::INSIDE;

async fn refused(host: &Host, command: &Value, status: u16, code: &str) -> Value {
    host.post("/v1/commands", command)
        .await
        .problem(status, code)
}

#[tokio::test]
async fn an_accepted_command_names_its_job_and_where_it_is() {
    let host = Host::start().await;
    let answer = host.post("/v1/commands", &command()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let body = answer.json();
    let id = body["jobId"].as_str().unwrap();
    assert_eq!(
        body,
        json!({ "jobId": id, "state": "QUEUED", "duplicate": false })
    );
    assert_eq!(answer.header("location"), format!("/v1/jobs/{id}"));
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(
        host.get(answer.header("location")).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn the_same_command_again_gives_the_same_job() {
    let host = Host::start().await;
    let first = host.submit(&command()).await;
    let again = host.post("/v1/commands", &command()).await;
    assert_eq!(again.status, StatusCode::ACCEPTED);
    assert_eq!(
        again.json(),
        json!({ "jobId": first, "state": "QUEUED", "duplicate": true })
    );
    assert_eq!(again.header("location"), format!("/v1/jobs/{first}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_of_the_same_at_once_make_one_job() {
    let host = Arc::new(Host::start().await);
    let command = command_with("idempotency_key", "k");
    let posts = (0..100).map(|_| {
        let (host, command) = (Arc::clone(&host), command.clone());
        tokio::spawn(async move { host.post("/v1/commands", &command).await })
    });
    let answers = futures_util::future::join_all(posts.collect::<Vec<_>>()).await;
    let bodies: Vec<Value> = answers
        .into_iter()
        .map(|answer| answer.unwrap().json())
        .collect();
    let ids: BTreeSet<&str> = bodies
        .iter()
        .map(|body| body["jobId"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(
        bodies
            .iter()
            .filter(|body| body["duplicate"] == false)
            .count(),
        1
    );
    assert_eq!(
        host.get("/v1/jobs").await.json()["jobs"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_key_that_was_used_for_another_command_is_refused() {
    let host = Host::start().await;
    host.submit(&command_with("idempotency_key", "k")).await;
    let mut other = command_with("idempotency_key", "k");
    other["doc_id"] = json!("another");
    refused(&host, &other, 409, "IDEMPOTENCY_KEY_REUSED").await;
}

#[tokio::test]
async fn everything_that_is_wrong_with_an_envelope_is_told_at_once() {
    let host = Host::start().await;
    let mut wrong = command_with("priority", 10);
    wrong["schema_version"] = json!("v2");
    wrong.as_object_mut().unwrap().remove("input_ref");
    let problem = refused(&host, &wrong, 422, "INVALID_ENVELOPE").await;
    let violations = problem["violations"].as_array().unwrap();
    let pointers: BTreeSet<&str> = violations
        .iter()
        .map(|violation| violation["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(
        pointers,
        BTreeSet::from(["/input_ref", "/priority", "/schema_version"])
    );
    assert!(
        violations
            .iter()
            .all(|violation| violation["source"] == "schema")
    );
    for document in [json!([]), json!("text"), json!(null), json!(7)] {
        refused(&host, &document, 422, "INVALID_ENVELOPE").await;
    }
}

#[tokio::test]
async fn payloads_are_refused_by_schema_and_by_plugin_with_the_place_in_the_command() {
    let host = Host::start().await;
    let steps = json!({ "ocr": { "do": "violate" }, "embedding": { "model": 7 }, "sis": {} });
    let wrong = command_with("payload", json!({ "steps": steps }));
    let problem = refused(&host, &wrong, 422, "INVALID_PAYLOAD").await;
    let mut found: Vec<(&str, &str)> = problem["violations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|violation| {
            (
                violation["pointer"].as_str().unwrap(),
                violation["source"].as_str().unwrap(),
            )
        })
        .collect();
    found.sort_unstable();
    let expected = [
        ("/payload/steps/embedding/model", "schema"),
        ("/payload/steps/ocr/do", "plugin:fake@1.0.0"),
        ("/payload/steps/ocr/page_range", "plugin:fake@1.0.0"),
        ("/payload/steps/sis", "schema"),
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn each_reason_to_refuse_a_command_has_its_status_and_code() {
    let host = Host::start().await;
    let reasons = [
        (
            command_with("request_type", "XYZ"),
            400,
            "UNSUPPORTED_REQUEST_TYPE",
        ),
        (
            command_with("input_ref", "ftp://example.com/a"),
            422,
            "REF_NOT_ALLOWED",
        ),
        (
            command_with("input_ref", "https://me:pass@example.com/a"),
            422,
            "REF_NOT_ALLOWED",
        ),
        (
            command_with("payload", json!({ "do": "refuse" })),
            422,
            "ROUTE_REJECTED",
        ),
    ];
    for (command, status, code) in reasons {
        refused(&host, &command, status, code).await;
    }
    let mut burst = command_with("mode", "BURST");
    burst.as_object_mut().unwrap().remove("doc_id");
    refused(&host, &burst, 400, "DOC_ID_REQUIRED").await;
    assert_eq!(
        host.get("/v1/jobs").await.json()["jobs"],
        json!([]),
        "nothing was created"
    );
}

#[tokio::test]
async fn each_limit_has_its_code_and_says_when_to_try_again() {
    let unlimited = limits();
    let limits = [
        (
            Limits {
                tenant_inflight: 1,
                ..unlimited
            },
            "DEFAULT",
            "TENANT_LIMIT",
        ),
        (
            Limits {
                global_inflight: 1,
                ..unlimited
            },
            "DEFAULT",
            "GLOBAL_LIMIT",
        ),
        (
            Limits {
                burst_inflight: 1,
                ..unlimited
            },
            "BURST",
            "GLOBAL_LIMIT",
        ),
        (
            Limits {
                outbox_backlog: 1,
                ..unlimited
            },
            "DEFAULT",
            "LANE_LIMIT",
        ),
    ];
    for (limits, mode, code) in limits {
        let host = Host::with(limits, Settings::default()).await;
        host.submit(&command_with("mode", mode)).await;
        let mut second = command_with("mode", mode);
        second["idempotency_key"] = json!("second");
        let answer = host.post("/v1/commands", &second).await;
        answer.problem(429, code);
        assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
        // What was accepted before is answered as ever.
        let again = host.post("/v1/commands", &command_with("mode", mode)).await;
        assert_eq!(again.json()["duplicate"], true);
    }
}

#[tokio::test]
async fn what_breaks_inside_is_unavailable_and_says_nothing_of_the_inside() {
    let host = Host::start().await;
    let trap = command_with("payload", json!({ "do": "trap" }));
    let problem = refused(&host, &trap, 503, "PLUGIN_FAULT").await;
    assert!(!problem.to_string().contains(INSIDE));
    let panic = command_with("payload", json!({ "do": "panic" }));
    let problem = refused(&host, &panic, 500, "INTERNAL").await;
    assert!(!problem.to_string().contains(INSIDE));

    host.ledger.set_outage(Some(Fault::Before));
    refused(&host, &command(), 503, "LEDGER_UNAVAILABLE").await;
    host.ledger.set_outage(None);
    assert_eq!(
        host.post("/v1/commands", &command()).await.json()["duplicate"],
        false
    );
}

#[tokio::test]
async fn a_lost_answer_of_the_ledger_is_made_good_by_sending_again() {
    let host = Host::start().await;
    host.ledger.set_outage(Some(Fault::After));
    refused(&host, &command(), 503, "LEDGER_UNAVAILABLE").await;
    host.ledger.set_outage(None);
    assert_eq!(
        host.post("/v1/commands", &command()).await.json()["duplicate"],
        true
    );
}

#[tokio::test]
async fn a_host_that_stops_takes_no_commands_and_still_shows_jobs() {
    let host = Host::start().await;
    let id = host.submit(&command()).await;
    host.engine.drain();
    refused(&host, &command_with("doc_id", "other"), 503, "DRAINING").await;
    assert_eq!(
        host.get(&format!("/v1/jobs/{id}")).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_stop_what_it_began() {
    let host = Host::start().await;
    let mut changes = host.engine.watch();
    let pausing = command_with("payload", json!({ "do": "pause" }));
    let request = json_request("/v1/commands", pausing.to_string());
    let answered = host.router.clone().oneshot(request).now_or_never();
    assert!(answered.is_none(), "the client is gone before the answer");
    let job = changes.recv().await.unwrap();
    assert_eq!(
        host.get(&format!("/v1/jobs/{job}")).await.status,
        StatusCode::OK
    );
    assert_eq!(
        host.engine.gates().occupancy().jobs,
        1,
        "its place is taken"
    );
}
