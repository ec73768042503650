//! Looking at SQLite files and copying them while somebody else writes to them.
//!
//! Both only read, and neither waits for the writer nor lets it wait: in WAL mode a reader sees the moment at which it
//! began.

use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::open::FILE;
use crate::schema::{APPLICATION_ID, VERSION};

/// How often a copy is tried against somebody who holds the file for a moment.
const PATIENCE: u32 = 200;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Why a file was not looked at or copied.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// SQLite says no.
    #[error("{path}: {source}", path = path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The system says no.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A process keeps the file to itself.
    #[error("{path} is held by a process that lets nobody read it", path = path.display())]
    Held {
        /// The file.
        path: PathBuf,
    },
    /// The copy is not whole.
    #[error("{path}: the copy is damaged ({detail}): check the disk and try again", path = path.display())]
    Damaged {
        /// The copy.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
}

/// A ledger's file as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// False when the file is a database of something else.
    pub is_ledger: bool,
    /// Its layout.
    pub layout: i64,
    /// The layout that this version writes; it brings an older one up to date.
    pub known_layout: i64,
    /// What SQLite finds wrong with it; nothing when it is sound.
    pub damage: Option<String>,
    /// When the newest job was accepted, in milliseconds since 1970.
    pub newest_job_at: Option<i64>,
}

/// Looks at the ledger in a data directory; nothing when there is none yet. A host may run on it meanwhile.
///
/// # Errors
/// The file cannot be read.
pub fn inspect(directory: &Path) -> Result<Option<Inspection>, FileError> {
    let path = directory.join(FILE);
    if !path.exists() {
        return Ok(None);
    }
    let sqlite = |source| FileError::Sqlite {
        path: path.clone(),
        source,
    };
    let connection = read_only(&path).map_err(sqlite)?;
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let is_ledger = pragma("application_id").map_err(sqlite)? == APPLICATION_ID;
    let newest = match is_ledger {
        true => connection.query_row("SELECT max(created_at) FROM jobs", [], |row| row.get(0)),
        false => Ok(None),
    };
    Ok(Some(Inspection {
        is_ledger,
        layout: pragma("user_version").map_err(sqlite)?,
        known_layout: VERSION,
        damage: damage(&connection).map_err(sqlite)?,
        newest_job_at: newest.map_err(sqlite)?,
    }))
}

/// Copies a SQLite file as it is at one moment, also while a host writes to it. The copy is synced and sound when this
/// returns, and takes its place at `to` only then.
///
/// # Errors
/// Why there is no copy.
pub fn copy(from: &Path, to: &Path) -> Result<(), FileError> {
    let sqlite = |path: &Path, source| FileError::Sqlite {
        path: path.to_owned(),
        source,
    };
    let io = |source| FileError::Io {
        path: to.to_owned(),
        source,
    };
    not_held(from)?;
    let source = read_only(from).map_err(|error| sqlite(from, error))?;
    let unfinished = to.with_extension("unfinished");
    match std::fs::remove_file(&unfinished) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(io(error)),
    }
    let mut copy = Connection::open(&unfinished).map_err(|error| sqlite(to, error))?;
    whole(&source, &mut copy).map_err(|error| sqlite(from, error))?;
    if let Some(detail) = damage(&copy).map_err(|error| sqlite(to, error))? {
        let path = to.to_owned();
        return Err(FileError::Damaged { path, detail });
    }
    copy.close().map_err(|(_, error)| sqlite(to, error))?;
    File::open(&unfinished)
        .and_then(|file| file.sync_all())
        .map_err(io)?;
    std::fs::rename(&unfinished, to).map_err(io)
}

/// What SQLite finds wrong with a file that a host may be writing to; nothing when it is sound.
///
/// # Errors
/// The file cannot be read.
pub fn check(path: &Path) -> Result<Option<String>, FileError> {
    not_held(path)?;
    let found = read_only(path).and_then(|connection| damage(&connection));
    found.map_err(|source| FileError::Sqlite {
        path: path.to_owned(),
        source,
    })
}

fn whole(source: &Connection, copy: &mut Connection) -> rusqlite::Result<()> {
    let backup = Backup::new(source, copy)?;
    for _ in 0..PATIENCE {
        // All pages in one step: between two steps another process could change them, and it would begin anew.
        match backup.step(-1)? {
            StepResult::Done => return Ok(()),
            StepResult::More | StepResult::Busy | StepResult::Locked => std::thread::sleep(PAUSE),
            _ => break,
        }
    }
    let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
    Err(rusqlite::Error::SqliteFailure(busy, None))
}

/// Asks without waiting: whoever holds a file to themselves does so for as long as they live.
fn not_held(path: &Path) -> Result<(), FileError> {
    let probe = || {
        let connection = read_only(path)?;
        connection.busy_timeout(std::time::Duration::ZERO)?;
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
    };
    match probe() {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
            let path = path.to_owned();
            Err(FileError::Held { path })
        }
        // Whatever else is wrong with it is found by whoever reads it.
        Ok(()) | Err(_) => Ok(()),
    }
}

fn read_only(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(connection)
}

/// What SQLite finds wrong, if anything.
fn damage(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok((found != "ok").then_some(found))
}

#[cfg(test)]
mod tests {
    use lucius_ports::conformance::ledger::play::{Draft, Play};
    use lucius_ports::ledger::{Filter, Ledger as _};

    use super::*;
    use crate::{Settings, SqliteLedger};

    #[tokio::test]
    async fn a_copy_made_while_the_ledger_is_written_holds_what_was_answered_before() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_eq!(inspect(here.path()).unwrap(), None);
        let ledger = SqliteLedger::open(here.path(), Settings::default()).unwrap();
        let play = Play::on(ledger.clone());
        let before = play.create(&Draft::default()).await;
        copy(&here.path().join(FILE), &there.path().join(FILE)).unwrap();
        let after = play.create(&Draft::default()).await;

        let inspection = inspect(here.path()).unwrap().unwrap();
        assert!(inspection.is_ledger);
        assert_eq!(inspection.layout, inspection.known_layout);
        assert_eq!(inspection.damage, None);
        assert_eq!(inspection.newest_job_at, Some(after.spec.created_at.0));

        let restored = SqliteLedger::open(there.path(), Settings::default()).unwrap();
        let all = Filter {
            limit: 9,
            ..Filter::default()
        };
        assert_eq!(restored.list(all).await.unwrap(), [before]);
    }

    #[test]
    fn what_is_no_database_is_not_copied() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a.db"), folder.path().join("b.db"));
        std::fs::write(
            &from,
            b"not a database, but long enough to be looked at".repeat(40),
        )
        .unwrap();
        assert!(copy(&from, &to).is_err());
        assert!(!to.exists());
    }
}
