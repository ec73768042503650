//! The file: every message that was answered, until it is completed.
//!
//! SQLite in WAL mode with `synchronous=FULL`, so that a commit that returned is on the disk, and with
//! `locking_mode=EXCLUSIVE`, so that no second process gets in and no shared memory is needed. One connection, used by
//! the writer thread alone.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use lucius_domain::routing::Lane;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, TransactionBehavior, params};

use crate::index::{Change, Index};
use crate::message::{Content, Row, checksum};
use crate::settings::{Error, Fault, Settings};

/// Below 3.51.3, two connections that write and checkpoint at once can corrupt a WAL.
const SQLITE_FLOOR: i32 = 3_051_003;
/// "LBUS": what `file` and other programs know the file by.
const APPLICATION_ID: i64 = 0x4C42_5553;
const FORMAT: i64 = 1;
/// The WAL is folded into the file at about this many pages, and kept no larger than the bytes.
const CHECKPOINT_PAGES: i64 = 4_000;
const WAL_BYTES: i64 = 64 * 1024 * 1024;

const SCHEMA: &str = "
CREATE TABLE message (
    sequence INTEGER PRIMARY KEY,
    lane INTEGER NOT NULL,
    service TEXT NOT NULL,
    message_id TEXT NOT NULL,
    enqueued_at INTEGER NOT NULL,
    delivery_count INTEGER NOT NULL,
    dead_reason TEXT,
    checksum INTEGER NOT NULL,
    head TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO counter VALUES ('boot', 0), ('next_sequence', 1);
";

/// What becomes durable in one transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commit<'a> {
    /// New messages.
    pub(crate) rows: &'a [Row],
    /// Changes of old ones.
    pub(crate) changes: &'a HashMap<u64, Change>,
    /// What the next start counts from.
    pub(crate) next_sequence: u64,
    /// Also show that there is room for another message.
    pub(crate) probe: bool,
}

/// Writes and removes a message of a middling size.
const PROBE: &str = "
INSERT INTO message VALUES (9223372036854775807, 0, '', '', 0, 0, NULL, 0, '', zeroblob(16384));
DELETE FROM message WHERE sequence = 9223372036854775807;
";

/// The open file.
#[derive(Debug)]
pub(crate) struct Disk {
    connection: Connection,
}

impl Disk {
    /// Opens or creates the file, checks it, and fills the index from it.
    pub(crate) fn open(path: &Path, settings: &Settings) -> Result<(Self, Index), Error> {
        if rusqlite::version_number() < SQLITE_FLOOR {
            return Err(Error::SqliteTooOld {
                found: rusqlite::version(),
            });
        }
        let fail = |e: Failure| e.at(path);
        let mut connection = Connection::open(path)
            .map_err(Failure::from)
            .map_err(fail)?;
        prepare(&connection, settings).map_err(fail)?;
        let (boot, next_sequence) = migrate(&mut connection).map_err(fail)?;
        let mut index = Index::new(settings, boot, next_sequence);
        let disk = Self { connection };
        disk.restore(&mut index).map_err(fail)?;
        Ok((disk, index))
    }

    /// Returns once all of it is on the disk.
    pub(crate) fn commit(&mut self, commit: &Commit<'_>) -> Result<(), Fault> {
        let written = self.write(commit);
        // A full disk may have rolled the transaction back already, or not.
        if written.is_err() && !self.connection.is_autocommit() {
            self.connection
                .execute_batch("ROLLBACK")
                .map_err(|e| fault(&e))?;
        }
        written.map_err(|e| fault(&e))
    }

    fn write(&mut self, commit: &Commit<'_>) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        insert(&transaction, commit.rows)?;
        apply(&transaction, commit.changes)?;
        if commit.probe {
            transaction.execute_batch(PROBE)?;
        }
        transaction
            .prepare_cached("UPDATE counter SET value = ?1 WHERE name = 'next_sequence'")?
            .execute([commit.next_sequence.cast_signed()])?;
        transaction.commit()
    }

    /// Reads a message whose body is not in memory.
    pub(crate) fn load(&self, sequence: u64) -> Result<Arc<Content>, Fault> {
        let found = self
            .connection
            .prepare_cached("SELECT checksum, head, body FROM message WHERE sequence = ?1")
            .and_then(|mut select| {
                select
                    .query_row([sequence.cast_signed()], |row| {
                        Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?))
                    })
                    .optional()
            })
            .map_err(|e| fault(&e))?;
        let gone = || Fault::Broken(format!("message {sequence} is not in the file"));
        let (sum, head, body) = found.ok_or_else(gone)?;
        content(sequence, sum, &head, body).map_err(Fault::Broken)
    }

    fn restore(&self, index: &mut Index) -> Result<(), Failure> {
        let mut select = self.connection.prepare(
            "SELECT sequence, lane, service, message_id, enqueued_at, delivery_count, dead_reason, checksum, head, body \
             FROM message ORDER BY sequence",
        )?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let sequence = row.get::<_, i64>(0)?.cast_unsigned();
            let lane = Lane::new(row.get(1)?)
                .ok_or_else(|| Failure::Corrupt(format!("message {sequence} is in no lane")))?;
            let head: String = row.get(8)?;
            let content =
                content(sequence, row.get(7)?, &head, row.get(9)?).map_err(Failure::Corrupt)?;
            let stored = Row {
                sequence,
                lane,
                service: row.get(2)?,
                message_id: row.get(3)?,
                enqueued_at: row.get(4)?,
                head,
                content,
            };
            let dead_reason: Option<String> = row.get(6)?;
            index
                .insert(&stored, row.get(5)?, dead_reason.as_deref())
                .map_err(|e| Failure::Corrupt(e.to_string()))?;
        }
        Ok(())
    }
}

fn insert(connection: &Connection, rows: &[Row]) -> rusqlite::Result<()> {
    let mut insert = connection
        .prepare_cached("INSERT INTO message VALUES (?1, ?2, ?3, ?4, ?5, 0, NULL, ?6, ?7, ?8)")?;
    for row in rows {
        insert.execute(params![
            row.sequence.cast_signed(),
            row.lane.number(),
            row.service,
            row.message_id,
            row.enqueued_at,
            checksum(&row.head, &row.content.body),
            row.head,
            &row.content.body[..]
        ])?;
    }
    Ok(())
}

fn apply(connection: &Connection, changes: &HashMap<u64, Change>) -> rusqlite::Result<()> {
    let mut delete = connection.prepare_cached("DELETE FROM message WHERE sequence = ?1")?;
    let mut keep = connection.prepare_cached(
        "UPDATE message SET delivery_count = ?2, dead_reason = ?3 WHERE sequence = ?1",
    )?;
    for (sequence, change) in changes {
        let sequence = sequence.cast_signed();
        match change {
            Change::Delete => delete.execute([sequence])?,
            Change::Keep {
                delivery_count,
                dead_reason,
            } => keep.execute(params![sequence, delivery_count, dead_reason.as_deref()])?,
        };
    }
    Ok(())
}

fn content(sequence: u64, sum: u32, head: &str, body: Vec<u8>) -> Result<Arc<Content>, String> {
    if checksum(head, &body) != sum {
        return Err(format!("message {sequence} is not what was stored"));
    }
    let head = serde_json::from_str(head)
        .map_err(|e| format!("message {sequence} has unreadable properties: {e}"))?;
    Ok(Arc::new(Content {
        head,
        body: Bytes::from(body),
    }))
}

/// Sets the connection up and makes sure that what was asked for is what is.
fn prepare(connection: &Connection, settings: &Settings) -> Result<(), Failure> {
    connection.busy_timeout(std::time::Duration::ZERO)?;
    let integer = |name: &str| -> rusqlite::Result<i64> {
        connection.pragma_query_value(None, name, |row| row.get(0))
    };
    connection.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    if mode != "wal" || integer("synchronous")? != 2 {
        return Err(Failure::Other(format!(
            "no durable writes here (journal mode {mode})"
        )));
    }
    // Takes the exclusive lock now, and keeps it.
    connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_BYTES, |_| Ok(()))?;
    let page_bytes = u64::try_from(integer("page_size")?).unwrap_or(4_096);
    let pages = (settings.max_file_bytes / page_bytes).max(1);
    let pages = i64::try_from(pages).unwrap_or(i64::MAX);
    connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    let check: String = connection.pragma_query_value(None, "quick_check", |row| row.get(0))?;
    if check != "ok" {
        return Err(Failure::Corrupt(check));
    }
    Ok(())
}

/// Creates what is missing and counts this opening. Returns its number and the next sequence number.
fn migrate(connection: &mut Connection) -> Result<(u64, u64), Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let integer = |name: &str| -> rusqlite::Result<i64> {
        transaction.pragma_query_value(None, name, |row| row.get(0))
    };
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (integer("application_id")?, integer("user_version")?, tables) {
        (0, 0, 0) => {
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", FORMAT)?;
        }
        (APPLICATION_ID, FORMAT, _) => {}
        (APPLICATION_ID, format, _) => return Err(Failure::TooNew(format)),
        (_, _, _) => return Err(Failure::NotABus),
    }
    let count = "UPDATE counter SET value = value + 1 WHERE name = 'boot' RETURNING value";
    let boot: i64 = transaction.query_row(count, [], |row| row.get(0))?;
    let next = "SELECT value FROM counter WHERE name = 'next_sequence'";
    let next_sequence: i64 = transaction.query_row(next, [], |row| row.get(0))?;
    transaction.commit()?;
    Ok((boot.cast_unsigned(), next_sequence.cast_unsigned()))
}

/// Why opening failed, before the path is added.
enum Failure {
    Sqlite(rusqlite::Error),
    Corrupt(String),
    TooNew(i64),
    NotABus,
    Other(String),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Failure {
    fn at(self, path: &Path) -> Error {
        let path = path.to_owned();
        let error = match self {
            Self::Sqlite(error) => error,
            Self::Corrupt(reason) => return Error::Corrupt { path, reason },
            Self::TooNew(format) => return Error::TooNew { path, format },
            Self::NotABus => return Error::NotABus { path },
            Self::Other(reason) => return Error::Unreadable { path, reason },
        };
        let code = error.sqlite_error_code();
        let reason = error.to_string();
        if matches!(
            code,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
        ) {
            Error::InUse { path }
        } else if code == Some(ErrorCode::NotADatabase) {
            Error::NotABus { path }
        } else if code == Some(ErrorCode::DatabaseCorrupt) || code.is_none() {
            // Without a code it is a value of a type that this program never wrote.
            Error::Corrupt { path, reason }
        } else {
            Error::Unreadable { path, reason }
        }
    }
}

/// No space and no memory may pass; after any other failure the state of the file is unknown until it is reopened.
fn fault(error: &rusqlite::Error) -> Fault {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull | ErrorCode::OutOfMemory) => Fault::Full(error.to_string()),
        Some(_) | None => Fault::Broken(error.to_string()),
    }
}

#[cfg(test)]
impl Disk {
    /// Lets every commit but the first fail, as a broken disk would.
    pub(crate) fn failing_from_the_second_commit_on(self) -> Self {
        let trigger = "CREATE TEMP TRIGGER broken BEFORE INSERT ON message \
             WHEN (SELECT count(*) FROM message) > 0 BEGIN SELECT RAISE(ABORT, 'broken'); END";
        self.connection
            .execute_batch(trigger)
            .expect("SQLite has temporary triggers");
        self
    }
}
