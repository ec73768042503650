//! What the writer tells its callers when a transaction does not come off.

use std::path::Path;

use lucius_domain::job::Job;
use lucius_domain::transition::Change;
use lucius_ports::conformance::ledger::generations::record;
use lucius_ports::conformance::ledger::play::{Draft, Move, START, accepted, change, job_id};
use rusqlite::ffi;
use tokio::sync::oneshot::Receiver;

use super::*;

/// A writer that is driven by hand.
fn writer(directory: &Path) -> Writer {
    let place = Place::take(directory).expect("nobody else has it");
    let connection = place.open_writer().expect("a new ledger");
    let (_, queue) = mpsc::channel(1);
    let shared = Shared {
        hot: Arc::new(HotJobs::new(100)),
        counters: Arc::default(),
        broken: Arc::new(OnceLock::new()),
    };
    Writer {
        connection,
        place,
        queue,
        batch_limit: 10,
        shared,
    }
}

fn create(serial: u64) -> (Request, Receiver<Result<CreateOutcome, Error>>) {
    let (draft, id) = (Draft::default(), job_id(START, serial));
    let new = NewJob::new(accepted(id, &draft), draft.key(id)).expect("it can be encoded");
    let (answer, answered) = oneshot::channel();
    (Request::Create(Box::new(new), answer), answered)
}

fn commit(change: Encoded) -> (Request, Receiver<Result<Committed, Error>>) {
    let (answer, answered) = oneshot::channel();
    (Request::Commit(Box::new(change), answer), answered)
}

fn dispatched(job: &Job) -> Encoded {
    let change: Change = change(job, START, &[Move::Dispatch], 1).expect("its turn has come");
    Encoded::new(change).expect("it can be encoded")
}

fn job(serial: u64) -> Arc<Job> {
    accepted(job_id(START, serial), &Draft::default()).job
}

fn rows(of: &Writer, table: &str) -> i64 {
    let count = format!("SELECT count(*) FROM {table}");
    of.connection
        .query_row(&count, [], |row| row.get(0))
        .expect(table)
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("there is room for a temporary directory")
}

#[test]
fn a_failed_sync_is_never_tried_again_and_a_full_disk_is() {
    let failure = |code| Failure::of(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
    assert_eq!(failure(ffi::SQLITE_IOERR_FSYNC), Failure::Fatal);
    assert_eq!(failure(ffi::SQLITE_IOERR_WRITE), Failure::Fatal);
    assert_eq!(failure(ffi::SQLITE_CORRUPT), Failure::Fatal);
    assert_eq!(failure(ffi::SQLITE_FULL), Failure::NoRoom);
    assert_eq!(failure(ffi::SQLITE_CONSTRAINT), Failure::Other);
    assert_eq!(failure(ffi::SQLITE_BUSY), Failure::Busy);
}

#[test]
fn a_full_disk_refuses_everything_whole_and_goes_on_when_there_is_room() {
    let directory = directory();
    let mut writer = writer(directory.path());
    let limit = |writer: &Writer, pages: i64| {
        let set = writer
            .connection
            .pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, i64>(0));
        set.expect("it can be set")
    };
    limit(&writer, 1); // as few as there are
    let mut stored = 0;
    let refused = loop {
        let (request, mut answered) = create(stored);
        assert!(
            writer.serve(&mut vec![request]) == Next::Batch,
            "a full disk is no reason to stop"
        );
        match answered.try_recv().expect("it is answered") {
            Ok(outcome) => assert!(matches!(outcome, CreateOutcome::New { .. }), "{outcome:?}"),
            Err(error) => break error,
        }
        stored += 1;
        assert!(stored < 10_000, "the limit holds");
    };
    assert!(matches!(refused, Error::Unavailable(_)), "{refused}");
    assert!(writer.shared.broken.get().is_none());
    assert!(
        writer.connection.is_autocommit(),
        "no transaction is left open"
    );
    for table in ["jobs", "specs", "events", "idempotency"] {
        assert_eq!(u64::try_from(rows(&writer, table)), Ok(stored), "{table}");
    }
    assert!(writer.shared.hot.get(job_id(START, stored)).is_none());
    limit(&writer, 1_000_000);
    let (request, mut answered) = create(stored);
    assert!(writer.serve(&mut vec![request]) == Next::Batch);
    let outcome = answered
        .try_recv()
        .expect("it is answered")
        .expect("there is room");
    assert!(matches!(outcome, CreateOutcome::New { .. }), "{outcome:?}");
}

#[test]
fn one_change_that_cannot_be_written_does_not_take_the_others_down() {
    let directory = directory();
    let mut writer = writer(directory.path());
    for serial in 0..3 {
        assert!(writer.serve(&mut vec![create(serial).0]) == Next::Batch);
    }
    let poisoned = Encoded {
        last_seq: 1,
        ..dispatched(&job(1))
    }; // that number is taken
    let (first, mut first_answered) = commit(dispatched(&job(0)));
    let (second, mut second_answered) = commit(poisoned);
    let (third, mut third_answered) = commit(dispatched(&job(2)));
    assert!(writer.serve(&mut vec![first, second, third]) == Next::Batch);
    for answered in [&mut first_answered, &mut third_answered] {
        let committed = answered
            .try_recv()
            .expect("it is answered")
            .expect("it is sound");
        assert_eq!(committed, Committed::Done);
    }
    let refused = second_answered
        .try_recv()
        .expect("it is answered")
        .expect_err("it is not");
    assert!(matches!(refused, Error::Unavailable(_)), "{refused}");
    assert_eq!(rows(&writer, "jobs WHERE version = 2"), 2);
    assert_eq!(rows(&writer, "outbox"), 2);
    assert!(
        writer.shared.hot.get(job_id(START, 1)).is_none(),
        "what is unknown is not cached"
    );
    let again = commit(dispatched(&job(1)));
    assert!(writer.serve(&mut vec![again.0]) == Next::Batch);
    assert_eq!(rows(&writer, "jobs WHERE version = 2"), 3);
}

#[test]
fn a_file_that_cannot_be_written_closes_the_writer_and_says_so_to_all() {
    let directory = directory();
    let mut writer = writer(directory.path());
    assert!(writer.serve(&mut vec![create(0).0]) == Next::Batch);
    writer.connection = writer.place.open_reader().expect("it is there");
    let (first, mut first_answered) = commit(dispatched(&job(0)));
    let (answer, mut second_answered) = oneshot::channel();
    let second = Request::Append(record(1, "{}"), answer);
    assert!(writer.serve(&mut vec![first, second]) == Next::Stop);
    for answer in [first_answered.try_recv(), second_answered.try_recv()] {
        let refused = answer
            .expect("it is answered")
            .expect_err("it cannot be written");
        assert!(matches!(refused, Error::Unavailable(_)), "{refused}");
    }
    let reason = writer.shared.broken.get().expect("the reason is kept");
    assert!(reason.contains("ledger.db cannot be written"), "{reason}");
    assert!(writer.shared.hot.get(job_id(START, 0)).is_none());
}
