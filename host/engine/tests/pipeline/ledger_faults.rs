//! A ledger that fails at any one call of a job's life, before or after the call took effect: client, worker and host
//! only try again, and the job succeeds exactly once.

use lucius_domain::contract::Directive;
use lucius_domain::id::JobId;
use lucius_domain::routing::Lane;
use lucius_engine::{Refusal, sweep};
use lucius_memory::faulty::Fault;

use crate::audit::audit_with_gates;
use crate::stage::{Stage, THREE, command};

/// How often client and worker try; one fault is planned, so a few times are enough.
const TRIES: usize = 4;

async fn client(stage: &Stage) -> JobId {
    for _ in 0..TRIES {
        match stage.submit(&command("acme", THREE, "doc-1")).await {
            Ok(accepted) => return accepted.job.id,
            Err(refusal) => assert_eq!(refusal.code(), "LEDGER_UNAVAILABLE"),
        }
    }
    panic!("the command is never accepted")
}

/// Whether the callback counted, or the host says that its work is done.
async fn insist(call: impl AsyncFn() -> Result<bool, Refusal>) -> bool {
    for _ in 0..TRIES {
        match call().await {
            Ok(applied) => return applied,
            Err(refusal) => assert_eq!(refusal.code(), "LEDGER_UNAVAILABLE"),
        }
    }
    panic!("the callback is never answered")
}

async fn worker(stage: &Stage, directive: &Directive) {
    if insist(async || stage.ack(directive).await).await {
        insist(async || stage.beat(directive).await).await;
        insist(async || stage.succeed(directive).await).await;
    }
}

/// Client, host and worker until the job ends. The host's loops go on after a failed tick, as they do when it runs.
async fn live(stage: &Stage) -> JobId {
    let id = client(stage).await;
    let lane = Lane::of("acme");
    let mut handled = 0;
    for _ in 0..20 {
        if stage.job(id).await.progress.status.is_terminal() {
            break;
        }
        let _tried_again_next_time = stage.engine.dispatch_tick(lane).await;
        for directive in stage.directives().drain(..).skip(handled) {
            handled += 1;
            worker(stage, &directive).await;
        }
        for sweeper in sweep::ALL {
            let _swept_again_next_time = stage.engine.sweep_tick(sweeper, lane).await;
        }
        stage.later(1_000);
    }
    id
}

#[tokio::test]
async fn whichever_call_fails_and_however_the_job_succeeds_exactly_once() {
    let healthy = Stage::new().await;
    live(&healthy).await;
    let calls = healthy.faulty.calls();
    assert!(calls > 30, "{calls} calls are not a whole life");
    let started = Stage::new().await.faulty.calls();
    for number in started + 1..=calls {
        for fault in [Fault::Before, Fault::After] {
            let stage = Stage::new().await;
            stage.faulty.fail_call(number, fault);
            let id = live(&stage).await;
            let place = format!("call {number} failed {fault:?}");
            assert_eq!(stage.faulty.failed(), 1, "{place}");
            assert_eq!(stage.state(id).await, "SUCCEEDED", "{place}");
            let events = stage.events(id).await;
            let ends = events.iter().filter(|it| **it == "job_succeeded").count();
            assert_eq!(ends, 1, "{place}");
            assert_eq!(stage.job(id).await.attempts_total(), 3, "{place}");
            // What no callback came back to look at, the next sweep does.
            stage.after(1_000).await;
            audit_with_gates(&stage).await;
        }
    }
}

#[tokio::test]
async fn a_ledger_that_is_away_for_a_while_delays_the_job_and_loses_nothing() {
    for fault in [Fault::Before, Fault::After] {
        let stage = Stage::new().await;
        let id = client(&stage).await;
        let directive = stage.next_directive().await;
        stage.faulty.set_outage(Some(fault));
        for _ in 0..5 {
            let refusal = stage.succeed(&directive).await.expect_err("nobody knows");
            assert_eq!(refusal.code(), "LEDGER_UNAVAILABLE");
            let lane = Lane::of("acme");
            stage
                .engine
                .dispatch_tick(lane)
                .await
                .expect_err("nobody knows");
            stage
                .engine
                .sweep_tick(sweep::ACK, lane)
                .await
                .expect_err("nobody knows");
            stage.later(1_000);
        }
        stage.faulty.set_outage(None);
        assert!(
            stage
                .succeed(&directive)
                .await
                .expect("the first or the same again")
        );
        stage.work_one().await;
        stage.work_one().await;
        assert_eq!(stage.state(id).await, "SUCCEEDED");
        stage.after(1_000).await;
        audit_with_gates(&stage).await;
    }
}
