//! How an attempt can end, and how its RESULT gets through.

use std::time::Duration;

use lucius_platform::service::Failure;
use serde_json::json;

use crate::fake_host::Event;
use crate::rig::{Rig, copy_input};

#[tokio::test]
async fn ack_and_result_are_sent_until_the_host_decides() {
    let rig = Rig::new().await;
    for status in [500, 503, 429] {
        rig.host.answer("ack", status, json!({}));
        rig.host.answer("result", status, json!({}));
    }
    let running = rig.run(copy_input);
    let message = rig.host.publish(0, rig.directive("j1"));
    rig.host.until_seen(Event::Completed(message)).await;
    running.stop().await;
    assert_eq!(rig.runs(), 1);
    let results = rig.host.results();
    assert_eq!(results.len(), 4);
    assert!(results.iter().all(|result| *result == results[0]));
}

#[tokio::test]
async fn a_result_that_was_decided_otherwise_is_not_sent_again() {
    let rig = Rig::new().await;
    rig.host
        .answer("result", 409, json!({ "code": "CALLBACK_CONFLICT" }));
    let running = rig.run(copy_input);
    let message = rig.host.publish(0, rig.directive("j1"));
    rig.host.until_seen(Event::Completed(message)).await;
    running.stop().await;
    assert_eq!(rig.host.results().len(), 1);
}

#[tokio::test]
async fn a_result_that_the_host_cannot_read_is_replaced_by_a_failure() {
    let rig = Rig::new().await;
    rig.host.answer(
        "result",
        422,
        json!({ "code": "INVALID", "detail": "metadata too deep" }),
    );
    let running = rig.run(copy_input);
    let message = rig.host.publish(0, rig.directive("j1"));
    rig.host.until_seen(Event::Completed(message)).await;
    running.stop().await;
    let results = rig.host.results();
    assert_eq!(results[0]["status"], "SUCCEEDED");
    assert_eq!(results[1]["status"], "FAILED");
    assert_eq!(results[1]["error"]["code"], "RESULT_REFUSED");
    assert!(
        results[1]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("metadata too deep")
    );
}

#[tokio::test]
async fn a_panic_in_a_service_ends_the_attempt_and_not_the_worker() {
    let rig = Rig::new().await;
    let running = rig.run(|task, progress| {
        assert!(task.directive.job_id != "bad", "a bug");
        copy_input(task, progress)
    });
    let bad = rig.host.publish(0, rig.directive("bad"));
    rig.host.until_seen(Event::Completed(bad)).await;
    let good = rig.host.publish(0, rig.directive("good"));
    rig.host.until_seen(Event::Completed(good)).await;
    running.stop().await;
    let results = rig.host.results();
    assert_eq!(results[0]["failure_class"], "RETRYABLE");
    assert_eq!(results[0]["error"]["code"], "WORKER_PANIC");
    assert_eq!(results[1]["status"], "SUCCEEDED");
}

#[tokio::test]
async fn a_failure_keeps_its_class_code_and_details() {
    let rig = Rig::new().await;
    let running = rig.run(|_, _| {
        let failure = Failure::fatal("BAD_INPUT", "it is bad").with_details(json!({ "page": 3 }));
        Box::pin(async { Err(failure) })
    });
    let message = rig.host.publish(0, rig.directive("j1"));
    rig.host.until_seen(Event::Completed(message)).await;
    running.stop().await;
    let result = &rig.host.results()[0];
    assert_eq!(result["failure_class"], "NON_RETRYABLE");
    let error = json!({ "code": "BAD_INPUT", "message": "it is bad", "details": { "page": 3 } });
    assert_eq!(result["error"], error);
}

#[tokio::test]
async fn work_whose_output_may_not_be_written_is_not_begun() {
    let rig = Rig::new().await;
    let running = rig.run(copy_input);
    for (job, field, uri) in [
        ("j1", "output_ref", "file:///etc/lucius"),
        ("j2", "workspace_ref", "file:///etc/lucius"),
        ("j3", "output_ref", "s3://bucket/folder"),
    ] {
        let directive = rig.host.directive(&rig.root, job, json!({ field: uri }));
        let message = rig.host.publish(0, directive);
        rig.host.until_seen(Event::Completed(message)).await;
    }
    running.stop().await;
    assert_eq!(rig.runs(), 0);
    let codes: Vec<_> = rig
        .host
        .results()
        .iter()
        .map(|result| result["error"]["code"].clone())
        .collect();
    assert_eq!(
        codes,
        [
            "REF_NOT_ALLOWED",
            "REF_NOT_ALLOWED",
            "REF_SCHEME_UNSUPPORTED"
        ]
    );
}

#[tokio::test]
async fn work_without_end_is_ended_by_the_time_limit() {
    let rig = Rig::new().await;
    let mut config = rig.config();
    config.timing.attempt_limit = Duration::from_millis(1);
    let running = rig.run_as(config, |_, _| Box::pin(std::future::pending()));
    let message = rig.host.publish(0, rig.directive("j1"));
    rig.host.until_seen(Event::Completed(message)).await;
    running.stop().await;
    assert_eq!(rig.host.results()[0]["error"]["code"], "ATTEMPT_TIME_LIMIT");
}

#[tokio::test]
async fn a_worker_that_cannot_use_its_folders_says_so_at_once() {
    let rig = Rig::new().await;
    std::fs::write(rig.root.join("data"), "a file").unwrap();
    let refused = rig
        .run(copy_input)
        .worker
        .await
        .unwrap()
        .unwrap_err()
        .to_string();
    assert!(refused.contains("--data-dir"), "{refused}");
}
