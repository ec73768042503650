//! The record in a file of this worker's own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use super::Store;
use crate::clock;
use crate::contract::AttemptKey;

/// The file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is no sound database.
    #[error(
        "{path} is damaged ({detail}): stop the worker and remove the file and its -wal; what is delivered twice is then worked on twice"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// The database refused.
    #[error("{0}")]
    Database(#[from] rusqlite::Error),
    /// The thread that worked on it is gone.
    #[error("{0}")]
    Thread(#[from] tokio::task::JoinError),
}

/// Finished attempts in a file.
#[derive(Debug, Clone)]
pub(crate) struct File {
    connection: Arc<Mutex<Connection>>,
    keep: Duration,
}

impl File {
    /// Opens or makes it at `path`, keeping each entry for `keep`.
    pub(crate) fn open(path: &Path, keep: Duration) -> Result<Self, Error> {
        let connection = sound(path).map_err(|error| {
            let damage = [ErrorCode::NotADatabase, ErrorCode::DatabaseCorrupt].map(Some);
            if let Error::Database(said) = &error
                && damage.contains(&said.sqlite_error_code())
            {
                let (path, detail) = (path.to_owned(), said.to_string());
                return Error::Damaged { path, detail };
            }
            error
        })?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            keep,
        })
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let connection = Arc::clone(&self.connection);
        tokio::task::spawn_blocking(move || {
            // A panic elsewhere leaves at most a transaction that SQLite has rolled back.
            work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
        })
        .await?
    }
}

#[async_trait]
impl Store for File {
    async fn get(&self, attempt: &AttemptKey) -> Result<Option<String>, super::Error> {
        let attempt = attempt.clone();
        let found = self.with(move |connection| {
            let mut find = connection.prepare_cached(
                "SELECT result FROM finished
                 WHERE job_id = ?1 AND step_id = ?2 AND attempt_no = ?3 AND lease_id = ?4",
            )?;
            let key = params![
                attempt.job_id,
                attempt.step_id,
                attempt.attempt_no,
                attempt.lease_id.expose().to_string()
            ];
            Ok(find.query_row(key, |row| row.get(0)).optional()?)
        });
        Ok(found.await?)
    }

    async fn put(&self, attempt: &AttemptKey, text: String) -> Result<(), super::Error> {
        let attempt = attempt.clone();
        let now = clock::unix_seconds();
        let oldest = now.saturating_sub_unsigned(self.keep.as_secs());
        let done = self.with(move |connection| {
            let both = connection.transaction()?;
            both.prepare_cached("INSERT OR REPLACE INTO finished VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                .execute(params![
                    attempt.job_id,
                    attempt.step_id,
                    attempt.attempt_no,
                    attempt.lease_id.expose().to_string(),
                    text,
                    now
                ])?;
            both.prepare_cached("DELETE FROM finished WHERE finished_at < ?1")?
                .execute([oldest])?;
            both.commit()?;
            Ok(())
        });
        Ok(done.await?)
    }
}

/// The file as a database that is sound in all its pages, set up as this module needs it.
fn sound(file: &Path) -> Result<Connection, Error> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        let (path, detail) = (file.to_owned(), found.replace('\n', " "));
        return Err(Error::Damaged { path, detail });
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS finished (
             job_id TEXT NOT NULL, step_id TEXT NOT NULL, attempt_no INTEGER NOT NULL,
             lease_id TEXT NOT NULL, result TEXT NOT NULL, finished_at INTEGER NOT NULL,
             PRIMARY KEY (job_id, step_id, attempt_no, lease_id)
         ) WITHOUT ROWID;
         CREATE INDEX IF NOT EXISTS finished_by_age ON finished (finished_at);",
    )?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use uuid::uuid;

    use super::*;
    use crate::contract::{AttemptResult, Ending, Envelope, Secret};
    use crate::record::Record;

    fn result(attempt_no: u32) -> AttemptResult {
        let attempt = AttemptKey {
            job_id: "j".into(),
            step_id: "s".into(),
            attempt_no,
            lease_id: Secret::new(uuid!("7b0f3f0e-6d5d-4a39-9f0f-8f6a3a6f8f11")),
        };
        AttemptResult {
            envelope: Envelope {
                attempt,
                timestamp: "2026-01-01T00:00:00Z".into(),
                tenant_id: "t".into(),
                correlation_id: None,
                traceparent: None,
            },
            ending: Ending::Succeeded {
                output_ref: None,
                artifact_refs: vec![],
            },
            workspace_ref: None,
        }
    }

    fn open(file: &Path, keep: Duration) -> Result<Record, Error> {
        Ok(Record::new(Arc::new(File::open(file, keep)?)))
    }

    #[tokio::test]
    async fn a_finished_attempt_is_found_again_after_reopening_and_no_other_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("record.db");
        let week = Duration::from_secs(7 * 86_400);
        open(&file, week)
            .unwrap()
            .remember(&result(1))
            .await
            .unwrap();

        let reopened = open(&file, week).unwrap();
        let mut key = result(1).envelope.attempt;
        let found = reopened.find(&key).await.unwrap().unwrap();
        assert_eq!(
            serde_json::to_string(&found).unwrap(),
            serde_json::to_string(&result(1)).unwrap()
        );
        key.lease_id = Secret::new(uuid!("00000000-0000-4000-8000-000000000000"));
        assert!(reopened.find(&key).await.unwrap().is_none());
        assert!(
            reopened
                .find(&result(2).envelope.attempt)
                .await
                .unwrap()
                .is_none()
        );
    }

    #[tokio::test]
    async fn f7_a_damaged_record_is_refused_in_one_line_that_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let (file, week) = (
            dir.path().join("record.db"),
            Duration::from_secs(7 * 86_400),
        );
        let record = open(&file, week).unwrap();
        for attempt in 1..=200 {
            record.remember(&result(attempt)).await.unwrap();
        }
        drop(record);
        let whole = std::fs::read(&file).unwrap();
        let page = whole.len() / 4_096 / 2 * 4_096;
        for at in [0, page] {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            std::fs::write(&file, &bytes).unwrap();
            let refused = File::open(&file, week).unwrap_err();
            assert!(
                matches!(refused, Error::Damaged { .. }),
                "byte {at}: {refused}"
            );
            let line = refused.to_string();
            assert!(
                line.contains("record.db") && line.contains("remove"),
                "{line}"
            );
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(std::fs::read(&file).unwrap(), bytes, "it was changed");
        }
        std::fs::write(&file, &whole).unwrap();
        let record = open(&file, week).unwrap();
        let key = result(200).envelope.attempt;
        assert!(record.find(&key).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn an_entry_is_forgotten_when_it_is_older_than_the_setting() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::open(&dir.path().join("r.db"), Duration::from_secs(60)).unwrap();
        let record = Record::new(Arc::new(file.clone()));
        record.remember(&result(1)).await.unwrap();
        file.with(|c| Ok(c.execute("UPDATE finished SET finished_at = finished_at - 61", [])?))
            .await
            .unwrap();
        record.remember(&result(2)).await.unwrap();
        assert!(
            record
                .find(&result(1).envelope.attempt)
                .await
                .unwrap()
                .is_none()
        );
        assert!(
            record
                .find(&result(2).envelope.attempt)
                .await
                .unwrap()
                .is_some()
        );
    }
}
