//! Listing and counting.
//!
//! A list takes the ids from whatever names the fewest jobs that are not in it, and then looks at each job. An id may
//! be that of a job that never came or is in another state by now, so a row is never believed.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lucius_domain::id::JobId;
use lucius_domain::job::{DueKind, Job, Status};
use lucius_ports::ledger::{Counts, Error, Filter};

use crate::layout::due_row::DueRow;
use crate::layout::{JOB, job_of, listed_job, listed_row, newest_first, tenant_partition};
use crate::service::{PAGE_ENTITIES, Query, Stored};
use crate::{AT_ONCE, TableLedger, quoted};

/// Where a list takes its ids from, newest first.
enum Source {
    /// The due rows: every job that is not over has one.
    Live,
    /// Rows of a table in their order.
    Rows {
        table: String,
        filter: String,
        job: fn(&Stored) -> Option<JobId>,
    },
}

impl TableLedger {
    pub(crate) async fn list_jobs(&self, filter: &Filter) -> Result<Vec<Arc<Job>>, Error> {
        let mut listed = Vec::new();
        if filter.limit == 0 {
            return Ok(listed);
        }
        match self.source(filter) {
            None => {}
            Some(Source::Live) => {
                let ids = self.live(filter.tenant_id.as_ref().map(|tenant| tenant.as_str()));
                let mut ids = ids.await?;
                let (_, end) = filter.id_range();
                ids.retain(|id| end.is_none_or(|end| *id < end));
                let newest: Vec<_> = ids.into_iter().rev().collect();
                self.take(newest, filter, &mut listed).await?;
            }
            Some(Source::Rows {
                table,
                filter: condition,
                job,
            }) => {
                let query = Query {
                    filter: condition,
                    select: "PartitionKey,RowKey",
                    top: filter.limit.clamp(AT_ONCE, PAGE_ENTITIES),
                };
                let mut next = None;
                loop {
                    let page = self.tables.page(&table, &query, next.as_ref()).await?;
                    let ids = page.entities.iter().filter_map(job).collect();
                    self.take(ids, filter, &mut listed).await?;
                    next = page.next;
                    if listed.len() >= filter.limit || next.is_none() {
                        break;
                    }
                }
            }
        }
        Ok(listed)
    }

    /// `None` when no job can be meant.
    fn source(&self, filter: &Filter) -> Option<Source> {
        let (first, end) = filter.id_range();
        let after = end.map(newest_first);
        let narrowed = |mut condition: String| {
            if let Some(kind) = &filter.request_type {
                condition.push_str(&format!(" and request_type eq {}", quoted(kind.as_str())));
            }
            condition
        };
        let state = match filter.state {
            Some(state) => Some(Status::NAMES.into_iter().find(|name| *name == state)?),
            // Only a job that failed for good has a code or a signature.
            None if filter.error_code.is_some() || filter.signature.is_some() => {
                Some("FAILED_FINAL")
            }
            None => None,
        };
        match (state, &filter.tenant_id) {
            (Some("QUEUED" | "DISPATCHING" | "IN_PROGRESS" | "CANCELLING"), _) => {
                Some(Source::Live)
            }
            (Some(state @ ("FAILED_FINAL" | "CANCELLED")), tenant) => {
                let mut condition = narrowed(format!("PartitionKey eq '{state}'"));
                if let Some(after) = after {
                    condition.push_str(&format!(" and RowKey gt '{after}'"));
                }
                if let Some(first) = first.map(newest_first) {
                    condition.push_str(&format!(" and RowKey le '{first}'"));
                }
                if let Some(tenant) = tenant {
                    condition.push_str(&format!(" and tenant eq {}", quoted(tenant.as_str())));
                }
                Some(Source::Rows {
                    table: self.names.ended.clone(),
                    filter: condition,
                    job: |row| job_of(&row.entity.key.row),
                })
            }
            (_, Some(tenant)) => {
                let from = end.map_or("job-".to_owned(), listed_row);
                let until = first.map_or("RowKey lt 'job.'".to_owned(), |first| {
                    format!("RowKey le '{}'", listed_row(first))
                });
                Some(Source::Rows {
                    table: self.names.tenants.clone(),
                    filter: narrowed(format!(
                        "PartitionKey eq '{}' and RowKey gt '{from}' and {until}",
                        tenant_partition(tenant)
                    )),
                    job: |row| listed_job(&row.entity.key.row),
                })
            }
            (_, None) => {
                let mut condition = narrowed(format!("RowKey eq '{JOB}'"));
                if let Some(first) = first.map(newest_first) {
                    condition = format!("PartitionKey le '{first}' and {condition}");
                }
                if let Some(after) = after {
                    condition = format!("PartitionKey gt '{after}' and {condition}");
                }
                Some(Source::Rows {
                    table: self.names.jobs.clone(),
                    filter: condition,
                    job: |row| job_of(&row.entity.key.partition),
                })
            }
        }
    }

    /// Adds those of the jobs that are meant, in order, until the list is full.
    async fn take(
        &self,
        ids: Vec<JobId>,
        filter: &Filter,
        listed: &mut Vec<Arc<Job>>,
    ) -> Result<(), Error> {
        let mut jobs = stream::iter(ids.into_iter().map(|id| self.job(id))).buffered(AT_ONCE);
        while listed.len() < filter.limit {
            let Some(job) = jobs.next().await else { break };
            listed.extend(job?.filter(|job| filter.means(job)));
        }
        Ok(())
    }

    /// The jobs that have due rows: all that are not over, and some that are. Oldest first.
    async fn live(&self, tenant: Option<&str>) -> Result<Vec<JobId>, Error> {
        let mut condition = "PartitionKey ge 'lane-' and PartitionKey lt 'lane.'".to_owned();
        if let Some(tenant) = tenant {
            condition.push_str(&format!(" and tenant eq {}", quoted(tenant)));
        }
        let query = Query {
            filter: condition,
            select: "RowKey",
            top: 0,
        };
        let rows = self.tables.all(&self.names.due, &query).await?;
        let jobs = rows
            .iter()
            .filter_map(|row| DueRow::parse(&row.entity.key.row)?.job());
        Ok(jobs.collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// The counts for the gates: every job with a due row is looked at.
    pub(crate) async fn count_jobs(&self) -> Result<Counts, Error> {
        let looks = self.live(None).await?.into_iter().map(|id| self.head(id));
        let heads: Vec<_> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
        let mut counts = Counts::default();
        for head in heads.into_iter().flatten() {
            let Some((kind, _)) = head.due else { continue };
            let key = (head.tenant.as_str().into(), head.mode);
            *counts.in_flight.entry(key).or_insert(0) += 1;
            match kind {
                DueKind::Dispatch => *counts.outbox_pending.entry(head.lane).or_insert(0) += 1,
                DueKind::Ack | DueKind::Lease | DueKind::Decision => {}
            }
        }
        Ok(counts)
    }
}
