//! Whether the file fits together: pages, rows, and the indexes by which rows are found.

use std::path::Path;

use rusqlite::Connection;

use crate::open::{OpenError, understand};

/// The largest file that is checked from end to end at every start, which takes about a second for so much.
const CHECKED_BYTES: u64 = 128 * 1_024 * 1_024;

/// Refuses a file whose pages, rows and indexes do not fit together. What is inside a row has sums of its own.
pub(crate) fn check(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let size = std::fs::metadata(path).map_err(|source| OpenError::Io {
        path: path.to_owned(),
        source,
    })?;
    if size.len() > CHECKED_BYTES {
        tracing::warn!(
            path = %path.display(), bytes = size.len(),
            "the ledger is too large to be checked at every start: stop the host and run \
             \"PRAGMA integrity_check\" on it with sqlite3 from time to time"
        );
        return Ok(());
    }
    let check = || {
        connection.query_row("PRAGMA integrity_check(1)", [], |row| {
            row.get::<_, String>(0)
        })
    };
    let found = check().map_err(|error| understand(path, error))?;
    if found == "ok" {
        return Ok(());
    }
    Err(OpenError::Damaged {
        path: path.to_owned(),
        detail: found.lines().last().unwrap_or_default().to_owned(),
    })
}
