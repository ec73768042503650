//! The SQLite ledger keeps the promises of the port, answers as the memory ledger does, and keeps what it was told
//! when it is opened again.

use std::path::Path;
use std::sync::Arc;

use lucius_memory::ledger::MemoryLedger;
use lucius_ports::conformance::ledger::differential::differential;
use lucius_ports::conformance::ledger::play::{Draft, Move, Play, START, accepted, lane};
use lucius_ports::conformance::ledger::reopen::everything_survives_being_reopened;
use lucius_ports::ledger::{Error, Ledger};
use lucius_sqlite::{Settings, SqliteLedger, Stats};
use tempfile::TempDir;
use tokio::task::JoinSet;

fn directory() -> TempDir {
    tempfile::tempdir().expect("there is room for a temporary directory")
}

fn open(directory: &Path, settings: Settings) -> Arc<SqliteLedger> {
    SqliteLedger::open(directory, settings).expect("a usable directory gives a ledger")
}

/// Narrow in everything, so that batches, the queue and the cache come to their limits.
fn narrow() -> Settings {
    Settings {
        queue: 2,
        batch: 3,
        readers: 1,
        hot_jobs: 4,
    }
}

mod as_shipped {
    use super::*;
    lucius_ports::records_conformance!(open(directory().path(), Settings::default()));
    lucius_ports::ledger_conformance!(open(directory().path(), Settings::default()));
    lucius_ports::upkeep_conformance!(open(directory().path(), Settings::default()));
}

mod with_little_room {
    use super::*;
    lucius_ports::records_conformance!(open(directory().path(), narrow()));
    lucius_ports::ledger_conformance!(open(directory().path(), narrow()));
    lucius_ports::upkeep_conformance!(open(directory().path(), narrow()));
}

mod without_a_cache {
    use super::*;
    lucius_ports::ledger_conformance!(open(
        directory().path(),
        Settings {
            hot_jobs: 0,
            ..Settings::default()
        }
    ));
}

#[tokio::test]
async fn it_answers_as_the_memory_ledger_does() {
    for seed in 0..8 {
        let directory = directory();
        let settings = if seed % 2 == 0 {
            Settings::default()
        } else {
            narrow()
        };
        let sqlite = open(directory.path(), settings);
        differential(Arc::new(MemoryLedger::new()), sqlite, seed, 400).await;
    }
}

#[tokio::test]
async fn everything_is_there_when_it_is_opened_again() {
    let directory = directory();
    everything_survives_being_reopened(async || open(directory.path(), Settings::default())).await;
}

#[tokio::test]
async fn after_closing_what_was_waiting_is_written_and_others_may_open() {
    let directory = directory();
    let ledger = open(directory.path(), Settings::default());
    let play = Play::on(Arc::clone(&ledger) as Arc<dyn Ledger>);
    let draft = Draft::default();
    let mut creating = JoinSet::new();
    let ids: Vec<_> = (0..50).map(|_| play.id(START)).collect();
    for id in ids.clone() {
        let (ledger, change, key) = (Arc::clone(&ledger), accepted(id, &draft), draft.key(id));
        creating.spawn(async move { ledger.create(change, key).await });
    }
    creating.join_all().await;
    assert_eq!(ledger.health(), Ok(()));
    ledger.close().await;
    ledger.close().await;
    assert_eq!(ledger.health(), Err("the ledger is closed".to_owned()));
    let refused = ledger
        .create(accepted(play.id(START), &draft), draft.key(ids[0]))
        .await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    let refused = ledger.counts().await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    let again = Play::on(open(directory.path(), Settings::default()));
    for id in ids {
        again.check(id).await;
    }
}

#[tokio::test]
async fn many_commits_share_a_transaction_and_are_counted() {
    let directory = directory();
    let ledger = open(directory.path(), Settings::default());
    assert_eq!(ledger.stats(), Stats::default());
    let play = Arc::new(Play::on(Arc::clone(&ledger) as Arc<dyn Ledger>));
    let mut driving = JoinSet::new();
    for number in 0..64 {
        let play = Arc::clone(&play);
        driving.spawn(async move {
            let draft = Draft {
                lane: lane(number),
                ..Draft::default()
            };
            let id = play.create(&draft).await.id;
            play.play(id, START, &[Move::Dispatch]).await;
            play.play(id, START, &[Move::Sent]).await;
        });
    }
    driving.join_all().await;
    let stats = ledger.stats();
    assert_eq!(
        (stats.commits, stats.conflicts, stats.failures),
        (192, 0, 0)
    );
    assert!(stats.transactions < 192, "{stats:?}");
}
