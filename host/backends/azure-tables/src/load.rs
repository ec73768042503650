//! Reading jobs, and keeping in mind what was read.

use std::sync::Arc;

use lucius_domain::event::Recorded;
use lucius_domain::id::JobId;
use lucius_domain::job::{Job, JobSpec};
use lucius_ports::ledger::Error;

use crate::TableLedger;
use crate::known::Seen;
use crate::layout::job_row::{self, Head};
use crate::layout::{JOB, JOB_AND_SPEC, document, events_after, job_key, job_partition};
use crate::service::{PAGE_ENTITIES, Query, Stored};

impl TableLedger {
    /// The job as it is now, in one request.
    pub(crate) async fn job(&self, id: JobId) -> Result<Option<Arc<Job>>, Error> {
        let known_spec = self.known.get(id).and_then(|seen| seen.spec);
        let (row, spec) = match known_spec {
            Some(spec) => {
                let row = self.tables.get(&self.names.jobs, &job_key(id), "").await?;
                (row, Some(spec))
            }
            None => self.job_and_spec(id).await?,
        };
        let Some(row) = row else {
            self.note(id, None, None);
            return Ok(None);
        };
        let Some(head) = job_row::head(&row)? else {
            self.note(id, None, None);
            return Ok(None);
        };
        let spec = spec.ok_or_else(|| Error::Corrupt(format!("job {id} has no spec")))?;
        let job = job_row::decode(&row, Arc::clone(&spec))?;
        self.note(id, Some(head), Some(spec));
        Ok(Some(Arc::new(job)))
    }

    async fn job_and_spec(
        &self,
        id: JobId,
    ) -> Result<(Option<Stored>, Option<Arc<JobSpec>>), Error> {
        let (from, to) = JOB_AND_SPEC;
        let partition = job_partition(id);
        let query = Query {
            filter: format!(
                "PartitionKey eq '{partition}' and RowKey ge '{from}' and RowKey lt '{to}'"
            ),
            ..Query::default()
        };
        let rows = self.tables.all(&self.names.jobs, &query).await?;
        let (mut job, mut spec) = (None, Vec::new());
        for row in rows {
            match row.entity.key.row.as_str() {
                JOB => job = Some(row),
                _ => spec.extend(document::bytes(&row)),
            }
        }
        let spec = match spec.is_empty() {
            true => None,
            false => Some(Arc::new(document::decode("the job's spec", &spec)?)),
        };
        Ok((job, spec))
    }

    /// What a scan wants to know of a job, in one small request.
    pub(crate) async fn head(&self, id: JobId) -> Result<Option<Head>, Error> {
        let row = self
            .tables
            .get(&self.names.jobs, &job_key(id), job_row::HEAD)
            .await?;
        let head = match row {
            Some(row) => job_row::head(&row)?,
            None => None,
        };
        self.note(id, head.clone(), None);
        Ok(head)
    }

    /// Keeps in mind what was seen.
    pub(crate) fn note(&self, id: JobId, head: Option<Head>, spec: Option<Arc<JobSpec>>) {
        let at = self.now();
        self.known.put(id, Seen { head, spec, at });
    }

    /// A job's events after a number.
    pub(crate) async fn events_of(
        &self,
        id: JobId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Recorded>, Error> {
        let mut events = Vec::new();
        if limit == 0 {
            return Ok(events);
        }
        let (partition, (from, to)) = (job_partition(id), events_after(after));
        let query = Query {
            filter: format!(
                "PartitionKey eq '{partition}' and RowKey ge '{from}' and RowKey lt '{to}'"
            ),
            select: "",
            top: limit.min(PAGE_ENTITIES), // a commit has at least one event
        };
        let (mut next, mut parts) = (None, Vec::new());
        loop {
            let page = self
                .tables
                .page(&self.names.jobs, &query, next.as_ref())
                .await?;
            for row in page.entities {
                parts.push(row);
                let whole = parts.last().and_then(|row| row.number("parts"));
                if i64::try_from(parts.len()).ok() == whole {
                    let bytes: Vec<u8> = parts
                        .drain(..)
                        .flat_map(|row| document::bytes(&row))
                        .collect();
                    let commit: Vec<Recorded> = document::decode("a job's events", &bytes)?;
                    events.extend(commit.into_iter().filter(|event| event.seq > after));
                }
            }
            next = page.next;
            if events.len() >= limit || next.is_none() {
                break;
            }
        }
        events.truncate(limit);
        Ok(events)
    }
}
