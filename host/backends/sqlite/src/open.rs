//! Opening the file: whose it is, whether it can be trusted, and whether it will keep what it is told.
//!
//! Every check fails with one line that says what to do, and nothing is repaired in silence. A new ledger is built
//! beside its place and moved there whole, so a file that is there and empty is one that lost its content.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::schema::{APPLICATION_ID, LAYOUTS, OLDEST_SQLITE, VERSION};
use crate::upkeep::add_layout_functions;

pub(crate) const FILE: &str = "ledger.db";
const LOCK: &str = "ledger.lock";

/// How long a reader waits for a lock of SQLite's own; with one process none is held for long.
const BUSY_MS: u64 = 5_000;

/// Why the ledger does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or a file in it cannot be used.
    #[error("cannot use {path}: {source}; check that it exists, is writable and has room")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process has it.
    #[error(
        "the ledger in {directory} is in use by process {pid}: stop that one, or use another --data-dir"
    )]
    InUse {
        /// The data directory.
        directory: PathBuf,
        /// The process, as it noted itself; `unknown` when it has not.
        pid: String,
    },
    /// A newer version wrote it.
    #[error(
        "{path} was written by a newer lucius (layout {found}, this one knows {VERSION}): start that version or a later one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its layout.
        found: i64,
    },
    /// The file is a database of something else.
    #[error("{path} is not a lucius ledger: move it away, or use another --data-dir")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read as a database.
    #[error(
        "{path} is damaged ({detail}): restore it from a backup together with its -wal file, or move it away to start empty"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// SQLite did not take a setting that durability rests on.
    #[error(
        "SQLite does not keep {setting} = {wanted} on {path} (it says {found}): put the data on a local disk"
    )]
    Setting {
        /// The file.
        path: PathBuf,
        /// Which.
        setting: &'static str,
        /// What it must be.
        wanted: &'static str,
        /// What it is.
        found: String,
    },
    /// The SQLite in this build is too old.
    #[error(
        "SQLite {found} may corrupt the ledger: build with SQLite 3.51.3 or later (the bundled one)"
    )]
    OldSqlite {
        /// Its version.
        found: &'static str,
    },
    /// Anything else that SQLite says.
    #[error("cannot open {path}: {detail}; check its permissions and the room on its disk")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
}

/// The ledger's files, held for this process alone.
#[derive(Debug)]
pub(crate) struct Place {
    directory: PathBuf,
    /// Locked until it is dropped, also when the process is killed.
    _lock: File,
}

impl Place {
    /// Takes the directory for this process; creates it when it is missing.
    pub(crate) fn take(directory: &Path) -> Result<Self, OpenError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { path, source }
        };
        std::fs::create_dir_all(directory).map_err(io(directory))?;
        let path = directory.join(LOCK);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut lock = options.open(&path).map_err(io(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let read = lock.read_to_string(&mut pid);
                let known = read.is_ok() && !pid.trim().is_empty();
                let pid = if known {
                    pid.trim().to_owned()
                } else {
                    "unknown".to_owned()
                };
                return Err(OpenError::InUse {
                    directory: directory.to_owned(),
                    pid,
                });
            }
            Err(TryLockError::Error(source)) => return Err(OpenError::Io { path, source }),
        }
        let noted = lock
            .set_len(0)
            .and_then(|()| lock.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(lock, "{}", std::process::id()));
        noted.map_err(io(&path))?;
        Ok(Self {
            directory: directory.to_owned(),
            _lock: lock,
        })
    }

    /// The database.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    /// Opens the database for writing, and creates it when it is missing.
    pub(crate) fn open_writer(&self) -> Result<Connection, OpenError> {
        if rusqlite::version_number() < OLDEST_SQLITE {
            return Err(OpenError::OldSqlite {
                found: rusqlite::version(),
            });
        }
        let path = self.file();
        let found = path.try_exists();
        if !found.map_err(|source| OpenError::Io {
            path: path.clone(),
            source,
        })? {
            self.create()?;
        }
        check_beginning(&path)?;
        crate::wal::check(&path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(&path, flags).map_err(|error| understand(&path, error))?;
        // Closing would fold the WAL into a file that is about to be refused.
        leave_alone(&connection, true).map_err(|error| understand(&path, error))?;
        let layout = check_owner(&path, &connection)?;
        make_durable(&path, &connection)?;
        crate::whole::check(&path, &connection)?;
        leave_alone(&connection, false).map_err(|error| understand(&path, error))?;
        if layout < LAYOUTS.len() {
            apply_layouts(&connection, layout).map_err(|error| understand(&path, error))?;
            tracing::info!(path = %path.display(), from = layout, to = VERSION, "the ledger's layout was brought up to date");
        }
        tune(&connection, 16 * 1_024).map_err(|error| understand(&path, error))?;
        Ok(connection)
    }

    /// Opens the database for reading.
    pub(crate) fn open_reader(&self) -> Result<Connection, OpenError> {
        let path = self.file();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || {
            let connection = Connection::open_with_flags(&path, flags)?;
            tune(&connection, 4 * 1_024)?;
            connection.pragma_update(None, "query_only", true)?;
            Ok(connection)
        };
        open().map_err(|error| understand(&path, error))
    }

    /// Builds an empty ledger beside its place and moves it there.
    fn create(&self) -> Result<(), OpenError> {
        let (path, new) = (self.file(), self.directory.join("ledger.db.new"));
        let io = |source| OpenError::Io {
            path: path.clone(),
            source,
        };
        for left_over in [new.clone(), self.directory.join("ledger.db.new-journal")] {
            match std::fs::remove_file(&left_over) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(io(error)),
            }
        }
        let build = || {
            let connection = Connection::open(&new)?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            apply_layouts(&connection, 0)?;
            connection.close().map_err(|(_, error)| error)
        };
        build().map_err(|error| understand(&path, error))?;
        std::fs::rename(&new, &path).map_err(io)?;
        let directory = File::open(&self.directory).map_err(io)?;
        directory.sync_all().map_err(io)
    }
}

/// Refuses a file that lost its beginning. SQLite would take an empty one for a new database, and some short ones too.
fn check_beginning(path: &Path) -> Result<(), OpenError> {
    let mut header = [0; 100];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    let detail = match read {
        Ok(()) if header.starts_with(b"SQLite format 3\0") => return Ok(()),
        Ok(()) => "it does not begin as a SQLite file does",
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => "it is cut short",
        Err(source) => {
            return Err(OpenError::Io {
                path: path.to_owned(),
                source,
            });
        }
    };
    Err(OpenError::Damaged {
        path: path.to_owned(),
        detail: detail.to_owned(),
    })
}

/// Adds the layouts after the first `present`, all or none.
fn apply_layouts(connection: &Connection, present: usize) -> rusqlite::Result<()> {
    add_layout_functions(connection)?;
    let transaction = connection.unchecked_transaction()?;
    for layout in &LAYOUTS[present..] {
        transaction.execute_batch(layout)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Whether closing the connection leaves the WAL as it is.
fn leave_alone(connection: &Connection, leave: bool) -> rusqlite::Result<()> {
    let setting = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    connection.set_db_config(setting, leave).map(drop)
}

/// Refuses what is not a ledger, or not one this version understands. Returns how many layouts it has.
fn check_owner(path: &Path, connection: &Connection) -> Result<usize, OpenError> {
    let pragma = |name| {
        let value = connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        value.map_err(|error| understand(path, error))
    };
    if pragma("application_id")? != APPLICATION_ID {
        return Err(OpenError::Foreign {
            path: path.to_owned(),
        });
    }
    let found = pragma("user_version")?;
    if found > VERSION {
        let path = path.to_owned();
        return Err(OpenError::Newer { path, found });
    }
    match usize::try_from(found) {
        Ok(layouts) if layouts > 0 => Ok(layouts),
        Ok(_) | Err(_) => {
            let detail = format!("layout {found} never existed");
            Err(OpenError::Damaged {
                path: path.to_owned(),
                detail,
            })
        }
    }
}

/// Sets what durability rests on, and believes only what is read back.
fn make_durable(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let set = || {
        // On Linux fdatasync is enough; elsewhere a sync may stop at the drive's own cache.
        connection.pragma_update(None, "fullfsync", true)?;
        connection.pragma_update(None, "checkpoint_fullfsync", true)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let mode: String =
            connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
        let synchronous: i64 =
            connection.pragma_query_value(None, "synchronous", |row| row.get(0))?;
        Ok((mode, synchronous))
    };
    let (mode, synchronous) = set().map_err(|error| understand(path, error))?;
    let refused = |setting, wanted, found| {
        Err(OpenError::Setting {
            path: path.to_owned(),
            setting,
            wanted,
            found,
        })
    };
    if mode != "wal" {
        return refused("journal_mode", "WAL", mode);
    }
    if synchronous != 2 {
        return refused("synchronous", "2 (FULL)", synchronous.to_string());
    }
    Ok(())
}

/// What makes it fast; nothing here touches durability.
fn tune(connection: &Connection, cache_kib: i64) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_millis(BUSY_MS))?;
    connection.set_prepared_statement_cache_capacity(64);
    // Otherwise a lookup is planned anew for every value it is given, in case statistics have something to say.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // 32 MiB of WAL before a checkpoint: hot pages are written back once for many changes.
    connection.pragma_update(None, "wal_autocheckpoint", 8_192)?;
    connection.pragma_update(None, "journal_size_limit", 64 * 1_024 * 1_024)
}

pub(crate) fn understand(path: &Path, error: rusqlite::Error) -> OpenError {
    let (path, detail) = (path.to_owned(), error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            OpenError::Damaged { path, detail }
        }
        Some(_) | None => OpenError::Sqlite { path, detail },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writer_syncs_every_commit_to_a_wal() {
        let directory = tempfile::tempdir().expect("there is room for a temporary directory");
        let place = Place::take(directory.path()).expect("nobody else has it");
        for _ in 0..2 {
            let writer = place
                .open_writer()
                .expect("a new ledger, and then the same again");
            let text = |name| writer.pragma_query_value(None, name, |row| row.get::<_, String>(0));
            let number = |name| writer.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            assert_eq!(text("journal_mode").as_deref(), Ok("wal"));
            assert_eq!(number("synchronous"), Ok(2), "FULL");
            assert_eq!(number("application_id"), Ok(APPLICATION_ID));
            assert_eq!(number("user_version"), Ok(VERSION));
        }
        assert!(rusqlite::version_number() >= OLDEST_SQLITE);
    }

    #[test]
    fn a_reader_cannot_write() {
        let directory = tempfile::tempdir().expect("there is room for a temporary directory");
        let place = Place::take(directory.path()).expect("nobody else has it");
        let _writer = place.open_writer().expect("a new ledger");
        let reader = place.open_reader().expect("it is there");
        let written = reader.execute("DELETE FROM jobs", []);
        assert_eq!(
            written.expect_err("it is for reading").sqlite_error_code(),
            Some(ErrorCode::ReadOnly)
        );
    }

    #[test]
    fn a_setting_that_is_not_kept_is_an_error() {
        let memory = Connection::open_in_memory().expect("memory is there");
        let refused = make_durable(Path::new("x"), &memory).expect_err("memory has no WAL");
        assert!(
            refused.to_string().contains("journal_mode = WAL"),
            "{refused}"
        );
    }
}
