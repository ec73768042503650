//! Another program in the file, as an operator's `sqlite3` is: SQLite's own locks, which our own lock file does not
//! see.

use std::path::Path;
use std::sync::Arc;

use lucius_ports::conformance::ledger::play::{Draft, Play, START, accepted, job_id};
use lucius_ports::ledger::{Error, Ledger};
use lucius_sqlite::{Settings, SqliteLedger};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::task::JoinSet;

fn ledger() -> (TempDir, Arc<SqliteLedger>) {
    let directory = tempfile::tempdir().expect("there is room for a temporary directory");
    let ledger = SqliteLedger::open(directory.path(), Settings::default());
    (directory, ledger.expect("an empty directory will do"))
}

fn other(directory: &Path) -> Connection {
    Connection::open(directory.join("ledger.db")).expect("it can be opened beside the host")
}

fn count(connection: &Connection) -> i64 {
    connection
        .query_row("SELECT count(*) FROM jobs", [], |row| row.get(0))
        .expect("the file can be read")
}

/// How many write at once while the file is held.
const WRITERS: u64 = 40;

#[tokio::test]
async fn f11_while_another_program_writes_all_who_wait_are_refused_together_and_then_it_goes_on() {
    let (directory, ledger) = ledger();
    let other = other(directory.path());
    other
        .execute_batch("BEGIN IMMEDIATE")
        .expect("the file is free");
    let mut writers = JoinSet::new();
    for serial in 1..=WRITERS {
        let ledger = Arc::clone(&ledger);
        writers.spawn(async move {
            let (id, draft) = (job_id(START, serial), Draft::default());
            ledger.create(accepted(id, &draft), draft.key(id)).await
        });
    }
    while let Some(answer) = writers.join_next().await {
        let answer = answer.expect("no writer panics");
        assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
    }
    let waits = ledger.stats().failures;
    assert!(
        waits < 5,
        "{WRITERS} waited {waits} times, one after the other"
    );
    // What was read while the file was held is what was there before.
    let counts = ledger.counts().await.expect("reading goes on");
    assert!(counts.in_flight.values().all(|count| *count == 0));
    other.execute_batch("ROLLBACK").expect("it was begun");
    let play = Play::on(Arc::clone(&ledger) as _);
    let job = play.create(&Draft::default()).await;
    play.check(job.id).await;
    assert_eq!(count(&other), 1, "nobody who was refused is there");
}

#[tokio::test]
async fn f11_a_long_reader_keeps_what_it_saw_and_holds_up_no_commit() {
    let (directory, ledger) = ledger();
    let play = Play::on(Arc::clone(&ledger) as _);
    play.create(&Draft::default()).await;
    let other = other(directory.path());
    other.execute_batch("BEGIN").expect("anyone may read");
    assert_eq!(count(&other), 1);
    let mut jobs = Vec::new();
    for _ in 0..200 {
        jobs.push(play.create(&Draft::default()).await.id);
    }
    // As at a checkpoint, which can fold into the file only what nobody reads any more.
    let third = self::other(directory.path());
    let fold = third.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        row.get::<_, i64>(0)
    });
    fold.expect("a checkpoint does what it can");
    assert_eq!(count(&other), 1, "a reader sees one moment");
    other.execute_batch("COMMIT").expect("it was begun");
    assert_eq!(count(&other), 201);
    for job in jobs {
        play.check(job).await;
    }
}
