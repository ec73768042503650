//! What is not a sound ledger of ours, or is in use, is refused in one line and left as it is.

use std::path::Path;
use std::sync::Arc;

use lucius_ports::conformance::ledger::play::{Draft, Move, Play, START};
use lucius_ports::ledger::{Filter, Ledger};
use lucius_ports::records::{Key, Kind, Records, Written};
use lucius_ports::upkeep::Upkeep;
use lucius_sqlite::{OpenError, Settings, SqliteLedger};
use rusqlite::Connection;
use tempfile::TempDir;

fn open(directory: &Path) -> Result<Arc<SqliteLedger>, OpenError> {
    SqliteLedger::open(directory, Settings::default())
}

/// A directory with a ledger that holds a hundred jobs, closed.
async fn used() -> TempDir {
    let directory = tempfile::tempdir().expect("there is room for a temporary directory");
    let ledger = open(directory.path()).expect("an empty directory will do");
    let play = Play::on(Arc::clone(&ledger) as Arc<dyn Ledger>);
    for _ in 0..100 {
        play.create(&Draft::default()).await;
    }
    ledger.close().await;
    directory
}

/// Refused, in one line that says these words, with the file untouched.
fn assert_refused(directory: &Path, words: &str) -> OpenError {
    let file = directory.join("ledger.db");
    let before = std::fs::read(&file).expect("it is there");
    let refused = open(directory).expect_err("it must not open");
    let line = refused.to_string();
    assert!(line.contains(words), "{line}");
    assert!(!line.contains('\n'), "{line}");
    assert!(
        std::fs::read(&file).expect("it is still there") == before,
        "the file was changed"
    );
    refused
}

#[tokio::test]
async fn a_second_open_is_refused_with_the_process_that_has_it() {
    let directory = used().await;
    let first = open(directory.path()).expect("it is closed");
    let refused = open(directory.path()).expect_err("it is in use");
    let pid = std::process::id().to_string();
    let in_use = matches!(&refused, OpenError::InUse { pid: holder, .. } if *holder == pid);
    assert!(in_use, "{refused}");
    assert!(refused.to_string().contains("stop that one"), "{refused}");
    drop(first);
    open(directory.path()).expect("it is free again");
}

#[tokio::test]
async fn a_newer_layout_is_refused_with_what_to_do() {
    let directory = used().await;
    let file = directory.path().join("ledger.db");
    let connection = Connection::open(&file).expect("it is a database");
    connection
        .pragma_update(None, "user_version", 99)
        .expect("it can be written");
    connection.close().expect("nothing is open in it");
    let refused = assert_refused(directory.path(), "start that version or a later one");
    assert!(
        matches!(refused, OpenError::Newer { found: 99, .. }),
        "{refused}"
    );
}

/// A ledger as the first layout made it: what later ones added is missing.
#[tokio::test]
async fn an_older_layout_is_brought_up_to_date_and_keeps_its_jobs() {
    let directory = used().await;
    let file = directory.path().join("ledger.db");
    let ledger = open(directory.path()).expect("it was used");
    let play = Play::on(ledger.clone());
    let later = Draft {
        created_at: START.plus_ms(1),
        ..Draft::default()
    };
    let failed = play.create(&later).await;
    let failed = play
        .play(failed.id, START.plus_ms(1), &[Move::RejectRoute])
        .await;
    let failures = ledger.failures(None, 9).await.expect("the ledger works");
    assert_eq!(failures.len(), 1);
    ledger.close().await;
    drop((play, ledger));
    let connection = Connection::open(&file).expect("it is a database");
    connection
        .execute_batch(
            "DROP TABLE records; DROP TABLE pins; ALTER TABLE generations DROP COLUMN origin;
             ALTER TABLE generations DROP COLUMN schemas;
             DROP INDEX jobs_by_protocol; DROP INDEX jobs_by_error; DROP INDEX jobs_by_signature;
             ALTER TABLE jobs DROP COLUMN protocol; ALTER TABLE jobs DROP COLUMN ended_at;
             ALTER TABLE jobs DROP COLUMN error_code; ALTER TABLE jobs DROP COLUMN signature;
             ALTER TABLE specs DROP COLUMN key;
             PRAGMA user_version = 1",
        )
        .expect("it can be written");
    let jobs = |from: &Connection| {
        let count = from.query_row("SELECT count(*) FROM jobs", [], |row| row.get::<_, i64>(0));
        count.expect("there are jobs")
    };
    let before = jobs(&connection);
    connection.close().expect("nothing is open in it");

    let ledger = open(directory.path()).expect("an older layout is no obstacle");
    let (kind, key) = (Kind("test"), Key::of("a"));
    let written = ledger.put(kind, &key, "{}".to_owned(), None).await;
    assert_eq!(written.expect("the new table is there"), Written::Done(1));
    let again = ledger.failures(None, 9).await;
    assert_eq!(again.expect("the ledger works"), failures);
    let of_protocol = Filter {
        protocol_id: Some(failed.spec.protocol_id.clone()),
        error_code: Some("NO_ROUTE".to_owned()),
        limit: 9,
        ..Filter::default()
    };
    let listed = Ledger::list(&*ledger, of_protocol).await;
    assert_eq!(listed.expect("the ledger works"), [Arc::clone(&failed)]);
    let connection = Connection::open(&file).expect("it is a database");
    assert_eq!(jobs(&connection), before);
    let long_after = START.plus_ms(1 << 40);
    let purged = ledger.purge(long_after, 99).await;
    assert_ne!(purged.expect("the ledger works"), 0);
    let key = Draft::default().key(failed.id);
    let found = ledger.find(&failed.spec.tenant_id, &key).await;
    assert_eq!(
        found.expect("the ledger works"),
        None,
        "its key went with it"
    );
}

#[test]
fn the_database_of_something_else_is_refused() {
    let directory = tempfile::tempdir().expect("there is room for a temporary directory");
    let file = directory.path().join("ledger.db");
    let connection = Connection::open(&file).expect("a new database");
    connection
        .execute_batch("CREATE TABLE cats (name TEXT)")
        .expect("a table");
    connection.close().expect("nothing is open in it");
    let refused = assert_refused(directory.path(), "is not a lucius ledger");
    assert!(matches!(refused, OpenError::Foreign { .. }), "{refused}");
}

#[test]
fn garbage_is_refused() {
    let directory = tempfile::tempdir().expect("there is room for a temporary directory");
    let file = directory.path().join("ledger.db");
    for garbage in [
        &b"x"[..],
        &[7; 5_000],
        b"SQLite format 3\0 and then something else",
    ] {
        std::fs::write(&file, garbage).expect("there is room");
        let refused = assert_refused(directory.path(), "is damaged");
        assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
    }
}

#[tokio::test]
async fn a_truncated_file_is_refused_wherever_it_was_cut() {
    let directory = used().await;
    let file = directory.path().join("ledger.db");
    let whole = std::fs::read(&file).expect("it is there");
    for keep in [
        0,
        10,
        512,
        4_095,
        4_096,
        whole.len() / 2,
        whole.len() - 4_096,
    ] {
        std::fs::write(&file, &whole[..keep]).expect("there is room");
        let refused = assert_refused(directory.path(), "is damaged");
        assert!(
            matches!(refused, OpenError::Damaged { .. }),
            "{keep}: {refused}"
        );
    }
    std::fs::write(&file, &whole).expect("there is room");
    open(directory.path()).expect("it is whole again");
}

#[test]
fn a_directory_that_cannot_be_used_is_refused() {
    let directory = tempfile::tempdir().expect("there is room for a temporary directory");
    let file = directory.path().join("a-file");
    std::fs::write(&file, "").expect("there is room");
    let refused = open(&file.join("data")).expect_err("a file is no directory");
    assert!(matches!(refused, OpenError::Io { .. }), "{refused}");
    assert!(refused.to_string().contains("a-file"), "{refused}");
}

#[tokio::test]
async fn a_ledger_that_was_never_finished_is_built_anew() {
    let directory = tempfile::tempdir().expect("there is room for a temporary directory");
    std::fs::write(directory.path().join("ledger.db.new"), "half a ledger").expect("room");
    let play = Play::on(open(directory.path()).expect("what was never a ledger is no loss"));
    play.create(&Draft::default()).await;
}
