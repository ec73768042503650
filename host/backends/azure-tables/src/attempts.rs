//! What workers have finished, for workers that share no disk: a text for each attempt.
//!
//! It is no part of the ledger. It has a table of its own, so that a worker's key need reach no other. An attempt's row
//! lies in a partition of its job; before it is written, a row in the partition of the day names it, so that it is
//! found again when it is to be forgotten. A crash in between leaves a name of nothing, which goes with its day.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lucius_domain::id::{Digest, TenantId};
use lucius_domain::time::Timestamp;

use crate::layout::{day_partition, document, tenant_partition};
use crate::service::{
    BATCH_OPERATIONS, Entity, Error, Expected, Key, Operation, Query, Stored, Tables,
};
use crate::{AT_ONCE, Connection, Means, OpenError, Settings, Storage};

/// How often it is looked for what is to be forgotten, when there was nothing more.
const LOOK_MS: i64 = 3_600_000;
/// What a row holds is named so where it is too large.
const WHAT: &str = "the RESULT of an attempt";

/// The table of finished attempts.
pub struct Attempts {
    tables: Tables,
    table: String,
    keep: Duration,
    next_look: AtomicI64,
}

impl Attempts {
    /// Opens the table, which must be there; each text is kept for this long.
    ///
    /// # Errors
    /// One line that says what is wrong and what to do.
    pub async fn open(
        connection: Connection,
        means: Means,
        settings: Settings,
        keep: Duration,
    ) -> Result<Self, OpenError> {
        let storage = Storage::new(connection, means, settings)?;
        let table = storage.names.attempts.clone();
        storage.needs(&table).await?;
        Ok(Self {
            tables: storage.tables,
            table,
            keep,
            next_look: AtomicI64::new(0),
        })
    }

    /// What is remembered of an attempt of a job; names may be any text.
    ///
    /// # Errors
    /// The service does not answer, or does not allow it.
    pub async fn get(&self, job: &str, attempt: &str) -> Result<Option<String>, Error> {
        let found = self
            .tables
            .get(&self.table, &row_of(job, attempt), "")
            .await?;
        found.as_ref().map(text_of).transpose()
    }

    /// Remembers a text of an attempt, in place of what was there.
    ///
    /// # Errors
    /// It is over 960 KiB; the service does not answer, or does not allow it.
    pub async fn put(&self, job: &str, attempt: &str, text: &str) -> Result<(), Error> {
        if text.len() > document::ROW_BYTES {
            return Err(Error::TooLarge(format!("{WHAT} has {} bytes", text.len())));
        }
        let key = row_of(job, attempt);
        let now = self.tables.means().clock.now();
        let name = Entity::new(
            day_partition(now),
            format!("{}-{}", key.row, Digest::of(job.as_bytes())),
        )
        .with("job", key.partition.as_str());
        self.tables
            .each(&self.table, vec![Operation::Insert(name)])
            .await?;
        let entity = Entity::new(key.partition.as_str(), key.row.as_str());
        self.replace(&key, document::put(entity, text.as_bytes()))
            .await?;
        self.forget(now).await;
        Ok(())
    }

    /// Writes a row whatever is there. Written twice, it is the same.
    async fn replace(&self, key: &Key, entity: Entity) -> Result<(), Error> {
        let mut operation = Operation::Insert(entity.clone());
        let mut tries = 0;
        loop {
            let operations = [operation.clone()];
            match self.tables.transact(&self.table, &operations).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(_)) => {
                    let found = self.tables.get(&self.table, key, "RowKey").await?;
                    operation = match found {
                        Some(row) => Operation::Replace(entity.clone(), Expected::At(row.etag)),
                        None => Operation::Insert(entity.clone()),
                    };
                }
                Err(error) => {
                    tries += 1;
                    self.tables.again(tries, error).await?;
                }
            }
        }
    }

    /// Forgets a part of what is older than is kept: after every write as long as there is more, else now and then.
    /// What of it was written anew since goes too; the bus holds no message for so long. What fails is tried again
    /// with a later write.
    async fn forget(&self, now: Timestamp) {
        let due = self.next_look.load(Ordering::Relaxed);
        let next = now.0.saturating_add(LOOK_MS);
        let claimed = now.0 >= due
            && self
                .next_look
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if !claimed {
            return;
        }
        match self.forget_some(now).await {
            Ok(BATCH_OPERATIONS) => self.next_look.store(now.0, Ordering::Relaxed),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "finished attempts that are old are forgotten later");
            }
        }
    }

    /// Forgets at most a transaction's worth; how many there were.
    async fn forget_some(&self, now: Timestamp) -> Result<usize, Error> {
        let keep_ms = i64::try_from(self.keep.as_millis()).unwrap_or(i64::MAX);
        let query = Query {
            filter: format!(
                "PartitionKey ge 'day-' and PartitionKey lt '{}'",
                day_partition(Timestamp(now.0.saturating_sub(keep_ms)))
            ),
            select: "PartitionKey,RowKey,job",
            top: BATCH_OPERATIONS,
        };
        let names = self.tables.page(&self.table, &query, None).await?.entities;
        let attempts: Vec<Key> = names.iter().filter_map(attempt_of).collect();
        let forget_each = attempts.into_iter().map(|attempt| {
            let deletion = vec![Operation::Delete(attempt, Expected::There)];
            self.tables.each(&self.table, deletion)
        });
        stream::iter(forget_each)
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        for of_day in names.chunk_by(|a, b| a.entity.key.partition == b.entity.key.partition) {
            let deletion = |it: &Stored| Operation::Delete(it.entity.key.clone(), Expected::There);
            let of_day = of_day.iter().map(deletion).collect();
            self.tables.each(&self.table, of_day).await?;
        }
        Ok(names.len())
    }
}

/// Where the text of the attempt lies that a row names.
fn attempt_of(name: &Stored) -> Option<Key> {
    let row = name.entity.key.row.split('-').next()?.to_owned();
    let partition = name.text("job")?.to_owned();
    Some(Key { partition, row })
}

/// Where an attempt's text lies.
fn row_of(job: &str, attempt: &str) -> Key {
    Key {
        partition: format!("job-{}", tenant_partition(&TenantId::new(job))),
        row: Digest::of(attempt.as_bytes()).to_string(),
    }
}

fn text_of(row: &Stored) -> Result<String, Error> {
    String::from_utf8(document::bytes(row))
        .map_err(|error| Error::Refused(format!("{WHAT} is no text: {error}")))
}
