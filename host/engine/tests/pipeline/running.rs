//! The engine with its loops running: hints make it fast, and scans find what hints missed.

use std::sync::Arc;
use std::time::Duration;

use lucius_domain::contract::Directive;
use lucius_domain::routing::Lane;
use lucius_ports::bus::Subscription as _;

use crate::audit::audit_with_gates;
use crate::stage::{Stage, THREE};

/// How long a test waits for a message that has to come; only a broken engine takes so long.
const DEADLINE: Duration = Duration::from_secs(60);

async fn receive(stage: &Stage, service: &str) -> Directive {
    let subscription = stage.bus.subscription(Lane::of("acme"), &service.into());
    let received = subscription
        .peek_lock(DEADLINE)
        .await
        .expect("the bus is up");
    let received = received.expect("a directive comes");
    subscription
        .complete(&received)
        .await
        .expect("the bus is up");
    serde_json::from_str(&received.body).expect("a directive")
}

/// Lets the loops fall asleep, then moves the clock past their interval.
async fn next_round(stage: &Stage) {
    let before = stage.clock.sleeps();
    stage.later(1_000);
    while stage.clock.sleeps() < before + 2 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn hints_carry_a_job_through_while_the_clock_stands_still() {
    let stage = Stage::new().await;
    let running = tokio::spawn(Arc::clone(&stage.engine).run());
    let id = stage.accepted("acme", THREE, "doc-1").await;
    for service in ["platform-ocr", "platform-embedding", "platform-sis"] {
        let directive = receive(&stage, service).await;
        assert!(stage.ack(&directive).await.expect("it counts"));
        assert!(stage.succeed(&directive).await.expect("it counts"));
    }
    assert_eq!(stage.state(id).await, "SUCCEEDED");
    running.abort();
    assert!(running.await.is_err_and(|it| it.is_cancelled()));
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn scans_find_what_hints_missed() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    // The hint died with the first host.
    let stage = stage.restarted().await;
    let running = tokio::spawn(Arc::clone(&stage.engine).run());
    while stage.clock.sleeps() < 2 {
        tokio::task::yield_now().await;
    }
    next_round(&stage).await;
    let directive = receive(&stage, "platform-ocr").await;
    assert_eq!(directive.job_id, id);
    // Nobody acknowledges it: the loops notice, wait, and send the next attempt.
    stage.later(30_000);
    while stage.step_states(id).await != ["FAILED_RETRY"] {
        next_round(&stage).await;
    }
    stage.later(60_000);
    next_round(&stage).await;
    assert_eq!(receive(&stage, "platform-ocr").await.attempt_no.0, 2);
    running.abort();
    assert!(running.await.is_err_and(|it| it.is_cancelled()));
}

#[tokio::test]
async fn watchers_hear_of_every_change() {
    let stage = Stage::new().await;
    let mut watch = stage.engine.watch();
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    assert_eq!(watch.recv().await, Ok(id));
    stage.dispatch().await;
    assert_eq!(watch.recv().await, Ok(id));
}
