//! The clock's share: what is overdue moves on, what is not stays, and nobody moves twice.

use lucius_domain::routing::Lane;
use lucius_engine::sweep::{self, ACK, DRIFT, LEASE};

use crate::audit::{audit, audit_with_gates};
use crate::stage::{Stage, THREE};

#[tokio::test]
async fn without_an_ack_within_30_seconds_another_attempt_follows_after_a_minute() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", THREE, "doc-1").await;
    let first = stage.next_directive().await;
    stage.later(29_999);
    assert_eq!(stage.sweep(ACK).await, 0);
    stage.later(1);
    assert_eq!(stage.sweep(ACK).await, 1);
    assert_eq!(stage.sweep(ACK).await, 0, "a second sweep finds nothing");
    assert_eq!(stage.step_states(id).await[0], "FAILED_RETRY");
    stage.later(59_999);
    assert_eq!(stage.sweep(DRIFT).await, 0);
    stage.later(1);
    assert_eq!(stage.sweep(DRIFT).await, 1);
    let second = stage.next_directive().await;
    assert_eq!(second.attempt_no.0, 2);
    assert_ne!(second.lease_id, first.lease_id);
    assert_eq!(stage.bus.accepted()[1].message_id, format!("{id}:ocr:2"));
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn attempts_that_nobody_acknowledges_end_the_job() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    for wait_ms in [60_000, 300_000, 0] {
        stage.next_directive().await;
        stage.later(30_000);
        assert_eq!(stage.sweep(ACK).await, 1);
        stage.later(wait_ms);
        stage.sweep(DRIFT).await;
    }
    assert_eq!(stage.failure_code(id).await, "ACK_TIMEOUT");
    assert_eq!(stage.job(id).await.attempts_total(), 3);
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_service_that_falls_silent_loses_its_lease_and_one_that_beats_keeps_it() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    let directive = stage.next_directive().await;
    stage.ack(&directive).await.expect("it counts");
    for _ in 0..4 {
        stage.later(899_999);
        assert_eq!(stage.sweep(LEASE).await, 0);
        assert!(stage.beat(&directive).await.expect("it counts"));
    }
    stage.later(900_000);
    assert_eq!(stage.sweep(LEASE).await, 1);
    assert_eq!(stage.step_states(id).await, ["FAILED_RETRY"]);
    let failure = stage.job(id).await.progress.steps[0].last_failure.clone();
    assert_eq!(failure.map(|it| it.code), Some("LEASE_EXPIRED".to_owned()));
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_retryable_failure_is_tried_again_when_its_time_has_come() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    let first = stage.next_directive().await;
    stage.fail(&first, "RETRYABLE").await.expect("it counts");
    assert_eq!(stage.step_states(id).await, ["FAILED_RETRY"]);
    stage.later(60_000);
    assert_eq!(stage.sweep(DRIFT).await, 1);
    stage.work_one().await;
    assert_eq!(stage.state(id).await, "SUCCEEDED");
}

#[tokio::test]
async fn a_cancelling_job_ends_when_its_attempt_is_lost() {
    for acknowledged in [false, true] {
        let stage = Stage::new().await;
        let id = stage.accepted("acme", THREE, "doc-1").await;
        let directive = stage.next_directive().await;
        if acknowledged {
            stage.ack(&directive).await.expect("it counts");
        }
        stage.engine.cancel(id).await.expect("it is not over");
        stage.after(900_000).await;
        assert_eq!(stage.state(id).await, "CANCELLED");
        assert!(!stage.succeed(&directive).await.expect("it is over"));
        audit_with_gates(&stage).await;
    }
}

#[tokio::test]
async fn two_hosts_that_sweep_one_lease_make_one_new_attempt() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    let directive = stage.next_directive().await;
    stage.ack(&directive).await.expect("it counts");
    let other = stage.restarted().await;
    let lane = Lane::of("acme");
    stage.later(900_000);
    let (left, right) = tokio::join!(
        stage.engine.sweep_tick(LEASE, lane),
        other.engine.sweep_tick(LEASE, lane)
    );
    let moved = |swept: Result<sweep::Swept, _>| swept.expect("the ledger answers").moved;
    assert_eq!(moved(left) + moved(right), 1);
    stage.later(60_000);
    let (left, right) = tokio::join!(
        stage.engine.sweep_tick(DRIFT, lane),
        other.engine.sweep_tick(DRIFT, lane)
    );
    assert_eq!(moved(left) + moved(right), 1);
    assert_eq!(stage.job(id).await.attempts_total(), 2);
    audit(&stage.world).await;
}

#[tokio::test]
async fn a_result_and_the_end_of_its_lease_at_once_are_one_or_the_other() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    let directive = stage.next_directive().await;
    stage.ack(&directive).await.expect("it counts");
    stage.later(900_000);
    let lane = Lane::of("acme");
    let (swept, applied) = tokio::join!(
        stage.engine.sweep_tick(LEASE, lane),
        stage.succeed(&directive)
    );
    let moved = swept.expect("the ledger answers").moved == 1;
    match applied {
        Ok(applied) => assert!(applied && !moved),
        Err(refusal) => assert!(refusal.code() == "STALE_ATTEMPT" && moved),
    }
    let state = stage.state(id).await;
    assert_eq!(state, if moved { "IN_PROGRESS" } else { "SUCCEEDED" });
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_sweep_takes_all_that_is_due_in_every_lane() {
    let stage = Stage::new().await;
    for n in 0..60 {
        stage.accepted(&format!("tenant-{n}"), "OCR", "doc").await;
    }
    assert_eq!(stage.dispatch().await, 60);
    stage.later(30_000);
    assert_eq!(stage.sweep(ACK).await, 60);
    audit_with_gates(&stage).await;
}
