//! Redrives: paced, cancellable, survived by none of the hosts that work on them; and draining dead-letter queues.

use lucius_domain::id::JobId;
use lucius_domain::routing::Lane;
use lucius_domain::signature::Signature;
use lucius_engine::gates::pause::{self, Manner, Pause};
use lucius_engine::redrive::{Error, Order, PluginChoice, Redrive, Selection, State, Target};
use lucius_engine::registry::Options;
use lucius_engine::settings::Limits;
use lucius_ports::bus::Subscription as _;

use crate::audit::audit_with_gates;
use crate::stage::{Stage, THREE, command, failure, publish_version};

pub(crate) fn order(selection: Selection) -> Order {
    Order {
        target: Target::Jobs { selection },
        rate: 2,
        version: PluginChoice::Pinned,
        requested_by: "test".to_owned(),
        reason: Some("the scanner is mended".to_owned()),
    }
}

/// Jobs that a worker has failed for good, oldest first.
pub(crate) async fn failed(stage: &Stage, tenant: &str, count: usize) -> Vec<JobId> {
    let mut jobs = Vec::new();
    for number in 0..count {
        let doc = format!("{tenant}-{number}");
        let job = stage.accepted(tenant, "OCR", &doc).await;
        let directive = stage.next_directive().await;
        let body = failure(&directive, stage.now(), "NON_RETRYABLE");
        assert!(stage.result(&directive, body).await.expect("it counts"));
        assert_eq!(stage.state(job).await, "FAILED_FINAL");
        jobs.push(job);
    }
    jobs
}

pub(crate) async fn begin(stage: &Stage, order: Order) -> Redrive {
    stage.engine.begin_redrive(order).await.expect("it begins")
}

pub(crate) async fn tick(stage: &Stage) -> u64 {
    stage
        .engine
        .redrive_tick()
        .await
        .expect("the ledger answers")
}

pub(crate) async fn status(stage: &Stage, redrive: &Redrive) -> Redrive {
    let status = stage.engine.redrive_status(redrive.id).await;
    status.expect("it is kept")
}

async fn under_way(stage: &Stage, jobs: &[JobId]) -> usize {
    let mut count = 0;
    for job in jobs {
        count += usize::from(stage.state(*job).await != "FAILED_FINAL");
    }
    count
}

#[tokio::test]
async fn a_redrive_starts_what_matches_at_its_pace_and_ends() {
    let stage = Stage::new().await;
    let ours = failed(&stage, "acme", 5).await;
    let others = failed(&stage, "beta", 1).await;
    let acme = Selection {
        tenant_id: Some("acme".into()),
        ..Selection::default()
    };
    let target = order(acme.clone()).target;
    let counted = stage.engine.count_redrive(&target).await.expect("counted");
    assert_eq!((counted.count, counted.exact), (5, true));
    let redrive = begin(&stage, order(acme)).await;
    assert_eq!(redrive.matched.count, 5);

    for (started, in_all) in [(2, 2), (0, 2)] {
        assert_eq!(tick(&stage).await, started, "two a second");
        assert_eq!(under_way(&stage, &ours).await, in_all);
    }
    stage.later(1_000);
    assert_eq!(tick(&stage).await, 2);
    stage.later(1_000);
    assert_eq!(tick(&stage).await, 1);
    stage.later(1_000);
    assert_eq!(tick(&stage).await, 0);
    let ended = status(&stage, &redrive).await;
    assert_eq!(
        (ended.state, ended.redriven, ended.refused),
        (State::Done, 5, 0)
    );
    assert_eq!(ended.ended_at, Some(stage.now()));
    assert_eq!(under_way(&stage, &ours).await, 5);
    assert_eq!(under_way(&stage, &others).await, 0);
    assert_eq!(stage.engine.redrives().await.expect("listed"), [ended]);
}

#[tokio::test]
async fn a_job_that_fails_again_is_not_started_again() {
    let stage = Stage::new().await;
    let jobs = failed(&stage, "acme", 1).await;
    let redrive = begin(&stage, order(Selection::default())).await;
    stage.later(1_000);
    assert_eq!(tick(&stage).await, 1);
    let directive = stage.next_directive().await;
    let body = failure(&directive, stage.now(), "NON_RETRYABLE");
    assert!(stage.result(&directive, body).await.expect("it counts"));
    failed(&stage, "beta", 2).await;
    for _ in 0..3 {
        stage.later(1_000);
        assert_eq!(tick(&stage).await, 0);
    }
    let ended = status(&stage, &redrive).await;
    assert_eq!((ended.state, ended.redriven), (State::Done, 1));
    assert_eq!(stage.state(jobs[0]).await, "FAILED_FINAL");
}

#[tokio::test]
async fn a_cancelled_redrive_starts_nothing_more() {
    let stage = Stage::new().await;
    let jobs = failed(&stage, "acme", 4).await;
    let redrive = begin(&stage, order(Selection::default())).await;
    assert_eq!(tick(&stage).await, 2);
    let cancelled = stage.engine.cancel_redrive(redrive.id).await;
    assert_eq!(cancelled.expect("it runs").state, State::Cancelled);
    stage.later(60_000);
    assert_eq!(tick(&stage).await, 0);
    assert_eq!(under_way(&stage, &jobs).await, 2);
    let again = stage.engine.cancel_redrive(redrive.id).await;
    assert_eq!(again.expect("it is cancelled").redriven, 2);

    let redrive = begin(&stage, order(Selection::default())).await;
    for _ in 0..3 {
        stage.later(1_000);
        tick(&stage).await;
    }
    let over = stage.engine.cancel_redrive(redrive.id).await;
    assert!(matches!(over, Err(Error::Over)), "{over:?}");
}

/// Whoever had some in hand died after starting them and before counting them.
#[tokio::test]
async fn a_redrive_survives_the_host_that_worked_on_it() {
    let stage = Stage::new().await;
    let jobs = failed(&stage, "acme", 3).await;
    let redrive = begin(&stage, order(Selection::default())).await;
    let mut held = status(&stage, &redrive).await;
    held.in_hand = vec![jobs[2], jobs[1]];
    held.after = Some(jobs[1]);
    held.next_at = stage.now().plus_ms(60_000);
    stage.overwrite(&held).await;
    let started = stage.engine.redrive(jobs[2]).await;
    assert_eq!(
        started.expect("it had failed").progress.status.name(),
        "QUEUED"
    );

    let other = stage.restarted().await;
    other.later(59_000);
    assert_eq!(tick(&other).await, 0, "somebody may still be at it");
    other.later(1_000);
    assert_eq!(tick(&other).await, 2, "one was started before, one is now");
    for _ in 0..2 {
        other.later(2_000);
        tick(&other).await;
    }
    let ended = status(&other, &redrive).await;
    assert_eq!((ended.state, ended.redriven), (State::Done, 3));
    assert_eq!(under_way(&other, &jobs).await, 3);
    for job in jobs {
        let events = other.events(job).await;
        let redriven = events.iter().filter(|name| **name == "redriven").count();
        assert_eq!(redriven, 1, "{events:?}");
    }
}

#[tokio::test]
async fn two_hosts_share_a_redrive_and_start_each_job_once() {
    let one = Stage::new().await;
    let jobs = failed(&one, "acme", 6).await;
    let redrive = begin(&one, order(Selection::default())).await;
    let two = one
        .world
        .open(one.settings.clone())
        .await
        .expect("a second host");
    for _ in 0..4 {
        let (first, second) = tokio::join!(one.engine.redrive_tick(), two.engine.redrive_tick());
        let started = first.expect("it answers") + second.expect("it answers");
        assert!(
            started <= 2,
            "the pace is that of the redrive, not of each host"
        );
        one.later(1_000);
    }
    let ended = status(&two, &redrive).await;
    assert_eq!((ended.state, ended.redriven), (State::Done, 6));
    for job in jobs {
        let events = one.events(job).await;
        let redriven = events.iter().filter(|name| **name == "redriven").count();
        assert_eq!(redriven, 1, "{events:?}");
    }
}

#[tokio::test]
async fn failures_are_shown_by_reason_with_their_newest_jobs() {
    let stage = Stage::new().await;
    let jobs = failed(&stage, "acme", 5).await;
    let groups = stage.engine.dead_letters(None, 9).await.expect("groups");
    let [group] = &groups[..] else {
        panic!("one reason: {groups:?}")
    };
    let job = stage.job(jobs[0]).await;
    assert_eq!(Some(&group.signature), Signature::of(&job).as_ref());
    assert_eq!(group.count, 5);
    let samples: Vec<_> = group.samples.iter().map(|job| job.id).collect();
    assert_eq!(samples, [jobs[4], jobs[3], jobs[2]]);
    let nobody = stage.engine.dead_letters(Some(&"nobody".into()), 9).await;
    assert_eq!(nobody.expect("groups").len(), 0);
}

/// Lets the bus give up on the message of the attempt that is under way.
async fn give_up(stage: &Stage) -> Lane {
    let lane = Lane::of("acme");
    let subscription = stage.bus.subscription(lane, &"platform-ocr".into());
    for _ in 0..10 {
        let held = subscription.peek_lock(std::time::Duration::ZERO).await;
        let held = held.expect("the bus is up").expect("it is there");
        subscription.abandon(&held).await.expect("the bus is up");
    }
    lane
}

#[tokio::test]
async fn a_dead_message_is_sent_again_while_its_attempt_waits_for_it() {
    let stage = Stage::new().await;
    stage.accepted("acme", "OCR", "a").await;
    let first = stage.next_directive().await;
    let lane = give_up(&stage).await;
    let queues = stage.engine.dead_queues().await.expect("the bus is up");
    assert_eq!((queues.len(), queues[0].messages), (1, 1));
    let drain = Order {
        target: Target::Bus {
            lane,
            service: "platform-ocr".into(),
        },
        ..order(Selection::default())
    };
    let redrive = begin(&stage, drain).await;
    assert_eq!(redrive.matched.count, 1);
    assert_eq!(tick(&stage).await, 1);
    let again = stage.directives().pop().expect("it was sent again");
    assert_eq!(again, first);
    let ended = status(&stage, &redrive).await;
    assert_eq!(
        (ended.state, ended.redriven, ended.refused),
        (State::Done, 1, 0)
    );
    assert!(stage.ack(&again).await.expect("the ACK counts"));
}

#[tokio::test]
async fn a_dead_message_of_an_attempt_that_is_over_is_dropped() {
    let stage = Stage::new().await;
    let job = stage.accepted("acme", "OCR", "a").await;
    stage.next_directive().await;
    let lane = give_up(&stage).await;
    stage.engine.cancel(job).await.expect("it is under way");
    stage.after(60_000).await;
    let sent = stage.bus.accepted().len();
    let drained = stage.engine.drain_one(lane, &"platform-ocr".into()).await;
    let drained = drained.expect("bus and ledger answer");
    assert_eq!(drained, Some(lucius_engine::dead_letters::Drained::Dropped));
    assert_eq!(stage.bus.accepted().len(), sent);
}

#[tokio::test]
async fn a_redrive_passes_the_gates_and_says_what_it_waits_for() {
    let limits = Limits {
        tenant_inflight: 1,
        ..Limits::default()
    };
    let stage = Stage::with_limits(limits).await;
    let jobs = failed(&stage, "acme", 3).await;
    let redrive = begin(&stage, order(Selection::default())).await;
    assert_eq!(tick(&stage).await, 1, "there is one place");
    let waits = status(&stage, &redrive).await;
    assert_eq!(waits.waits_for.as_deref(), Some("tenant_inflight"));
    assert_eq!((waits.redriven, waits.refused), (1, 0));
    assert_eq!(under_way(&stage, &jobs).await, 1);
    audit_with_gates(&stage).await;

    // Nobody gets past the gate meanwhile, by no way.
    let refused = stage.refusal(command("acme", "OCR", "new")).await;
    assert_eq!(refused.code(), "TENANT_LIMIT");
    for job in &jobs {
        if stage.state(*job).await == "FAILED_FINAL" {
            let refused = stage
                .engine
                .redrive(*job)
                .await
                .expect_err("there is no place");
            assert_eq!(refused.code(), "TENANT_LIMIT");
        }
    }
    for started in [1, 1, 0] {
        stage.dispatch().await;
        for directive in stage.directives() {
            let _stale = stage.succeed(&directive).await;
        }
        stage.later(1_000);
        assert_eq!(tick(&stage).await, started);
    }
    stage.later(1_000);
    tick(&stage).await;
    let ended = status(&stage, &redrive).await;
    assert_eq!((ended.state, ended.redriven), (State::Done, 3));
    assert_eq!(ended.waits_for, None);
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_redrive_waits_while_its_jobs_are_paused_and_refused() {
    let stage = Stage::new().await;
    let jobs = failed(&stage, "acme", 1).await;
    let target = pause::Target::parse("tenant:acme").expect("a target");
    let paused = stage.engine.pauses().pause(Pause {
        target: target.clone(),
        manner: Manner::Refuse,
        since: stage.now(),
        by: "test".to_owned(),
        reason: None,
    });
    paused.await.expect("the records answer");
    let redrive = begin(&stage, order(Selection::default())).await;
    assert_eq!(tick(&stage).await, 0);
    let waits = status(&stage, &redrive).await;
    assert_eq!(waits.waits_for.as_deref(), Some("pause tenant:acme"));
    let refused = stage
        .engine
        .redrive(jobs[0])
        .await
        .expect_err("it is paused");
    assert_eq!(refused.code(), "PAUSED");
    let resumed = stage.engine.pauses().resume(&target, stage.now()).await;
    assert!(resumed.expect("the records answer"));
    stage.later(1_000);
    assert_eq!(tick(&stage).await, 1);
}

#[tokio::test]
async fn a_redrive_does_not_wait_for_a_plugin_that_it_moves_away_from() {
    let stage = Stage::new().await;
    let jobs = failed(&stage, "acme", 1).await;
    publish_version(&stage.source, "1.1.0", |_| {});
    let reloaded = stage.engine.reload(Options::default()).await;
    assert!(reloaded.expect("the ledger answers").is_ok());
    let latest = Order {
        version: PluginChoice::Latest,
        ..order(Selection::default())
    };
    let redrive = begin(&stage, latest).await;
    stage.pause("plugin:ocr@1.1.0", Manner::Refuse).await;
    assert_eq!(tick(&stage).await, 0);
    let waits = status(&stage, &redrive).await;
    assert_eq!(waits.waits_for.as_deref(), Some("pause plugin:ocr@1.1.0"));

    stage.pause("plugin:ocr@1.0.0", Manner::Refuse).await;
    stage.resume("plugin:ocr@1.1.0").await;
    stage.later(1_000);
    assert_eq!(tick(&stage).await, 1);
    assert_eq!(under_way(&stage, &jobs).await, 1);
}

#[tokio::test]
async fn a_pause_of_a_plugin_whose_steps_are_over_stops_no_redrive() {
    let stage = Stage::new().await;
    let job = stage.accepted("acme", THREE, "doc-1").await;
    stage.work_one().await;
    let directive = stage.next_directive().await;
    let body = failure(&directive, stage.now(), "NON_RETRYABLE");
    assert!(stage.result(&directive, body).await.expect("it counts"));
    stage.pause("plugin:sis@1.0.0", Manner::Refuse).await;
    let refused = stage.engine.redrive(job).await.expect_err("sis is to come");
    assert_eq!(refused.code(), "PAUSED");
    stage.resume("plugin:sis@1.0.0").await;
    stage.pause("plugin:ocr@1.0.0", Manner::Refuse).await;
    stage.engine.redrive(job).await.expect("ocr is over");
}
