//! What is due, and clearing away what will never be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lucius_domain::id::{JobId, Version};
use lucius_domain::job::DueKind;
use lucius_domain::routing::Lane;
use lucius_domain::time::Timestamp;
use lucius_ports::ledger::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::known::{Dead, End, Seen, TRUST_MS};
use crate::layout::due_row::{self, DueRow};
use crate::layout::job_row::Head;
use crate::layout::lane_partition;
use crate::service::{BATCH_OPERATIONS, Expected, Key, Operation, Query, Stored};
use crate::{AT_ONCE, TableLedger};

/// How long a row may stand for a job that is not there, before it is made sure that the job will never come.
const ORPHAN_MS: u64 = 600_000;
/// How many transactions one scan spends on clearing away.
const CLEARINGS: usize = 4;

/// What is asked of a lane.
pub(crate) struct Wanted<'a> {
    pub(crate) lane: Lane,
    pub(crate) kinds: &'a [DueKind],
    pub(crate) now: Timestamp,
    pub(crate) limit: usize,
}

impl TableLedger {
    /// The jobs of a lane that are due, the longest due first.
    pub(crate) async fn due_jobs(&self, wanted: &Wanted<'_>) -> Result<Vec<JobId>, Error> {
        let Wanted {
            lane,
            kinds,
            now,
            limit,
        } = *wanted;
        if limit == 0 || kinds.is_empty() {
            return Ok(Vec::new());
        }
        self.clear(lane).await;
        let query = Query {
            filter: format!(
                "PartitionKey eq '{}' and RowKey lt '{}'",
                lane_partition(lane),
                due_row::after(now)
            ),
            select: "RowKey,Timestamp,version",
            top: 0,
        };
        let mut found = BTreeSet::new();
        let mut next = None;
        loop {
            let page = self.tables.page(&self.names.due, &query, next.as_ref());
            let page = page.await?;
            let last = page.entities.last().and_then(due_row_of);
            let looks = page
                .entities
                .into_iter()
                .map(|row| async move { self.look(lane, &row).await });
            let looks: Vec<_> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
            for (job, (kind, at)) in looks.into_iter().flatten() {
                if at <= now && kinds.contains(&kind) {
                    found.insert((at, job));
                }
            }
            // A job is due at or after its row's time, so none on later pages can come before these.
            let settled = match (last, found.iter().nth(limit - 1)) {
                (Some(last), Some((at, _))) => *at < last.at(),
                (None, _) | (_, None) => false,
            };
            next = page.next;
            if settled || next.is_none() {
                break;
            }
        }
        let due = found.into_iter().take(limit);
        Ok(due.map(|(_, job)| job).collect())
    }

    /// The job that a row stands for and when it is due; nothing when the row does not count.
    async fn look(
        &self,
        lane: Lane,
        row: &Stored,
    ) -> Result<Option<(JobId, (DueKind, Timestamp))>, Error> {
        let Some((due_row, job)) = due_row_of(row).and_then(|row| Some((row.clone(), row.job()?)))
        else {
            return Ok(None);
        };
        let head = match self.fresh_head(job).await {
            Err(error @ Error::Corrupt(_)) => {
                left_alone(job, &error);
                return Ok(None);
            }
            head => head?,
        };
        let Some(head) = head else {
            if self.is_orphan(row) && self.keep_out(job).await? {
                self.known.bury(lane, due_row, None);
            }
            return Ok(None);
        };
        if head.due_row.as_ref() == Some(&due_row) {
            return Ok(head.due.map(|due| (job, due)));
        }
        let announced = row
            .number("version")
            .and_then(|version| u64::try_from(version).ok());
        if announced.is_some_and(|version| Version(version) <= head.version) {
            // The commit that was to name it was made, or lost to another; it can never be made any more.
            self.known.bury(lane, due_row, End::of_head(&head));
        }
        Ok(None)
    }

    async fn fresh_head(&self, job: JobId) -> Result<Option<Head>, Error> {
        let now = self.now();
        match self.known.get(job) {
            Some(Seen { head, at, .. }) if at <= now && now < at.plus_ms(TRUST_MS) => Ok(head),
            Some(_) | None => self.head(job).await,
        }
    }

    /// True when the row is so old that nobody is about to create its job.
    fn is_orphan(&self, row: &Stored) -> bool {
        let written = OffsetDateTime::parse(&row.written_at, &Rfc3339);
        written.is_ok_and(|written| {
            let written = Timestamp(written.unix_timestamp().saturating_mul(1_000));
            written.plus_ms(ORPHAN_MS) < self.now()
        })
    }

    /// Deletes rows that will never count again, once the ends that some of them stood for are written down. What is
    /// not deleted now is found again later.
    pub(crate) async fn clear(&self, lane: Lane) {
        for _ in 0..CLEARINGS {
            let dead = self.known.dead(lane, BATCH_OPERATIONS);
            if dead.is_empty() {
                return;
            }
            let full = dead.len() == BATCH_OPERATIONS;
            if let Err(error) = self.clear_away(lane, dead).await {
                tracing::debug!(%error, "due rows that count no more are deleted later");
                return;
            }
            if !full {
                return;
            }
        }
    }

    async fn clear_away(&self, lane: Lane, dead: Vec<Dead>) -> Result<(), Error> {
        let mut rows = BTreeMap::new();
        for Dead { row, end } in dead {
            let known: &mut Option<End> = rows.entry(row).or_default();
            *known = end.or(known.take());
        }
        self.note_ends(&rows).await?;
        let deletions = rows.into_keys().map(|row| {
            let key = Key {
                partition: lane_partition(lane),
                row: row.as_str().to_owned(),
            };
            Operation::Delete(key, Expected::There)
        });
        let deleted = self.tables.each(&self.names.due, deletions.collect());
        Ok(deleted.await?)
    }
}

/// Reports a job that this version does not understand, as a later one may have written it. The others go on.
pub(crate) fn left_alone(job: JobId, error: &dyn Display) {
    tracing::error!(jobId = %job, %error, "a job is left alone");
}

fn due_row_of(row: &Stored) -> Option<DueRow> {
    DueRow::parse(&row.entity.key.row)
}
