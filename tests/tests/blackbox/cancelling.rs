//! Cancelling a job in every state.

use lucius_tests::host::Setup;
use lucius_tests::orders::{artifact, order};
use lucius_tests::shared::host_for;
use serde_json::Value;

#[tokio::test]
async fn a_job_that_waits_for_a_retry_is_cancelled_at_once() {
    let host = Setup::quick()
        .with("TIMING_RETRY_BACKOFF_MS", "[3600000]")
        .start()
        .await;
    let client = host.client();
    let job = client.submit(&order("waiting", "OCR")).await;
    host.worker("platform-ocr")
        .fail("waiting", "RETRYABLE", "LATER")
        .await;
    client.step_in(&job, "ocr", "FAILED_RETRY").await;
    let cancelled = client.verb(&job, "cancel").await.expect(202).body;
    assert_eq!(cancelled["state"], "CANCELLED");
    assert!(cancelled["completed_at"].is_string(), "{cancelled}");
    assert_eq!(client.step(&job, "ocr").await["state"], "CANCELLED");
    client
        .verb(&job, "cancel")
        .await
        .expect_problem(409, "JOB_TERMINAL");
    client
        .verb(&job, "redrive")
        .await
        .expect_problem(409, "JOB_NOT_FAILED");
}

#[tokio::test]
async fn i9_a_job_that_is_cancelled_right_after_its_202_ends_cancelled_and_never_starts() {
    let host = Setup::quick().ack_timeout_ms(50).start().await;
    let client = host.client();
    for number in 0..20 {
        let job = client
            .submit(&order(&format!("hasty {number}"), "OCR"))
            .await;
        let cancelled = client.verb(&job, "cancel").await.expect(202).body;
        // Whether the directive is out by now is a race that either may win.
        let state = cancelled["state"].as_str().unwrap_or_default();
        assert!(matches!(state, "CANCELLED" | "CANCELLING"), "{cancelled}");
        client.job_in(&job, "CANCELLED").await;
        let created = client.events_of(&job, "attempt_created").await;
        assert_eq!(created.len(), 1, "no second attempt");
    }
}

#[tokio::test]
async fn a_job_whose_directive_is_out_waits_for_the_ack_time_out() {
    let host = Setup::quick()
        .with("TIMING_ACK_TIMEOUT_MS", 1500)
        .start()
        .await;
    let client = host.client();
    let job = client.submit(&order("out", "OCR")).await;
    client.step_in(&job, "ocr", "AWAITING_ACK").await;
    assert_eq!(
        client.verb(&job, "cancel").await.expect(202).body["state"],
        "CANCELLING"
    );
    // Asking again is harmless.
    assert_eq!(
        client.verb(&job, "cancel").await.expect(202).body["jobId"],
        job.as_str()
    );
    let ended = client.job_in(&job, "CANCELLED").await;
    assert_eq!(ended["attempts_total"], 1, "no retry");
    assert_eq!(client.step(&job, "ocr").await["state"], "CANCELLED");
}

#[tokio::test]
async fn a_job_at_work_is_cancelled_when_its_attempt_ends() {
    let host = Setup::quick().start().await;
    let client = host.client();
    for (tenant, succeeds) in [("with success", true), ("with failure", false)] {
        let job = client.submit(&order(tenant, "OCR->EMBEDDING")).await;
        let worker = host.worker("platform-ocr");
        let delivery = worker.next(tenant).await;
        worker.ack(&delivery).await.expect(200);
        assert_eq!(
            client.verb(&job, "cancel").await.expect(202).body["state"],
            "CANCELLING"
        );
        worker.heartbeat(&delivery, 60).await.expect(200);
        let result = match succeeds {
            true => delivery.success(&[artifact("ocr")]),
            false => delivery.failure("RETRYABLE", "AGAIN"),
        };
        worker.result(&delivery, &result).await.expect(200);
        assert_eq!(client.job_in(&job, "CANCELLED").await["attempts_total"], 1);
        assert_eq!(
            client.step(&job, "embedding").await["attempt_no"],
            0,
            "nothing new starts"
        );
        assert!(
            host.worker("platform-embedding")
                .now(tenant)
                .await
                .is_none()
        );
    }
}

#[tokio::test]
async fn a_job_at_work_whose_service_is_gone_is_cancelled_when_its_lease_ends() {
    let host = Setup::quick().with("TIMING_LEASE_MS", 1500).start().await;
    let client = host.client();
    let job = client.submit(&order("lost", "OCR")).await;
    let worker = host.worker("platform-ocr");
    let delivery = worker.next("lost").await;
    worker.ack(&delivery).await.expect(200);
    assert_eq!(
        client.verb(&job, "cancel").await.expect(202).body["state"],
        "CANCELLING"
    );
    client.job_in(&job, "CANCELLED").await;
    let late = worker
        .result(&delivery, &delivery.success(&[artifact("ocr")]))
        .await
        .expect(200);
    assert_eq!(late.body["applied"], false);
}

#[tokio::test]
async fn f22_cancel_and_result_at_once_end_in_one_of_two_ways() {
    let host = Setup::quick().start().await;
    let client = host.client();
    let worker = host.worker("platform-ocr");
    for number in 0..20 {
        let tenant = format!("race {number}");
        let job = client.submit(&order(&tenant, "OCR")).await;
        let delivery = worker.next(&tenant).await;
        worker.ack(&delivery).await.expect(200);
        let result = delivery.success(&[artifact("ocr")]);
        let (cancelled, resulted) = tokio::join!(
            client.verb(&job, "cancel"),
            worker.result(&delivery, &result)
        );
        resulted.expect(200);
        let ended: Value = client.job_over(&job).await;
        match cancelled.status {
            202 => assert_eq!(ended["state"], "CANCELLED"),
            409 => assert_eq!(ended["state"], "SUCCEEDED"),
            other => panic!("cancel answers {other}: {}", cancelled.text),
        }
    }
}

#[tokio::test]
async fn a_verb_for_no_job_is_404() {
    let host = host_for(0).await;
    let client = host.client();
    for verb in ["cancel", "redrive"] {
        for id in [
            "01890000-0000-7000-8000-000000000000",
            "x",
            "%00",
            "..%2F..",
        ] {
            client
                .verb(id, verb)
                .await
                .expect_problem(404, "JOB_NOT_FOUND");
        }
    }
}
