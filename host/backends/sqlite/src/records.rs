//! The records: small documents beside the jobs, written by the same thread in the same transactions.

use async_trait::async_trait;
use lucius_ports::ledger::Error;
use lucius_ports::records::{Key, Kind, Record, Records, Removed, Written, check_size};
use rusqlite::{Connection, OptionalExtension, params};

use crate::SqliteLedger;
use crate::row::{ReadError, number};
use crate::writer::Request;

/// A record to write or to remove.
#[derive(Debug)]
pub(crate) struct Put {
    kind: Kind,
    key: Key,
    /// `None` to remove it.
    body: Option<String>,
    /// `None` when it must not be there yet.
    expected: Option<i64>,
}

#[async_trait]
impl Records for SqliteLedger {
    async fn get(&self, kind: Kind, key: &Key) -> Result<Option<Record>, Error> {
        let key = key.clone();
        self.readers.read(move |from| get(from, kind, &key)).await
    }

    async fn put(
        &self,
        kind: Kind,
        key: &Key,
        body: String,
        expected: Option<u64>,
    ) -> Result<Written, Error> {
        check_size(kind, key, &body)?;
        let put = Put {
            kind,
            key: key.clone(),
            body: Some(body),
            expected: expected.map(number).transpose()?,
        };
        let written = self.ask(|answer| Request::Put(put, answer)).await?;
        Ok(written.map_or(Written::Conflict, Written::Done))
    }

    async fn remove(&self, kind: Kind, key: &Key, expected: u64) -> Result<Removed, Error> {
        let put = Put {
            kind,
            key: key.clone(),
            body: None,
            expected: Some(number(expected)?),
        };
        let removed = self.ask(|answer| Request::Put(put, answer)).await?;
        Ok(removed.map_or(Removed::Conflict, |_| Removed::Done))
    }

    async fn list(
        &self,
        kind: Kind,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Record>, Error> {
        let after = after.map_or_else(String::new, Key::to_string);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let list = move |from: &_| list(from, kind, &after, limit);
        self.readers.read(list).await
    }
}

/// Writes or removes a record. Returns its version, or nothing when it is not as expected.
pub(crate) fn put(to: &Connection, put: &Put) -> rusqlite::Result<Option<u64>> {
    let (kind, key) = (put.kind.0, put.key.as_str());
    let (changed, version) = match (&put.body, put.expected) {
        (Some(body), None) => {
            let inserted = to
                .prepare_cached(
                    "INSERT OR IGNORE INTO records (kind, key, version, body) VALUES (?1, ?2, 1, ?3)",
                )?
                .execute(params![kind, key, body])?;
            (inserted, 1)
        }
        (Some(body), Some(expected)) => {
            let updated = to
                .prepare_cached(
                    "UPDATE records SET version = version + 1, body = ?4
                     WHERE kind = ?1 AND key = ?2 AND version = ?3",
                )?
                .execute(params![kind, key, expected, body])?;
            (updated, expected + 1)
        }
        (None, expected) => {
            let deleted = to
                .prepare_cached(
                    "DELETE FROM records WHERE kind = ?1 AND key = ?2 AND version = ?3",
                )?
                .execute(params![kind, key, expected])?;
            (deleted, expected.unwrap_or(0))
        }
    };
    // Versions count from 1, so none of them is negative.
    Ok((changed == 1).then(|| u64::try_from(version).unwrap_or(0)))
}

fn get(from: &Connection, kind: Kind, key: &Key) -> Result<Option<Record>, ReadError> {
    let found = from
        .prepare_cached("SELECT key, version, body FROM records WHERE kind = ?1 AND key = ?2")?
        .query_row(params![kind.0, key.as_str()], columns)
        .optional()?;
    found.map(record).transpose()
}

fn list(from: &Connection, kind: Kind, after: &str, limit: i64) -> Result<Vec<Record>, ReadError> {
    let mut statement = from.prepare_cached(
        "SELECT key, version, body FROM records WHERE kind = ?1 AND key > ?2 ORDER BY key LIMIT ?3",
    )?;
    let rows = statement.query_map(params![kind.0, after, limit], columns)?;
    rows.map(|row| record(row?)).collect()
}

fn columns(row: &rusqlite::Row<'_>) -> rusqlite::Result<(String, i64, String)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn record((key, version, body): (String, i64, String)) -> Result<Record, ReadError> {
    let not_understood = || ReadError::NotUnderstood(format!("record \"{key}\""));
    Ok(Record {
        version: u64::try_from(version).map_err(|_| not_understood())?,
        key: Key::parse(&key).ok_or_else(not_understood)?,
        body,
    })
}
