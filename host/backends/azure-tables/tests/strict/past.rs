//! Jobs that ended long ago: who finds them, and what a crash half way leaves.

use std::sync::Arc;

use lucius_domain::id::JobId;
use lucius_domain::time::Timestamp;
use lucius_ports::conformance::ledger::play::{Draft, KINDS, Move, Play, START, change, lane};
use lucius_ports::ledger::{Committed, Filter, Ledger as _};
use lucius_ports::upkeep::Upkeep as _;

use crate::model::{GOOD, Model};
use crate::rig::{make_tables, open};

/// After the end of every job here.
const LATER: Timestamp = Timestamp(START.0 + 60_000);

async fn model() -> Arc<Model> {
    let model = Arc::new(Model::new(GOOD, 1));
    make_tables(&model).await;
    model
}

/// How many entities there are of jobs, in all tables.
fn left(model: &Model) -> usize {
    let tables = ["jobs", "tenants", "due", "ended"];
    let of = |table: &&str| model.entities(&format!("lucius{table}"));
    tables.iter().map(of).sum()
}

async fn ended(model: &Arc<Model>, moves: &[Move]) -> JobId {
    let play = Play::on(open(model, 8).await);
    let id = play.create(&Draft::default()).await.id;
    play.play(id, START, moves).await;
    id
}

#[tokio::test]
async fn a_job_that_a_dead_host_ended_is_found_by_another() {
    let model = model().await;
    // The first host dies before it writes down that the job ended.
    let dead = open(&model, 8).await;
    let job = Play::on(Arc::clone(&dead) as _)
        .create(&Draft::default())
        .await;
    let cancelled = change(&job, START, &[Move::Cancel], 1).unwrap();
    assert_eq!(dead.commit(cancelled).await.unwrap(), Committed::Done);
    drop(dead);
    let host = open(&model, 9).await;
    assert_eq!(host.purge(LATER, 9).await.unwrap(), 0, "nobody has seen it");
    assert_eq!(host.due(lane(3), &KINDS, LATER, 9).await.unwrap(), []);
    assert_eq!(host.purge(LATER, 9).await.unwrap(), 1);
    assert_eq!(left(&model), 0);
}

#[tokio::test]
async fn f5_a_purge_that_dies_anywhere_is_finished_by_the_next() {
    for died_after in 0.. {
        let model = model().await;
        let moves = [Move::Dispatch, Move::Sent, Move::Ack, Move::FailFinally];
        let id = ended(&model, &moves).await;
        let host = open(&model, 9).await;
        host.due(lane(3), &KINDS, LATER, 9).await.unwrap();
        let requests = model.requests();
        let mut purging = std::pin::pin!(host.purge(LATER, 9));
        let mut over = false;
        while !over && model.requests() - requests < died_after {
            over = futures_util::poll!(purging.as_mut()).is_ready();
        }
        let next = open(&model, 10).await;
        let whole = next.load(id).await.unwrap().is_some();
        let events = next.events(id, 0, 99).await.unwrap();
        assert_eq!(events.is_empty(), !whole, "after {died_after} requests");
        next.purge(LATER, 9).await.unwrap();
        assert_eq!(left(&model), 0, "after {died_after} requests");
        if over {
            assert!(died_after > 5, "it was to be stopped several times");
            return;
        }
    }
}

#[tokio::test]
async fn a_job_of_more_rows_than_a_transaction_takes_goes_as_a_whole() {
    let model = model().await;
    let host = open(&model, 9).await;
    let play = Play::on(Arc::clone(&host) as _);
    let id = play.create(&Draft::default()).await.id;
    for _ in 0..60 {
        play.play(id, START, &[Move::RejectRoute]).await;
        play.play(id, START, &[Move::Redrive]).await;
    }
    play.play(id, START, &[Move::Cancel]).await;
    assert!(model.entities("luciusjobs") > 100);
    assert_eq!(host.purge(LATER, 9).await.unwrap(), 1);
    assert_eq!(left(&model), 0);
}

#[tokio::test]
async fn a_job_that_was_redriven_goes_by_its_last_end() {
    let model = model().await;
    let host = open(&model, 9).await;
    let play = Play::on(Arc::clone(&host) as _);
    let id = play.create(&Draft::default()).await.id;
    play.play(id, START, &[Move::RejectRoute]).await;
    host.due(lane(3), &KINDS, START, 9).await.unwrap();
    play.play(id, START.plus_ms(5_000), &[Move::Redrive]).await;
    assert_eq!(host.purge(START.plus_ms(1), 9).await.unwrap(), 0);
    play.play(id, START.plus_ms(9_000), &[Move::RejectRoute])
        .await;
    assert_eq!(host.purge(START.plus_ms(9_000), 9).await.unwrap(), 0);
    let all = Filter {
        limit: 9,
        ..Filter::default()
    };
    assert_eq!(host.list(all).await.unwrap().len(), 1);
    assert_eq!(host.purge(START.plus_ms(9_001), 9).await.unwrap(), 1);
    assert_eq!(left(&model), 0);
}

#[tokio::test]
async fn f41_a_job_that_a_later_version_wrote_stays_and_the_others_are_due_and_go() {
    let model = model().await;
    let play = Play::on(open(&model, 8).await);
    let over = play.create(&Draft::default()).await.id;
    play.play(over, START, &[Move::RejectRoute]).await;
    let host = open(&model, 9).await;
    host.due(lane(3), &KINDS, LATER, 9).await.unwrap();
    play.create(&Draft::default()).await;
    model.alter("luciusjobs", "job", "mode", "WARP");
    let rows = left(&model);

    let ours = play.create(&Draft::default()).await.id;
    let host = open(&model, 10).await;
    let due = host.due(lane(3), &KINDS, LATER, 9).await.unwrap();
    assert_eq!(due, [ours], "the others are left alone");
    play.play(ours, START, &[Move::RejectRoute]).await;
    let host = open(&model, 11).await;
    host.due(lane(3), &KINDS, LATER, 9).await.unwrap();
    assert_eq!(host.purge(LATER, 9).await.unwrap(), 1);
    assert_eq!(left(&model), rows, "what is not understood is all there");
}
