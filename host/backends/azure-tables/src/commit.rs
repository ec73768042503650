//! Writing a job's next version, and finding out what became of a write that was not answered.
//!
//! A write that was not answered may have landed, may land later, or never. It is sent again as it is: its guard lets
//! it land once at most. When the guard refuses it, the row that this write alone would have made tells whether it was
//! this write that landed first.

use std::collections::BTreeMap;

use lucius_domain::event::Event;
use lucius_domain::job::{Job, Status};
use lucius_domain::time::Timestamp;
use lucius_domain::transition::{Change, OutboxChange, OutboxRow};
use lucius_ports::ledger::{Committed, Error};

use crate::TableLedger;
use crate::known::{End, Seen};
use crate::layout::document::{self, MOST_ROWS};
use crate::layout::due_row::DueRow;
use crate::layout::job_row::{self, Head};
use crate::layout::{event_row, job_partition, lane_partition, newest_first, outbox_row};
use crate::service::{self, ETag, Entity, Expected, Failed, Key, Operation};

/// A due row this much older than the commit is replaced by one at the job's due time, so that scans leave the job
/// alone until then. Younger ones stay: most jobs are over before a scan has looked at them twice.
const OLD_MS: u64 = 5_000;

/// A transaction in a job's partition that is safe to send twice.
pub(crate) struct Write {
    pub(crate) operations: Vec<Operation>,
    /// The row that this write makes, and no other with this number in it.
    pub(crate) marker: Key,
    pub(crate) write_id: String,
}

/// What became of a write.
pub(crate) enum Landed {
    /// It is durable; the new state of the first operation's entity, when the answer was seen.
    Yes(Option<ETag>),
    /// It changed nothing and never will.
    No(Failed),
}

impl TableLedger {
    /// Replaces a version of a job.
    pub(crate) async fn commit_change(&self, change: Change) -> Result<Committed, Error> {
        let id = change.job.id;
        let Some(head) = self.head_at(&change).await? else {
            return Ok(Committed::Conflict);
        };
        let due_row = self.announce(&change.job, head.due_row.as_ref(), change_time(&change));
        let write_id = self.write_id();
        let job = job_row::encode(&change.job, due_row.counts(), &write_id)?;
        let mut operations = vec![Operation::Replace(job, Expected::At(head.etag))];
        let marker = follow(&mut operations, &change, &write_id)?;
        self.tables.check_fits(&self.names.jobs, &operations)?;
        self.write_side_rows(&change.job, &due_row).await?;
        let write = Write {
            operations,
            marker,
            write_id,
        };
        let lane = change.job.spec.lane;
        match self.write(&write).await {
            Ok(Landed::Yes(etag)) => {
                if let (Some(old), true) = (head.due_row, !due_row.is_kept()) {
                    self.known.bury(lane, old, End::of(&change.job));
                }
                self.note_written(&change.job, due_row.counts(), etag);
                Ok(Committed::Done)
            }
            Ok(Landed::No(_)) => {
                self.known.forget(id);
                if let Announced::New(row) = due_row {
                    self.known.bury(lane, row, None);
                }
                Ok(Committed::Conflict)
            }
            Err(error) => {
                self.known.forget(id);
                Err(error)
            }
        }
    }

    /// The job's row at the version that the change was decided on; `None` when it is at another.
    async fn head_at(&self, change: &Change) -> Result<Option<Head>, Error> {
        let id = change.job.id;
        if let Some(Seen {
            head: Some(head), ..
        }) = self.known.get(id)
        {
            if head.version == change.expected {
                return Ok(Some(head));
            }
            if head.version > change.expected {
                return Ok(None);
            }
        }
        let head = self.head(id).await?;
        Ok(head.filter(|head| head.version == change.expected))
    }

    /// Which due row counts after a change. One that is at or before the job's due time is kept, unless it is old.
    pub(crate) fn announce(
        &self,
        job: &Job,
        present: Option<&DueRow>,
        now: Timestamp,
    ) -> Announced {
        let Some((_, at)) = job.due() else {
            return Announced::Nothing;
        };
        match present {
            Some(row) if row.at() <= at => {
                let old = row.at().plus_ms(OLD_MS) < now && now.plus_ms(OLD_MS) < at;
                match old {
                    true => Announced::New(DueRow::new(at, job.id, self.random())),
                    false => Announced::Kept(row.clone()),
                }
            }
            Some(_) | None => Announced::New(DueRow::new(at, job.id, self.random())),
        }
    }

    /// Writes what has to be there before the commit: a new due row, and the row of an end that is looked for.
    async fn write_side_rows(&self, job: &Job, due_row: &Announced) -> Result<(), Error> {
        let due = async {
            match due_row {
                Announced::New(row) => self.write_due_row(job, row).await,
                Announced::Kept(_) | Announced::Nothing => Ok(()),
            }
        };
        let (due, ended) = futures_util::future::join(due, self.write_ended_row(job)).await;
        due.and(ended)
    }

    pub(crate) async fn write_due_row(&self, job: &Job, row: &DueRow) -> Result<(), Error> {
        let version = i64::try_from(job.progress.version.0).unwrap_or(i64::MAX);
        let entity = Entity::new(lane_partition(job.spec.lane), row.as_str())
            .with("tenant", job.spec.tenant_id.as_str())
            .with("version", version);
        self.insert_if_absent(&self.names.due, entity).await
    }

    /// Jobs that failed or were cancelled are few and often asked for.
    async fn write_ended_row(&self, job: &Job) -> Result<(), Error> {
        let status = &job.progress.status;
        match status {
            Status::FailedFinal { .. } | Status::Cancelled => {
                let entity = Entity::new(status.name(), newest_first(job.id))
                    .with("tenant", job.spec.tenant_id.as_str())
                    .with("request_type", job.spec.request_type.as_str());
                self.insert_if_absent(&self.names.ended, entity).await
            }
            Status::Queued
            | Status::Dispatching
            | Status::InProgress
            | Status::Cancelling
            | Status::Succeeded => Ok(()),
        }
    }

    /// Writes a row of which it does not matter who wrote it.
    async fn insert_if_absent(&self, table: &str, entity: Entity) -> Result<(), Error> {
        let operations = [Operation::Insert(entity)];
        let mut failed = 0;
        loop {
            match self.tables.transact(table, &operations).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(failed)) if failed.status == http::StatusCode::CONFLICT => return Ok(()),
                Ok(Err(failed)) => return Err(unexpected(&failed)),
                Err(error) => {
                    failed += 1;
                    self.tables.again(failed, error).await?;
                }
            }
        }
    }

    /// Sends a write until it is known what became of it.
    pub(crate) async fn write(&self, write: &Write) -> Result<Landed, Error> {
        let mut failed = 0;
        loop {
            match self
                .tables
                .transact(&self.names.jobs, &write.operations)
                .await
            {
                Ok(Ok(done)) => return Ok(Landed::Yes(done.into_iter().next().flatten())),
                Ok(Err(refused)) if failed == 0 => return Ok(Landed::No(refused)),
                Ok(Err(refused)) => {
                    return Ok(match self.is_there(write).await? {
                        true => Landed::Yes(None),
                        false => Landed::No(refused),
                    });
                }
                Err(error) => {
                    failed += 1;
                    if let Err(error) = self.tables.again(failed, error).await {
                        let unknown = matches!(error, service::Error::Unknown { .. });
                        return match unknown && self.is_there(write).await? {
                            true => Ok(Landed::Yes(None)),
                            false => Err(error.into()),
                        };
                    }
                }
            }
        }
    }

    /// True when this very write is durable.
    async fn is_there(&self, write: &Write) -> Result<bool, Error> {
        let marker = self
            .tables
            .get(&self.names.jobs, &write.marker, "write_id")
            .await?;
        Ok(marker.is_some_and(|row| row.text("write_id") == Some(&write.write_id)))
    }

    /// Keeps in mind what was just written.
    pub(crate) fn note_written(&self, job: &Job, due_row: Option<&DueRow>, etag: Option<ETag>) {
        let Some(etag) = etag else {
            self.known.forget(job.id);
            return;
        };
        let head = Head {
            version: job.progress.version,
            etag,
            due: job.due(),
            due_row: due_row.cloned(),
            ended_at: job_row::ended_at(job),
            tenant: job.spec.tenant_id.as_str().to_owned(),
            mode: job.spec.mode.resolved_mode.into(),
            lane: job.spec.lane,
        };
        self.note(job.id, Some(head), Some(job.spec.clone()));
    }
}

/// The due row that counts after a change.
pub(crate) enum Announced {
    /// The job is over.
    Nothing,
    /// The one that is there.
    Kept(DueRow),
    /// One that is yet to be written.
    New(DueRow),
}

impl Announced {
    pub(crate) fn counts(&self) -> Option<&DueRow> {
        match self {
            Self::Nothing => None,
            Self::Kept(row) | Self::New(row) => Some(row),
        }
    }

    fn is_kept(&self) -> bool {
        matches!(self, Self::Kept(_))
    }
}

/// When a change happened.
pub(crate) fn change_time(change: &Change) -> Timestamp {
    change.job.progress.updated_at
}

/// Adds what goes with a new version of a job: its events and outbox rows. Returns the row that marks the write.
pub(crate) fn follow(
    operations: &mut Vec<Operation>,
    change: &Change,
    write_id: &str,
) -> Result<Key, Error> {
    let partition = job_partition(change.job.id);
    let last_seq = change.events.last().map_or(0, |last| last.seq);
    let row = |part| {
        Entity::new(partition.as_str(), event_row(last_seq, part)).with("write_id", write_id)
    };
    let events = document::encode("the events of one commit", &change.events, MOST_ROWS)?;
    let events = document::rows(&events, row);
    operations.extend(events.into_iter().map(Operation::Insert));
    operations.extend(outbox_operations(&partition, change));
    Ok(Key {
        row: event_row(last_seq, 0),
        partition,
    })
}

/// What a change means for the outbox. A transaction may name a row once, so of several changes to one row the last
/// is written.
fn outbox_operations(partition: &str, change: &Change) -> Vec<Operation> {
    let mut operations = BTreeMap::new();
    for OutboxChange {
        step,
        attempt_no,
        row,
    } in &change.outbox
    {
        let entity =
            Entity::new(partition, outbox_row(*step, *attempt_no)).with("state", row.name());
        let entity = match row {
            OutboxRow::Pending {
                service,
                publish_at,
            } => entity
                .with("service", service.as_str())
                .with("publish_at", publish_at.0),
            OutboxRow::Sent | OutboxRow::FailedFinal | OutboxRow::Cancelled => entity,
        };
        let is_new = change.events.iter().any(|recorded| {
            matches!(&recorded.event, Event::AttemptCreated { step: of, attempt }
                if of == step && attempt.key.no == *attempt_no)
        });
        let operation = match is_new {
            true => Operation::Insert(entity),
            // The job's row is the guard; this one is there since its attempt was made.
            false => Operation::Merge(entity, Expected::There),
        };
        operations.insert((*step, *attempt_no), operation);
    }
    operations.into_values().collect()
}

pub(crate) fn unexpected(failed: &Failed) -> Error {
    Error::Unavailable(format!(
        "Table Storage refuses what it should take: {} {}",
        failed.status, failed.code
    ))
}
