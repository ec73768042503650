//! What a crash between two writes leaves behind, and what becomes of it.

use std::sync::Arc;

use lucius_domain::id::Digest;
use lucius_domain::time::Timestamp;
use lucius_ports::conformance::ledger::play::{
    Draft, KINDS, Move, Play, START, accepted, job_id, lane,
};
use lucius_ports::ledger::{Created, Error, Filter, Idempotency, Ledger};

use crate::model::{GOOD, Model};
use crate::rig::{make_tables, open};

async fn model() -> Arc<Model> {
    let model = Arc::new(Model::new(GOOD, 1));
    make_tables(&model).await;
    model
}

/// A host that dies after its side rows are written: its future is dropped at its third write.
async fn crash_in_create(model: &Arc<Model>, key: &Idempotency, serial: u64) {
    let host = open(model, serial).await;
    let draft = Draft::default();
    let change = accepted(job_id(START, serial), &draft);
    let mut creating = std::pin::pin!(host.create(change, key.clone()));
    while model.entities("luciustenants") < 2 || model.entities("luciusdue") < 1 {
        let step = futures_util::poll!(creating.as_mut());
        assert!(step.is_pending(), "it was to die before the job is made");
    }
    assert_eq!(model.entities("luciusjobs"), 0);
}

fn key(body: &[u8]) -> Idempotency {
    Idempotency::key_of(Some("k"), Digest::of(body))
}

#[tokio::test]
async fn f1_a_key_whose_job_never_came_is_taken_over_by_the_same_command() {
    let model = model().await;
    crash_in_create(&model, &key(b"one"), 1).await;
    let host = open(&model, 9).await;
    let second = accepted(job_id(START, 2), &Draft::default());
    assert_eq!(
        host.create(second, key(b"one")).await.unwrap(),
        Created::New
    );
    let listed = host
        .list(Filter {
            limit: 9,
            ..Filter::default()
        })
        .await
        .unwrap();
    assert_eq!(listed.len(), 1);
    Play::on(host).check(job_id(START, 2)).await;
}

#[tokio::test]
async fn f1_a_key_whose_job_never_came_does_not_block_another_command() {
    let model = model().await;
    crash_in_create(&model, &key(b"one"), 1).await;
    let host = open(&model, 9).await;
    let tenant = Draft::default().spec().tenant_id.clone();
    assert_eq!(host.find(&tenant, &key(b"two")).await.unwrap(), None);
    let second = accepted(job_id(START, 2), &Draft::default());
    assert_eq!(
        host.create(second, key(b"two")).await.unwrap(),
        Created::New
    );
}

#[tokio::test]
async fn f15_a_host_that_slept_through_a_take_over_creates_nothing() {
    let model = model().await;
    let asleep = open(&model, 8).await;
    let change = accepted(job_id(START, 1), &Draft::default());
    let mut creating = std::pin::pin!(asleep.create(change, key(b"one")));
    while model.entities("luciustenants") < 2 || model.entities("luciusdue") < 1 {
        assert!(futures_util::poll!(creating.as_mut()).is_pending());
    }
    let awake = open(&model, 9).await;
    let second = accepted(job_id(START, 2), &Draft::default());
    assert_eq!(
        awake.create(second, key(b"one")).await.unwrap(),
        Created::New
    );
    assert!(matches!(creating.await, Err(Error::Unavailable(_))));
    assert_eq!(awake.load(job_id(START, 1)).await.unwrap(), None);
}

#[tokio::test]
async fn the_due_row_of_a_job_that_never_came_is_cleared_away_in_time() {
    let model = model().await;
    crash_in_create(&model, &key(b"one"), 1).await;
    let host = open(&model, 9).await;
    let end = Timestamp(i64::MAX);
    assert_eq!(host.due(lane(3), &KINDS, end, 10).await.unwrap(), []);
    assert_eq!(
        model.entities("luciusdue"),
        1,
        "its host may be about to make the job"
    );
    model.clock.advance(3_600_000);
    for _ in 0..2 {
        assert_eq!(host.due(lane(3), &KINDS, end, 10).await.unwrap(), []);
    }
    assert_eq!(model.entities("luciusdue"), 0);
}

#[tokio::test]
async fn a_job_that_is_over_leaves_no_due_row() {
    let model = model().await;
    let host = open(&model, 9).await;
    let play = Play::on(Arc::clone(&host) as _);
    for ending in [Move::Cancel, Move::RejectRoute] {
        let id = play.create(&Draft::default()).await.id;
        play.play(id, START, &[ending]).await;
    }
    host.due(lane(3), &KINDS, START, 10).await.unwrap();
    assert_eq!(model.entities("luciusdue"), 0);
}

#[tokio::test]
async fn a_job_that_another_host_moved_on_is_seen_within_seconds() {
    let model = model().await;
    let (one, other) = (open(&model, 8).await, open(&model, 9).await);
    let (one, other) = (Play::on(one), Play::on(other));
    let id = one.create(&Draft::default()).await.id;
    for moves in [[Move::Dispatch], [Move::Sent], [Move::Ack]] {
        other.play(id, START, &moves).await;
        one.load(id).await;
    }
    other.play(id, START, &[Move::SucceedAndDispatch]).await;
    let dispatch = [lucius_domain::job::DueKind::Dispatch];
    assert_eq!(
        one.due(lane(3), &dispatch, START).await,
        [],
        "it was just seen at work"
    );
    model.clock.advance(10_001);
    assert_eq!(one.due(lane(3), &dispatch, START).await, [id]);
}
