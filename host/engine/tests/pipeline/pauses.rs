//! What an operator stops waits in the outbox, or is refused; what workers have goes on; and nothing is lost by it.

use lucius_domain::id::{Generation, JobId};
use lucius_engine::gates::pause::{FRESH_MS, Manner, Pause, Target};
use lucius_engine::registry::Options;
use lucius_engine::settings::Limits;

use crate::audit::audit_with_gates;
use crate::stage::{Stage, THREE, command, publish_version};

impl Stage {
    pub(crate) async fn pause(&self, target: &str, manner: Manner) {
        let pause = Pause {
            target: Target::parse(target).expect("a target"),
            manner,
            since: self.now(),
            by: "test".to_owned(),
            reason: Some("a broken plugin".to_owned()),
        };
        let paused = self.engine.pauses().pause(pause).await;
        paused.expect("the store answers");
    }

    pub(crate) async fn resume(&self, target: &str) -> bool {
        let target = Target::parse(target).expect("a target");
        let resumed = self.engine.pauses().resume(&target, self.now()).await;
        resumed.expect("the store answers")
    }
}

#[tokio::test]
async fn what_is_paused_is_accepted_and_waits_until_it_goes_on() {
    let stage = Stage::new().await;
    let lane = {
        let id = stage.accepted("acme", "OCR", "to know its lane").await;
        stage.dispatch().await;
        stage.job(id).await.spec.lane.number()
    };
    for target in [
        "everything".to_owned(),
        "tenant:acme".to_owned(),
        "protocol:atomic-ocr.v1".to_owned(),
        format!("lane:{lane}"),
        "plugin:ocr@1.0.0".to_owned(),
    ] {
        stage.pause(&target, Manner::Hold).await;
        let id = stage.accepted("acme", "OCR", &target).await;
        let sent = stage.bus.accepted().len();
        stage.dispatch().await;
        stage.dispatch().await;
        assert_eq!(stage.bus.accepted().len(), sent, "{target}");
        assert_eq!(stage.state(id).await, "QUEUED", "{target}");
        assert_eq!(stage.engine.pauses().held(), 1, "{target}");
        audit_with_gates(&stage).await;

        assert!(stage.resume(&target).await);
        assert!(!stage.resume(&target).await);
        assert_eq!(stage.engine.pauses().held(), 0);
        stage.dispatch().await;
        assert_eq!(stage.bus.accepted().len(), sent + 1, "{target}");
    }
}

#[tokio::test]
async fn what_is_not_meant_by_a_pause_goes_on() {
    let stage = Stage::new().await;
    for target in ["tenant:other", "protocol:other.v1", "plugin:ocr@2.0.0"] {
        stage.pause(target, Manner::Refuse).await;
    }
    stage.accepted("acme", "OCR", "doc-1").await;
    stage.work_one().await;
    assert_eq!(stage.bus.accepted().len(), 1);
}

#[tokio::test]
async fn a_pause_that_refuses_says_what_and_why_and_does_not_refuse_what_is_known() {
    let stage = Stage::new().await;
    stage.accepted("acme", THREE, "doc-1").await;
    // A later step's plugin counts, too: the job could not end.
    stage.pause("plugin:sis@1.0.0", Manner::Refuse).await;
    let refusal = stage.refusal(command("acme", THREE, "doc-2")).await;
    assert_eq!(refusal.code(), "PAUSED");
    let line =
        "plugin:sis@1.0.0 is paused and takes no new commands (a broken plugin): try again later";
    assert_eq!(refusal.to_string(), line);
    let known = stage.submit(&command("acme", THREE, "doc-1")).await;
    assert!(known.is_ok_and(|it| it.duplicate));
    stage.accepted("acme", "OCR", "doc-3").await;
}

#[tokio::test]
async fn workers_end_what_they_have_while_everything_is_paused() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", THREE, "doc-1").await;
    let directive = stage.next_directive().await;
    stage.pause("everything", Manner::Hold).await;
    assert!(stage.succeed(&directive).await.expect("the RESULT counts"));
    stage.dispatch().await;
    assert_eq!(
        stage.step_states(id).await,
        ["SUCCEEDED", "DISPATCHING", "PENDING"]
    );
    stage.engine.cancel(id).await.expect("it is not over");
    assert_eq!(stage.state(id).await, "CANCELLED");
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_pause_outlives_the_host_and_reaches_another_within_a_second() {
    let stage = Stage::new().await;
    let other = stage.world.open(stage.settings.clone()).await;
    let other = other.expect("another host");
    let id = other.accepted("acme", "OCR", "doc-1").await;
    stage.pause("tenant:acme", Manner::Hold).await;
    other.later(i64::try_from(FRESH_MS).expect("a second fits"));
    other.dispatch().await;
    assert_eq!(other.state(id).await, "QUEUED");
    assert!(stage.bus.accepted().is_empty());

    let restarted = stage.restarted().await;
    restarted.dispatch().await;
    assert!(stage.bus.accepted().is_empty());
}

/// A job whose plugin's version is paused, while a later version is active.
async fn held_while_a_new_version_is_there() -> (Stage, JobId) {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    publish_version(&stage.source, "1.1.0", |_| {});
    let reloaded = stage.engine.reload(Options::default()).await;
    assert!(reloaded.expect("the ledger answers").is_ok());
    stage.pause("plugin:ocr@1.0.0", Manner::Hold).await;
    stage.dispatch().await;
    assert_eq!(stage.bus.accepted().len(), 0);
    (stage, id)
}

#[tokio::test]
async fn a_job_that_is_moved_is_held_for_the_plugin_that_decides_about_it_now() {
    let (stage, id) = held_while_a_new_version_is_there().await;
    assert_eq!(stage.engine.pauses().held(), 1);

    let moved = stage.engine.migrate(id, Generation(2), false).await;
    moved.expect("it decides the same");
    stage.pause("plugin:ocr@1.1.0", Manner::Hold).await;
    stage.resume("plugin:ocr@1.0.0").await;
    stage.dispatch().await;
    assert_eq!(stage.bus.accepted().len(), 0, "the new one is paused, too");

    stage.pause("plugin:ocr@1.0.0", Manner::Hold).await;
    stage.resume("plugin:ocr@1.1.0").await;
    stage.dispatch().await;
    assert_eq!(stage.bus.accepted().len(), 1, "only the old one is paused");
    assert_eq!(stage.engine.pauses().held(), 0);
}

#[tokio::test]
async fn jobs_that_are_held_go_on_once_they_are_moved_away_from_what_is_paused() {
    let (stage, id) = held_while_a_new_version_is_there().await;
    let moved = stage.engine.migrate(id, Generation(2), false).await;
    moved.expect("it decides the same");
    stage.dispatch().await;
    assert_eq!(stage.bus.accepted().len(), 1);
    assert_eq!(stage.engine.pauses().held(), 0);
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_job_that_is_cancelled_is_not_held_any_more() {
    let stage = Stage::new().await;
    stage.pause("everything", Manner::Hold).await;
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    stage.accepted("acme", "OCR", "doc-2").await;
    stage.dispatch().await;
    assert_eq!(stage.engine.pauses().held(), 2);
    stage.engine.cancel(id).await.expect("it is not over");
    stage.dispatch().await;
    assert_eq!(stage.engine.pauses().held(), 1);
}

/// More rows than one look takes are held, and stand before the row of another tenant.
#[tokio::test]
async fn held_rows_do_not_hide_others_from_the_scan() {
    let limits = Limits {
        tenant_inflight: 1_000,
        ..Limits::default()
    };
    let stage = Stage::with_limits(limits).await;
    stage.pause("tenant:acme", Manner::Hold).await;
    for number in 0..300 {
        stage
            .accepted("acme", "OCR", &format!("doc-{number}"))
            .await;
    }
    let lane = lucius_domain::routing::Lane::of("acme");
    let same_lane = (0..)
        .map(|number| format!("other-{number}"))
        .find(|tenant| lucius_domain::routing::Lane::of(tenant) == lane)
        .expect("there are many names");
    stage.later(1);
    let id = stage.accepted(&same_lane, "OCR", "doc").await;
    stage.dispatch().await;
    stage.dispatch().await;
    assert_eq!(stage.state(id).await, "DISPATCHING");
    assert_eq!(stage.bus.accepted().len(), 1);
}

#[tokio::test]
async fn limits_change_while_the_host_runs_and_who_is_in_stays_in() {
    let stage = Stage::new().await;
    stage.accepted("acme", "OCR", "doc-1").await;
    stage.accepted("acme", "OCR", "doc-2").await;
    let limits = Limits {
        tenant_inflight: 1,
        ..Limits::default()
    };
    stage.engine.set_limits(limits);
    let refusal = stage.refusal(command("acme", "OCR", "doc-3")).await;
    assert_eq!(refusal.code(), "TENANT_LIMIT");
    let standing = &stage.engine.gates().standings(&|_| None)[0];
    assert_eq!((standing.used, standing.limit, standing.refused), (2, 1, 1));
    assert_eq!(standing.fullest.as_deref(), Some("acme"));
    stage.engine.set_limits(Limits::default());
    stage.accepted("acme", "OCR", "doc-3").await;
    audit_with_gates(&stage).await;
}
