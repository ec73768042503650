//! The tables, and how a file says that it holds them.

/// What `PRAGMA user_version` says of a file that this version writes. Raise it with every change to the tables.
pub(crate) const VERSION: i64 = 1;

/// What `PRAGMA application_id` says of a LUCIUS ledger: `LUCI`.
pub(crate) const APPLICATION_ID: i64 = 0x4C55_4349;

/// The oldest SQLite that is let near a ledger: earlier ones (from 3.7.0) may corrupt a WAL file that is reset while
/// another connection checkpoints.
pub(crate) const OLDEST_SQLITE: i32 = 3_051_003;

/// Creates the tables in an empty file.
pub(crate) const TABLES: &str = include_str!("schema.sql");
