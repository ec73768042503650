//! One job of three steps, by hand, from the command to its end; and the verbs on the way.

use lucius_domain::decide::MAX_NOTES;
use lucius_domain::id::JobId;
use lucius_domain::transition::OutboxRow;
use uuid::Uuid;

use crate::audit::audit_with_gates;
use crate::stage::{Stage, THREE};

#[tokio::test]
async fn three_steps_succeed_with_one_commit_for_each_result_that_holds_the_next_directive() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", THREE, "doc-1").await;
    for (index, service) in ["platform-ocr", "platform-embedding", "platform-sis"]
        .iter()
        .enumerate()
    {
        let directive = stage.next_directive().await;
        assert_eq!(directive.service.as_str(), *service);
        assert_eq!(directive.attempt_no.0, 1);
        let earlier: Vec<_> = directive
            .inputs
            .iter()
            .map(|it| it.step_id.as_str())
            .collect();
        assert_eq!(earlier, ["ocr", "embedding"][..index]);
        assert!(
            directive
                .inputs
                .iter()
                .all(|it| it.artifact_refs.len() == 1 && !it.skipped)
        );
        assert!(stage.ack(&directive).await.expect("it counts"));
        assert!(stage.beat(&directive).await.expect("it counts"));

        let before = stage.job(id).await.progress.version.0;
        assert!(stage.succeed(&directive).await.expect("it counts"));
        assert_eq!(
            stage.job(id).await.progress.version.0,
            before + 1,
            "one commit"
        );
        let rows: Vec<_> = stage
            .ledger
            .outbox(id)
            .iter()
            .map(|(_, _, row)| row.name())
            .collect();
        let mut expected = vec!["SENT"; index + 1];
        if index < 2 {
            expected.push("PENDING");
        }
        assert_eq!(rows, expected);
        audit_with_gates(&stage).await;
    }
    assert_eq!(stage.state(id).await, "SUCCEEDED");
    assert_eq!(stage.step_states(id).await, ["SUCCEEDED"; 3]);
    let step = [
        "directive_sent",
        "acked",
        "lease_renewed",
        "result_received",
        "decided",
        "step_succeeded",
    ];
    let next = ["decided", "attempt_created"];
    let accepted = [
        "accepted",
        "decided",
        "decided",
        "decided",
        "decided",
        "attempt_created",
    ];
    let expected = [
        &accepted[..],
        &step,
        &next,
        &step,
        &next,
        &step,
        &["job_succeeded"],
    ]
    .concat();
    assert_eq!(stage.events(id).await, expected);
    assert_eq!(stage.dispatch().await, 0);
}

#[tokio::test]
async fn a_job_goes_on_where_it_was_after_the_host_is_killed_between_any_two_moves() {
    let mut stage = Stage::new().await;
    let id = stage.accepted("acme", THREE, "doc-1").await;
    for _ in 0..3 {
        stage = stage.restarted().await;
        let directive = stage.next_directive().await;
        stage = stage.restarted().await;
        assert!(
            stage
                .ack(&directive)
                .await
                .expect("tokens outlive the host")
        );
        stage = stage.restarted().await;
        assert!(stage.succeed(&directive).await.expect("it counts"));
    }
    assert_eq!(stage.state(id).await, "SUCCEEDED");
    assert_eq!(stage.job(id).await.attempts_total(), 3);
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_cancel_waits_for_the_attempt_that_is_out_and_starts_nothing_new() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", THREE, "doc-1").await;
    let directive = stage.next_directive().await;
    for _ in 0..2 {
        let job = stage.engine.cancel(id).await.expect("asking twice is fine");
        assert_eq!(job.progress.status.name(), "CANCELLING");
    }
    assert!(
        stage
            .ack(&directive)
            .await
            .expect("the attempt is still the current one")
    );
    assert!(
        stage
            .succeed(&directive)
            .await
            .expect("it ends the attempt")
    );
    assert_eq!(stage.state(id).await, "CANCELLED");
    assert_eq!(
        stage.step_states(id).await,
        ["SUCCEEDED", "CANCELLED", "CANCELLED"]
    );
    assert_eq!(stage.dispatch().await, 0);
    let refusal = stage.engine.cancel(id).await.expect_err("it is over");
    assert_eq!(refusal.code(), "JOB_TERMINAL");
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_redrive_sends_a_new_attempt_of_the_failed_step_at_once() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", THREE, "doc-1").await;
    assert_eq!(
        stage
            .engine
            .redrive(id)
            .await
            .expect_err("it has not failed")
            .code(),
        "JOB_NOT_FAILED"
    );
    stage.work_one().await;
    let second = stage.next_directive().await;
    stage
        .fail(&second, "NON_RETRYABLE")
        .await
        .expect("it counts");
    let before = stage.job(id).await.progress.version.0;
    let job = stage.engine.redrive(id).await.expect("it failed");
    assert_eq!(
        job.progress.version.0,
        before + 1,
        "one commit, with the new attempt"
    );
    let rows = stage.ledger.outbox(id);
    assert!(
        matches!(rows.last(), Some((1, no, OutboxRow::Pending { .. })) if no.0 == 2),
        "{rows:?}"
    );
    let third = stage.next_directive().await;
    assert_eq!(
        (third.step_id.as_str(), third.attempt_no.0),
        ("embedding", 2)
    );
    assert_ne!(third.lease_id, second.lease_id);
    assert!(stage.succeed(&third).await.expect("it counts"));
    stage.work_one().await;
    assert_eq!(stage.state(id).await, "SUCCEEDED");
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn verbs_on_a_job_that_is_not_there_say_so() {
    let stage = Stage::new().await;
    let id = JobId(Uuid::from_u128(42));
    assert_eq!(
        stage.engine.cancel(id).await.expect_err("not there").code(),
        "JOB_NOT_FOUND"
    );
    assert_eq!(
        stage
            .engine
            .redrive(id)
            .await
            .expect_err("not there")
            .code(),
        "JOB_NOT_FOUND"
    );
}

#[tokio::test]
async fn a_service_that_repeats_itself_for_ever_fills_no_ledger() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    let directive = stage.next_directive().await;
    for _ in 0..MAX_NOTES + 20 {
        assert!(stage.ack(&directive).await.expect("always the same answer"));
    }
    let notes = stage
        .events(id)
        .await
        .iter()
        .filter(|it| **it == "callback_ignored")
        .count();
    assert_eq!(notes, usize::try_from(MAX_NOTES).expect("a small number"));
}
