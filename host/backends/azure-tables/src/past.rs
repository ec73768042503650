//! Jobs that are over: writing down when each ended, and deleting those that ended long ago.
//!
//! When a job ended is written down as its due row is cleared away, many jobs at a time, and before the due row goes. So
//! every job that is over is found by the one or by the other, and a job's end takes no request of its own.
//!
//! A job is deleted from the inside out: its own rows first, guarded by the ETag of its JOB row, so that one which is
//! redriven meanwhile stays whole; then what names it; and the row that it was found by last. A crash in between leaves
//! that row, and whoever finds it goes on. Until then readers pass over what names a job that is not there.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use lucius_domain::id::{JobId, TenantId};
use lucius_domain::routing::Lane;
use lucius_domain::time::Timestamp;
use lucius_ports::ledger::Error;

use crate::commit::unexpected;
use crate::due::left_alone;
use crate::known::End;
use crate::layout::due_row::DueRow;
use crate::layout::past_row::{self, PastRow};
use crate::layout::{JOB, job_partition, job_row, listed_row, newest_first, tenant_partition};
use crate::service::{
    BATCH_OPERATIONS, Entity, Expected, Key, Operation, PAGE_ENTITIES, Query, Stored,
};
use crate::{AT_ONCE, TableLedger};

/// How often a key is looked at anew because someone changed it meanwhile.
const CHANGED_MEANWHILE: u32 = 8;

/// A job to delete, as its row names it.
struct Past {
    row: PastRow,
    tenant: TenantId,
}

/// What became of a job that was to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It was deleted.
    Deleted,
    /// It was gone; what named it may still be there.
    Gone,
    /// It is under way again, or ended again later.
    MovedOn,
    /// Someone else was at it, or it is not understood; the row stays for the next look.
    Left,
}

impl TableLedger {
    /// Writes down when jobs ended.
    pub(crate) async fn note_ends(
        &self,
        rows: &BTreeMap<DueRow, Option<End>>,
    ) -> Result<(), Error> {
        let mut by_day: BTreeMap<String, Vec<Operation>> = BTreeMap::new();
        let mut noted = BTreeSet::new();
        for (row, end) in rows {
            let (Some(End { at, tenant }), Some(job)) = (end, row.job()) else {
                continue;
            };
            let key = PastRow { ended_at: *at, job }.key();
            if noted.insert(key.clone()) {
                let Key { partition, row } = key;
                let day = by_day.entry(partition.clone()).or_default();
                let entity = Entity::new(partition, row).with("tenant", tenant.as_str());
                day.push(Operation::Insert(entity));
            }
        }
        for operations in by_day.into_values() {
            self.tables.each(&self.names.ended, operations).await?;
        }
        Ok(())
    }

    /// Deletes jobs that ended before a moment, the oldest first, at most so many.
    pub(crate) async fn purge_jobs(
        &self,
        ended_before: Timestamp,
        limit: usize,
    ) -> Result<usize, Error> {
        if limit == 0 {
            return Ok(0);
        }
        for lane in Lane::all() {
            self.clear(lane).await;
        }
        let query = Query {
            filter: past_row::before(ended_before),
            select: "RowKey,tenant",
            top: limit.clamp(AT_ONCE, PAGE_ENTITIES),
        };
        let (mut deleted, mut next) = (0, None);
        loop {
            let page = self.tables.page(&self.names.ended, &query, next.as_ref());
            let page = page.await?;
            let mut rows = page.entities.iter().filter_map(past);
            while deleted < limit {
                let some: Vec<_> = rows.by_ref().take(AT_ONCE.min(limit - deleted)).collect();
                if some.is_empty() {
                    break;
                }
                deleted += self.purge_some(&some).await?;
            }
            next = page.next;
            if deleted >= limit || next.is_none() {
                return Ok(deleted);
            }
        }
    }

    /// Deletes these jobs, and the rows that they were found by. Returns how many went.
    async fn purge_some(&self, some: &[Past]) -> Result<usize, Error> {
        let outcomes = try_join_all(some.iter().map(|past| self.purge_one(past))).await?;
        let mut by_day: BTreeMap<String, Vec<Operation>> = BTreeMap::new();
        let mut deleted = 0;
        for (past, outcome) in some.iter().zip(outcomes) {
            deleted += usize::from(outcome == Outcome::Deleted);
            if outcome != Outcome::Left {
                let key = past.row.key();
                let day = by_day.entry(key.partition.clone()).or_default();
                day.push(Operation::Delete(key, Expected::There));
            }
        }
        for operations in by_day.into_values() {
            self.tables.each(&self.names.ended, operations).await?;
        }
        Ok(deleted)
    }

    async fn purge_one(&self, past: &Past) -> Result<Outcome, Error> {
        let id = past.row.job;
        let outcome = self.purge_job(&past.row).await?;
        self.known.forget(id);
        match outcome {
            Outcome::Deleted | Outcome::Gone => {}
            Outcome::MovedOn | Outcome::Left => return Ok(outcome),
        }
        self.purge_listed(id, &past.tenant).await?;
        for state in ["FAILED_FINAL", "CANCELLED"] {
            let key = Key {
                partition: state.to_owned(),
                row: newest_first(id),
            };
            let deletion = vec![Operation::Delete(key, Expected::There)];
            self.tables.each(&self.names.ended, deletion).await?;
        }
        Ok(outcome)
    }

    /// Deletes the job's own rows, unless it has moved on.
    async fn purge_job(&self, row: &PastRow) -> Result<Outcome, Error> {
        let query = Query {
            filter: format!("PartitionKey eq '{}'", job_partition(row.job)),
            select: job_row::ROWS,
            top: 0,
        };
        let (mut seen, mut tries) = (false, 0);
        loop {
            let rows = self.tables.all(&self.names.jobs, &query).await?;
            if rows.is_empty() {
                // Whether this look emptied it, or an earlier try whose answer was lost, is the same.
                return Ok(match seen {
                    true => Outcome::Deleted,
                    false => Outcome::Gone,
                });
            }
            let job = rows.iter().find(|it| it.entity.key.row == JOB);
            let head = match job.map(job_row::head).transpose() {
                Ok(head) => head.flatten(),
                Err(error) => {
                    left_alone(row.job, &error);
                    return Ok(Outcome::Left);
                }
            };
            if head.is_some_and(|head| head.ended_at != Some(row.ended_at)) {
                return Ok(Outcome::MovedOn);
            }
            seen = true;
            match self
                .tables
                .transact(&self.names.jobs, &deletions(&rows))
                .await
            {
                Ok(Ok(_)) if rows.len() <= BATCH_OPERATIONS => return Ok(Outcome::Deleted),
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return Ok(Outcome::Left),
                Err(error) => {
                    tries += 1;
                    self.tables.again(tries, error).await?;
                }
            }
        }
    }

    /// Takes a job that is gone off its tenant's list, and frees its idempotency key.
    async fn purge_listed(&self, job: JobId, tenant: &TenantId) -> Result<(), Error> {
        let at = |row: String| Key {
            partition: tenant_partition(tenant),
            row,
        };
        let listed = at(listed_row(job));
        let table = &self.names.tenants;
        let mut tries = 0;
        loop {
            let Some(found) = self.tables.get(table, &listed, "key").await? else {
                return Ok(());
            };
            let mut operations = vec![Operation::Delete(listed.clone(), Expected::There)];
            if let Some(key) = found.text("key") {
                let key = at(key.to_owned());
                // The key may have become another job's, when this one was long in coming.
                let row = self.tables.get(table, &key, "job").await?;
                let own = row.filter(|row| row.text("job").and_then(JobId::parse) == Some(job));
                operations.extend(own.map(|row| Operation::Delete(key, Expected::At(row.etag))));
            }
            match self.tables.transact(table, &operations).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(failed)) => {
                    tries += 1;
                    if tries > CHANGED_MEANWHILE {
                        return Err(unexpected(&failed));
                    }
                }
                Err(error) => {
                    tries += 1;
                    self.tables.again(tries, error).await?;
                }
            }
        }
    }
}

/// The deletion of a job's rows, as many as one transaction takes: the JOB row first, since its ETag guards the rest.
fn deletions(rows: &[Stored]) -> Vec<Operation> {
    let is_job = |row: &&Stored| row.entity.key.row == JOB;
    let job = rows
        .iter()
        .filter(is_job)
        .map(|row| Operation::Delete(row.entity.key.clone(), Expected::At(row.etag.clone())));
    let others = rows.iter().filter(|row| !is_job(row));
    let others = others.map(|row| Operation::Delete(row.entity.key.clone(), Expected::There));
    job.chain(others).take(BATCH_OPERATIONS).collect()
}

fn past(row: &Stored) -> Option<Past> {
    Some(Past {
        row: PastRow::parse(&row.entity.key.row)?,
        tenant: row.text("tenant")?.into(),
    })
}
