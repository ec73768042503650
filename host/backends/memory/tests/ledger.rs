//! The memory ledger keeps the promises of the port, and fails exactly when it is told to.

use std::sync::Arc;

use lucius_domain::id::Version;
use lucius_domain::transition::OutboxRow;
use lucius_memory::faulty::{Fault, Faulty};
use lucius_memory::ledger::MemoryLedger;
use lucius_memory::records::MemoryRecords;
use lucius_ports::conformance::ledger::differential::differential;
use lucius_ports::conformance::ledger::play::{Draft, Move, Play, START, accepted, change};
use lucius_ports::ledger::{Committed, Created, Error, Ledger};

mod memory {
    use super::*;
    lucius_ports::records_conformance!(Arc::new(MemoryRecords::new()));
    lucius_ports::ledger_conformance!(Arc::new(MemoryLedger::new()));
    lucius_ports::upkeep_conformance!(Arc::new(MemoryLedger::new()));
}

mod faulty_without_faults {
    use super::*;
    lucius_ports::ledger_conformance!(Arc::new(Faulty::new(Arc::new(MemoryLedger::new()))));
}

#[tokio::test]
async fn two_memory_ledgers_give_the_same_answers() {
    for seed in 0..20 {
        let (left, right) = (Arc::new(MemoryLedger::new()), Arc::new(MemoryLedger::new()));
        differential(left, right, seed, 400).await;
    }
}

#[tokio::test]
async fn outbox_rows_stay_after_they_are_settled() {
    let ledger = Arc::new(MemoryLedger::new());
    let play = Play::on(Arc::clone(&ledger) as Arc<dyn Ledger>);
    let id = play.create(&Draft::default()).await.id;
    assert_eq!(ledger.outbox(id), []);
    play.play(id, START, &[Move::Dispatch]).await;
    let [(0, _, OutboxRow::Pending { publish_at, .. })] = &ledger.outbox(id)[..] else {
        panic!("{:?}", ledger.outbox(id))
    };
    assert_eq!(*publish_at, START);
    play.play(id, START, &[Move::SucceedAndDispatch]).await;
    play.play(id, START, &[Move::Cancel]).await;
    let rows: Vec<_> = ledger
        .outbox(id)
        .into_iter()
        .map(|(step, _, row)| (step, row))
        .collect();
    assert_eq!(rows, [(0, OutboxRow::Sent), (1, OutboxRow::Cancelled)]);
}

#[tokio::test]
async fn a_call_that_fails_before_has_no_effect_and_one_that_fails_after_has() {
    let ledger = Arc::new(MemoryLedger::new());
    let faulty = Faulty::new(Arc::clone(&ledger) as Arc<dyn Ledger>);
    let play = Play::on(ledger);
    let job = play.create(&Draft::default()).await;
    faulty.fail_call(2, Fault::Before);
    faulty.fail_call(3, Fault::After);
    assert_eq!(
        faulty.load(job.id).await.expect("call 1 works"),
        Some(Arc::clone(&job))
    );
    let dispatched = change(&job, START, &[Move::Dispatch], 1).expect("its turn has come");
    let failed = faulty.commit(dispatched.clone()).await;
    assert!(matches!(failed, Err(Error::Unavailable(_))), "{failed:?}");
    assert_eq!(play.load(job.id).await.progress.version, Version(1));
    let failed = faulty.commit(dispatched.clone()).await;
    assert!(matches!(failed, Err(Error::Unavailable(_))), "{failed:?}");
    assert_eq!(play.load(job.id).await.progress.version, Version(2));
    assert_eq!(
        faulty.commit(dispatched).await.expect("call 4 works"),
        Committed::Conflict
    );
    assert_eq!((faulty.calls(), faulty.failed()), (4, 2));
}

#[tokio::test]
async fn an_outage_lasts_until_it_is_over() {
    let faulty = Faulty::new(Arc::new(MemoryLedger::new()));
    let draft = Draft::default();
    let id = Play::on(Arc::new(MemoryLedger::new())).id(START);
    faulty.set_outage(Some(Fault::Before));
    for _ in 0..3 {
        let failed = faulty.create(accepted(id, &draft), draft.key(id)).await;
        assert!(matches!(failed, Err(Error::Unavailable(_))), "{failed:?}");
    }
    faulty.set_outage(None);
    faulty.fail_next(Fault::After);
    let failed = faulty.create(accepted(id, &draft), draft.key(id)).await;
    assert!(matches!(failed, Err(Error::Unavailable(_))), "{failed:?}");
    let again = faulty.create(accepted(id, &draft), draft.key(id)).await;
    assert!(matches!(again, Ok(Created::Duplicate(_))), "{again:?}");
}
