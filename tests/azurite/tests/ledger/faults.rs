//! The table ledger on Azurite through a proxy that fails on purpose.

use std::sync::Arc;

use lucius_azure_tables::{Retry, TableLedger};
use lucius_azurite::proxy::{Fault, Proxy};
use lucius_azurite::{emulator, proxy};
use lucius_ports::conformance::ledger::play::{Draft, Move, Play, START, accepted, change, job_id};
use lucius_ports::ledger::{Committed, Created, Error, Ledger};
use tokio::sync::OnceCell;

use crate::rig::Home;

/// Many tries with short waits, so that a test of what happens in between is no test of luck.
fn patient() -> Retry {
    Retry {
        tries: 30,
        base: std::time::Duration::from_millis(5),
        cap: std::time::Duration::from_millis(50),
        budget: 1_000_000,
    }
}

async fn behind(seed: u64) -> (Proxy, Arc<TableLedger>) {
    let proxy = proxy::Proxy::start(emulator::tables().await.port(), seed).await;
    let home = Home::behind(emulator::connection_at(proxy.port()), patient()).await;
    let ledger = home.open().await;
    (proxy, ledger)
}

/// One proxy for all cases of the suite, with one request in twelve going wrong.
async fn failing() -> Arc<TableLedger> {
    static PORT: OnceCell<u16> = OnceCell::const_new();
    let start = async || Proxy::lasting(emulator::tables().await.port(), 7, 12);
    let port = *PORT.get_or_init(start).await;
    let home = Home::behind(emulator::connection_at(port), patient()).await;
    home.open().await
}

mod with_one_request_in_twelve_going_wrong {
    use super::failing;

    lucius_ports::ledger_conformance!(failing().await);
    lucius_ports::records_conformance!(failing().await);
    lucius_ports::upkeep_conformance!(failing().await);
}

#[tokio::test]
async fn f32_a_commit_whose_answer_is_lost_is_known_to_be_durable() {
    let (proxy, ledger) = behind(1).await;
    let play = Play::on(Arc::clone(&ledger) as _);
    for fault in [
        Fault::CutAfter,
        Fault::HalfAnswer,
        Fault::CutBefore,
        Fault::Busy,
    ] {
        let job = play.create(&Draft::default()).await;
        let dispatched = change(&job, START, &[Move::Dispatch], 1).unwrap();
        proxy.fail_next(fault);
        let committed = ledger.commit(dispatched).await.unwrap();
        assert_eq!(committed, Committed::Done, "{fault:?}");
        play.check(job.id).await;
    }
    assert_eq!(proxy.faults(), 4);
}

#[tokio::test]
async fn f31_a_burst_of_503_is_waited_out_and_one_without_end_is_told_to_whoever_asks() {
    let (proxy, ledger) = behind(4).await;
    let play = Play::on(Arc::clone(&ledger) as _);
    let job = play.create(&Draft::default()).await;
    proxy.fail_many(Fault::Busy, 20);
    let dispatched = change(&job, START, &[Move::Dispatch], 1).unwrap();
    assert_eq!(ledger.commit(dispatched).await.unwrap(), Committed::Done);
    assert_eq!(
        proxy.faults(),
        20,
        "each was met, and none of them was taken for a failure"
    );
    let job = play.check(job.id).await;

    proxy.fail_many(Fault::Busy, u64::MAX);
    let cancelled = change(&job, START, &[Move::Cancel], 2).unwrap();
    let refused = ledger.commit(cancelled.clone()).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    proxy.fail_many(Fault::Busy, 1);
    assert_eq!(ledger.commit(cancelled).await.unwrap(), Committed::Done);
    play.check(job.id).await;
}

#[tokio::test]
async fn f32_a_commit_that_lost_is_not_taken_for_ones_own() {
    let (proxy, ledger) = behind(2).await;
    let play = Play::on(Arc::clone(&ledger) as _);
    let job = play.create(&Draft::default()).await;
    let ours = change(&job, START, &[Move::Dispatch], 1).unwrap();
    play.play(job.id, START, &[Move::Cancel]).await;
    proxy.fail_next(Fault::CutAfter);
    assert_eq!(ledger.commit(ours).await.unwrap(), Committed::Conflict);
}

#[tokio::test]
async fn f1_a_create_whose_answer_is_lost_makes_one_job_and_says_so() {
    let (proxy, ledger) = behind(3).await;
    for (serial, fault) in [
        (1, Fault::CutAfter),
        (2, Fault::HalfAnswer),
        (3, Fault::CutBefore),
    ] {
        let id = job_id(START, serial);
        let draft = Draft::default();
        proxy.fail_next(fault);
        let created = ledger.create(accepted(id, &draft), draft.key(id)).await;
        assert_eq!(created.unwrap(), Created::New, "{fault:?}");
        let again = ledger.create(accepted(job_id(START, 90 + serial), &draft), draft.key(id));
        assert!(matches!(again.await.unwrap(), Created::Duplicate(job) if job.id == id));
    }
}
