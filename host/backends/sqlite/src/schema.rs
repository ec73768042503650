//! The tables, and how a file says that it holds them.

/// The layouts, oldest first. A file says by its `PRAGMA user_version` how many of them it has; opening it applies the
/// rest in one transaction. A change to the tables is a new layout; one that was released never changes.
pub(crate) const LAYOUTS: [&str; 4] = [
    include_str!("layout_1.sql"),
    include_str!("layout_2.sql"),
    include_str!("layout_3.sql"),
    include_str!("layout_4.sql"),
];

/// What `PRAGMA user_version` says of a file that this version writes.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_wrap,
    reason = "a handful of layouts, and no other conversion is const"
)]
pub(crate) const VERSION: i64 = LAYOUTS.len() as i64;

/// What `PRAGMA application_id` says of a LUCIUS ledger: `LUCI`.
pub(crate) const APPLICATION_ID: i64 = 0x4C55_4349;

/// The oldest SQLite that is let near a ledger: earlier ones (from 3.7.0) may corrupt a WAL file that is reset while
/// another connection checkpoints.
pub(crate) const OLDEST_SQLITE: i32 = 3_051_003;
