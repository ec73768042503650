//! Attempts that are lost or fail, and what follows.

use lucius_tests::host::Setup;
use lucius_tests::orders::{artifact, order};
use lucius_tests::shared::host_for;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

fn instant(event: &Value, name: &str) -> anyhow::Result<OffsetDateTime> {
    Ok(OffsetDateTime::parse(
        event[name].as_str().unwrap_or_default(),
        &Rfc3339,
    )?)
}

#[tokio::test]
async fn i10_without_an_ack_a_second_attempt_with_a_new_lease_goes_out() {
    let host = Setup::quick()
        .with("TIMING_ACK_TIMEOUT_MS", 100)
        .start()
        .await;
    let client = host.client();
    let job = client.submit(&order("silent", "OCR")).await;
    let worker = host.worker("platform-ocr");
    let first = worker.next("silent").await;
    let second = worker.next("silent").await;
    assert_eq!((first.attempt_no(), second.attempt_no()), (1, 2));
    assert_ne!(first.lease_id(), second.lease_id());
    assert_ne!(first.token(), second.token());
    assert_eq!(second.broker["MessageId"], format!("{job}:ocr:2"));
    worker
        .finish(&second, &second.success(&[artifact("ocr")]))
        .await;
    assert_eq!(client.job_in(&job, "SUCCEEDED").await["attempts_total"], 2);
    let retries = client.events_of(&job, "retry_scheduled").await;
    assert_eq!(retries[0]["error"]["code"], "ACK_TIMEOUT");
}

#[tokio::test]
async fn a_lease_that_nobody_renews_ends_its_attempt() {
    let host = Setup::quick().with("TIMING_LEASE_MS", 100).start().await;
    let client = host.client();
    let job = client.submit(&order("gone", "OCR")).await;
    let worker = host.worker("platform-ocr");
    let first = worker.next("gone").await;
    worker.ack(&first).await.expect(200);
    let second = worker.next("gone").await;
    assert_eq!(second.attempt_no(), 2);
    // It is left to the third attempt: this one does no more than the first.
    worker.ack(&second).await.expect(200);
    let third = worker.next("gone").await;
    worker
        .result(&third, &third.success(&[artifact("ocr")]))
        .await
        .expect(200);
    client.job_in(&job, "SUCCEEDED").await;
    let codes: Vec<Value> = client
        .events_of(&job, "retry_scheduled")
        .await
        .iter()
        .map(|e| e["error"]["code"].clone())
        .collect();
    assert_eq!(codes, ["LEASE_EXPIRED", "LEASE_EXPIRED"]);
}

#[tokio::test]
async fn i13_after_the_last_attempt_the_job_fails_with_the_services_own_error() {
    let mut host = host_for(1).await;
    let tenant = host.tenant("hopeless");
    let client = host.client();
    let job = client.submit(&order(&tenant, "OCR")).await;
    let worker = host.worker("platform-ocr");
    for attempt_no in 1..=3 {
        let delivery = worker.fail(&tenant, "RETRYABLE", "SCANNER_ON_FIRE").await;
        assert_eq!(delivery.attempt_no(), attempt_no);
    }
    let ended = client.job_in(&job, "FAILED_FINAL").await;
    assert_eq!(ended["error_code"], "SCANNER_ON_FIRE");
    assert_eq!(ended["error_message"], "it did not work");
    assert_eq!(ended["attempts_total"], 3);
    assert_eq!(client.step(&job, "ocr").await["state"], "FAILED_FINAL");
    assert!(worker.now(&tenant).await.is_none());
}

#[tokio::test]
async fn silence_to_the_end_fails_the_job_as_well() {
    let host = Setup::quick()
        .with("TIMING_ACK_TIMEOUT_MS", 30)
        .with("TIMING_MAX_ATTEMPTS", 2)
        .start()
        .await;
    let client = host.client();
    let job = client.submit(&order("nobody", "OCR")).await;
    let ended = client.job_in(&job, "FAILED_FINAL").await;
    assert_eq!(
        (&ended["error_code"], &ended["attempts_total"]),
        (&json!("ACK_TIMEOUT"), &json!(2))
    );
}

#[tokio::test]
async fn a_failure_that_no_retry_cures_ends_the_job_at_once() {
    let mut host = host_for(1).await;
    let tenant = host.tenant("broken");
    let client = host.client();
    let job = client.submit(&order(&tenant, "OCR->EMBEDDING")).await;
    host.worker("platform-ocr")
        .fail(&tenant, "NON_RETRYABLE", "PDF_ENCRYPTED")
        .await;
    let ended = client.job_in(&job, "FAILED_FINAL").await;
    assert_eq!(
        (&ended["error_code"], &ended["attempts_total"]),
        (&json!("PDF_ENCRYPTED"), &json!(1))
    );
    assert_eq!(client.step(&job, "embedding").await["attempt_no"], 0);
    assert!(
        host.worker("platform-embedding")
            .now(&tenant)
            .await
            .is_none()
    );
}

#[tokio::test]
async fn a_plugins_own_delay_wins_over_the_configured_one() -> anyhow::Result<()> {
    let mut host = host_for(1).await;
    let tenant = host.tenant("busy");
    let client = host.client();
    let job = client.submit(&order(&tenant, "OCR")).await;
    host.worker("platform-ocr")
        .fail(&tenant, "RETRYABLE", "MODEL_OVERLOADED")
        .await;
    let step = client.step_in(&job, "ocr", "FAILED_RETRY").await;
    assert_eq!(step["last_error_code"], "MODEL_OVERLOADED");
    let events = client.events_of(&job, "retry_scheduled").await;
    let wait = instant(&events[0], "due_at")? - instant(&events[0], "at")?;
    assert_eq!(
        wait,
        time::Duration::seconds(30),
        "the ocr plugin's delay, not 20 ms"
    );
    assert_eq!(
        instant(&step, "next_attempt_at")?,
        instant(&events[0], "due_at")?
    );
    Ok(())
}

#[tokio::test]
async fn a_redrive_starts_again_at_the_failed_step_with_a_fresh_budget() {
    let host = Setup::quick().with("TIMING_MAX_ATTEMPTS", 2).start().await;
    let client = host.client();
    let job = client
        .submit(&order("second chance", "OCR->EMBEDDING"))
        .await;
    host.worker("platform-ocr").succeed("second chance").await;
    client
        .verb(&job, "redrive")
        .await
        .expect_problem(409, "JOB_NOT_FAILED");
    let embedding = host.worker("platform-embedding");
    let mut leases = Vec::new();
    for _ in 0..2 {
        leases.push(
            embedding
                .fail("second chance", "RETRYABLE", "NO_MODEL")
                .await
                .lease_id()
                .to_owned(),
        );
    }
    client.job_in(&job, "FAILED_FINAL").await;

    let again = client.verb(&job, "redrive").await.expect(202).body;
    assert_eq!(again["jobId"], job.as_str());
    assert!(
        again["completed_at"].is_null() && again["error_code"].is_null(),
        "{again}"
    );
    let third = embedding
        .fail("second chance", "RETRYABLE", "NO_MODEL")
        .await;
    let fourth = embedding.next("second chance").await;
    assert_eq!(
        (third.attempt_no(), fourth.attempt_no()),
        (3, 4),
        "the budget is fresh, numbers go on"
    );
    leases.extend([&third, &fourth].map(|delivery| delivery.lease_id().to_owned()));
    leases.sort();
    leases.dedup();
    assert_eq!(leases.len(), 4);
    embedding
        .finish(&fourth, &fourth.success(&[artifact("embedding")]))
        .await;
    client.job_in(&job, "SUCCEEDED").await;
    assert_eq!(
        client.step(&job, "ocr").await["attempt_no"],
        1,
        "what succeeded is not done again"
    );
    assert!(
        host.worker("platform-ocr")
            .now("second chance")
            .await
            .is_none()
    );
    client
        .verb(&job, "redrive")
        .await
        .expect_problem(409, "JOB_NOT_FAILED");
}

#[tokio::test]
async fn a_message_that_is_given_back_comes_again_until_it_is_dead() {
    let host = Setup::quick()
        .with("BUS_MAX_DELIVERY_COUNT", 2)
        .start()
        .await;
    let client = host.client();
    client.submit(&order("poison", "OCR")).await;
    let worker = host.worker("platform-ocr");
    for count in 1..=2 {
        let delivery = worker.next("poison").await;
        assert_eq!(delivery.broker["DeliveryCount"], count);
        worker.abandon(&delivery).await.expect(200);
        assert_eq!(
            worker.complete(&delivery).await.status,
            404,
            "its lock is gone"
        );
    }
    let dead = host.worker("platform-ocr/$DeadLetterQueue");
    let delivery = dead.next("poison").await;
    assert_eq!(delivery.text("tenant_id"), "poison");
    assert!(worker.now("poison").await.is_none());
    dead.complete(&delivery).await.expect(200);
    assert!(dead.now("poison").await.is_none());
}
