//! Limits hold exactly, also when many arrive at once, and places are free again when jobs end, however they end.

use futures_util::future::join_all;
use lucius_domain::id::TenantId;
use lucius_engine::Refusal;
use lucius_engine::settings::Limits;
use lucius_engine::sweep;
use lucius_memory::faulty::Fault;

use crate::audit::audit_with_gates;
use crate::stage::{Stage, THREE, command};

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

/// How many of so many different commands at once are accepted; the rest is refused with this code.
async fn let_in(stage: &Stage, tenants: usize, code: &str) -> usize {
    let commands: Vec<_> = (0..60)
        .map(|n| {
            command(
                &format!("tenant-{}", n % tenants),
                THREE,
                &format!("doc-{n}"),
            )
        })
        .collect();
    let answers = join_all(commands.iter().map(|it| stage.submit(it))).await;
    for refusal in answers.iter().flat_map(|it| it.as_ref().err()) {
        assert_eq!(refusal.code(), code);
    }
    audit_with_gates(stage).await;
    answers.iter().filter(|it| it.is_ok()).count()
}

#[tokio::test]
async fn a_tenants_limit_is_exact_when_many_arrive_at_once() {
    let stage = Stage::with_limits(limits(|it| it.tenant_inflight = 7)).await;
    assert_eq!(let_in(&stage, 1, "TENANT_LIMIT").await, 7);
    let stage = Stage::with_limits(limits(|it| it.tenant_inflight = 7)).await;
    assert_eq!(let_in(&stage, 3, "TENANT_LIMIT").await, 3 * 7);
}

#[tokio::test]
async fn the_global_limit_is_exact_when_many_arrive_at_once() {
    let stage = Stage::with_limits(limits(|it| it.global_inflight = 11)).await;
    assert_eq!(let_in(&stage, 5, "GLOBAL_LIMIT").await, 11);
}

#[tokio::test]
async fn the_limit_of_a_mode_is_exact_when_many_arrive_at_once() {
    let stage = Stage::with_limits(limits(|it| it.burst_inflight = 3)).await;
    let commands: Vec<_> = (0..20)
        .map(|n| {
            let mut command = command("acme", THREE, &format!("doc-{n}"));
            command["mode"] = "BURST".into();
            command
        })
        .collect();
    let answers = join_all(commands.iter().map(|it| stage.submit(it))).await;
    assert_eq!(answers.iter().filter(|it| it.is_ok()).count(), 3);
    stage.accepted("acme", THREE, "in mode DEFAULT").await;
}

#[tokio::test]
async fn a_command_without_a_place_costs_no_plugin_call() {
    let stage = Stage::with_limits(limits(|it| it.tenant_inflight = 1)).await;
    stage.accepted("acme", THREE, "takes the place").await;
    let before = stage.runtime.calls();
    let refusal = stage.submit(&command("acme", THREE, "another")).await;
    assert_eq!(refusal.map(drop).unwrap_err().code(), "TENANT_LIMIT");
    assert_eq!(stage.runtime.calls(), before);
}

#[tokio::test]
async fn the_limit_of_a_lane_is_exact_when_many_arrive_at_once() {
    let stage = Stage::with_limits(limits(|it| it.outbox_backlog = 4)).await;
    assert_eq!(let_in(&stage, 1, "LANE_LIMIT").await, 4);
    stage.dispatch().await;
    stage
        .accepted("tenant-0", THREE, "after the lane is empty again")
        .await;
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_refusal_says_when_to_try_again() {
    let stage = Stage::with_limits(limits(|it| it.tenant_inflight = 0)).await;
    let refusal = stage.refusal(command("acme", "OCR", "doc-1")).await;
    let Refusal::TenantLimit {
        retry_after, limit, ..
    } = refusal
    else {
        panic!("{refusal}")
    };
    assert!(!retry_after.is_zero());
    assert_eq!(limit, 0);
}

#[tokio::test]
async fn w3_a_tenant_whose_plugins_worked_too_much_waits_and_nobody_else_does() {
    // Each call of the scripted plugins costs 1,000; ten seconds' worth may be used at once.
    let stage = Stage::with_limits(limits(|it| it.tenant_fuel_per_second = 100)).await;
    stage.accepted("acme", "OCR", "doc-1").await;
    let again = command("acme", "OCR", "doc-2");
    let refusal = stage.refusal(again.clone()).await;
    assert_eq!(refusal.code(), "TENANT_FUEL_LIMIT");
    let line = "plugins have used up the fuel of tenant \"acme\", which gets 100 a second: try again later";
    assert_eq!(refusal.to_string(), line);
    stage.accepted("other", "OCR", "doc-1").await;
    // What was accepted before is not refused, and what it still asks of its plugins is done.
    let known = stage.submit(&command("acme", "OCR", "doc-1")).await;
    assert!(known.is_ok_and(|it| it.duplicate));
    stage.later(11_000);
    stage.submit(&again).await.expect("the debt is paid");
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn the_fuel_of_tenants_changes_with_the_other_limits_while_the_host_runs() {
    let stage = Stage::with_limits(limits(|it| it.tenant_fuel_per_second = 100)).await;
    stage.accepted("acme", "OCR", "doc-1").await;
    let more = command("acme", "OCR", "doc-2");
    assert_eq!(
        stage.refusal(more.clone()).await.code(),
        "TENANT_FUEL_LIMIT"
    );
    let greater = limits(|it| it.tenant_fuel_per_second = 1_000_000);
    stage.engine.set_limits(greater);
    stage.later(10);
    stage.submit(&more).await.expect("the debt is paid sooner");
}

/// A stage on which one job fills the tenant's limit.
async fn full() -> (Stage, lucius_domain::id::JobId) {
    let stage = Stage::with_limits(limits(|it| it.tenant_inflight = 1)).await;
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    assert_eq!(
        stage.refusal(command("acme", "OCR", "doc-2")).await.code(),
        "TENANT_LIMIT"
    );
    (stage, id)
}

#[tokio::test]
async fn a_place_is_free_again_when_its_job_ends_however_it_ends() {
    let (stage, _) = full().await;
    stage.work_one().await;
    stage.accepted("acme", "OCR", "doc-2").await;

    let (stage, _) = full().await;
    let directive = stage.next_directive().await;
    stage
        .fail(&directive, "NON_RETRYABLE")
        .await
        .expect("it counts");
    stage.accepted("acme", "OCR", "doc-2").await;

    let (stage, id) = full().await;
    stage.engine.cancel(id).await.expect("nothing is out");
    stage.accepted("acme", "OCR", "doc-2").await;
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_redriven_job_takes_a_place_and_gives_it_back() {
    let (stage, id) = full().await;
    let directive = stage.next_directive().await;
    stage
        .fail(&directive, "NON_RETRYABLE")
        .await
        .expect("it counts");
    assert_eq!(stage.engine.gates().occupancy().jobs, 0);
    stage.engine.redrive(id).await.expect("it failed");
    assert_eq!(stage.engine.gates().occupancy().jobs, 1);
    stage.work_one().await;
    assert_eq!(stage.engine.gates().occupancy().jobs, 0);
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_host_that_starts_counts_what_is_there() {
    let (stage, _) = full().await;
    let again = stage.restarted().await;
    assert_eq!(
        again.refusal(command("acme", "OCR", "doc-2")).await.code(),
        "TENANT_LIMIT"
    );
    audit_with_gates(&again).await;
    again.work_one().await;
    again.accepted("acme", "OCR", "doc-2").await;
}

#[tokio::test]
async fn a_place_is_free_again_when_the_answer_to_the_last_commit_is_lost() {
    for fault in [Fault::Before, Fault::After] {
        let (stage, id) = full().await;
        let directive = stage.next_directive().await;
        // The callback loads the job, then commits.
        stage.faulty.fail_call(stage.faulty.calls() + 2, fault);
        let refusal = stage
            .succeed(&directive)
            .await
            .expect_err("the answer is lost");
        assert_eq!(refusal.code(), "LEDGER_UNAVAILABLE");
        let applied = stage
            .succeed(&directive)
            .await
            .expect("the worker tries again");
        assert_eq!(applied, fault == Fault::Before);
        assert_eq!(stage.state(id).await, "SUCCEEDED");
        audit_with_gates(&stage).await;
        stage.accepted("acme", "OCR", "doc-2").await;
    }
}

#[tokio::test]
async fn a_sweep_finds_out_what_became_of_a_commit_whose_answer_was_lost() {
    for fault in [Fault::Before, Fault::After] {
        let (stage, id) = full().await;
        stage.faulty.fail_call(stage.faulty.calls() + 2, fault);
        stage
            .engine
            .cancel(id)
            .await
            .expect_err("the answer is lost");
        stage.after(1).await;
        for sweeper in sweep::ALL {
            stage.sweep(sweeper).await;
        }
        audit_with_gates(&stage).await;
    }
}

#[tokio::test]
async fn a_sweep_finds_out_what_became_of_a_job_whose_creation_was_not_answered() {
    for fault in [Fault::Before, Fault::After] {
        let stage = Stage::new().await;
        stage.faulty.fail_next(fault);
        stage.refusal(command("acme", "OCR", "doc-1")).await;
        stage.after(1).await;
        for sweeper in sweep::ALL {
            stage.sweep(sweeper).await;
        }
        audit_with_gates(&stage).await;
        let expected = u64::from(fault == Fault::After);
        assert_eq!(stage.engine.gates().occupancy().jobs, expected);
    }
}

#[tokio::test]
async fn the_tenant_that_is_shown_is_the_one_nearest_to_its_own_limit() {
    let stage = Stage::with_limits(limits(|it| it.tenant_inflight = 10)).await;
    let live = stage.engine.registry().live();
    // The registry gives "small" two places.
    let shown = |own: &dyn Fn(&TenantId) -> Option<u64>| {
        let standing = stage.engine.gates().standings(own).remove(0);
        (standing.fullest, standing.used, standing.limit)
    };
    let own = |tenant: &TenantId| live.tenant_limit(tenant);
    assert_eq!(shown(&own), (None, 0, 10));
    for doc in ["a", "b", "c"] {
        stage.accepted("acme", "OCR", doc).await;
    }
    assert_eq!(shown(&own), (Some("acme".to_owned()), 3, 10));
    for doc in ["a", "b"] {
        stage.accepted("small", "OCR", doc).await;
    }
    assert_eq!(shown(&own), (Some("small".to_owned()), 2, 2));
    let wide = |tenant: &TenantId| (tenant.as_str() == "acme").then_some(1_000);
    assert_eq!(shown(&wide), (Some("small".to_owned()), 2, 10));
    let none = |_: &TenantId| Some(0);
    assert_eq!(shown(&none), (Some("acme".to_owned()), 3, 0));
}
