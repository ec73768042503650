//! The JOB row: the job as it is, and what a scan wants to know of it without reading all.

use std::sync::Arc;

use lucius_domain::id::{JobId, Version};
use lucius_domain::job::{DueKind, Job, JobProgress, JobSpec};
use lucius_domain::routing::Lane;
use lucius_domain::time::Timestamp;
use lucius_ports::ledger::ModeKey;

use super::due_row::DueRow;
use super::{document, job_key, job_of};
use crate::layout::document::DocumentError;
use crate::service::{ETag, Entity, Stored};

/// The state of a row that stands where a job was announced and never came. No job is ever created there.
pub(crate) const VOID: &str = "VOID";

/// What a scan reads of a JOB row.
pub(crate) const HEAD: &str = "state,version,tenant,mode,lane,due_kind,due_at,due_row,ended_at";

/// What deleting a job reads of all its rows.
pub(crate) const ROWS: &str =
    "PartitionKey,RowKey,state,version,tenant,mode,lane,due_kind,due_at,due_row,ended_at";

/// What is known of a job without its documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) version: Version,
    pub(crate) etag: ETag,
    pub(crate) due: Option<(DueKind, Timestamp)>,
    /// The due row that counts; none when the job is over.
    pub(crate) due_row: Option<DueRow>,
    /// When it ended, if it is over.
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) tenant: String,
    pub(crate) mode: ModeKey,
    pub(crate) lane: Lane,
}

fn kind_name(kind: DueKind) -> &'static str {
    match kind {
        DueKind::Dispatch => "dispatch",
        DueKind::Ack => "ack",
        DueKind::Lease => "lease",
        DueKind::Decision => "decision",
    }
}

fn kind_of(name: &str) -> Option<DueKind> {
    [
        DueKind::Dispatch,
        DueKind::Ack,
        DueKind::Lease,
        DueKind::Decision,
    ]
    .into_iter()
    .find(|kind| kind_name(*kind) == name)
}

/// The row of a job.
pub(crate) fn encode(
    job: &Job,
    due_row: Option<&DueRow>,
    write_id: &str,
) -> Result<Entity, DocumentError> {
    let Job { id, spec, progress } = job;
    let key = job_key(*id);
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let mut row = Entity::new(key.partition, key.row)
        .with("state", progress.status.name())
        .with("version", number(progress.version.0))
        .with("tenant", spec.tenant_id.as_str())
        .with("request_type", spec.request_type.as_str())
        .with("mode", spec.mode.resolved_mode.as_str())
        .with("lane", i64::from(spec.lane.number()))
        .with("created_at", spec.created_at.0)
        .with("write_id", write_id);
    if let Some((kind, at)) = job.due() {
        row = row.with("due_kind", kind_name(kind)).with("due_at", at.0);
    }
    if let Some(due_row) = due_row {
        row = row.with("due_row", due_row.as_str());
    }
    if let Some(ended_at) = ended_at(job) {
        row = row.with("ended_at", ended_at.0);
    }
    let progress = document::encode("the job's progress", progress, 1)?;
    Ok(document::put(row, &progress))
}

/// When a job ended, if it is over.
pub(crate) fn ended_at(job: &Job) -> Option<Timestamp> {
    let progress = &job.progress;
    progress
        .completed_at
        .filter(|_| progress.status.is_terminal())
}

/// The row that keeps a job from ever being created.
pub(crate) fn void(job: JobId) -> Entity {
    let key = job_key(job);
    Entity::new(key.partition, key.row).with("state", VOID)
}

/// What a row says without its documents; `None` when no job is there.
pub(crate) fn head(row: &Stored) -> Result<Option<Head>, DocumentError> {
    if row.text("state") == Some(VOID) {
        return Ok(None);
    }
    let read = || {
        let mode = match row.text("mode")? {
            "DEFAULT" => ModeKey::Default,
            "BURST" => ModeKey::Burst,
            _ => return None,
        };
        let due = match row.text("due_kind") {
            Some(kind) => Some((kind_of(kind)?, Timestamp(row.number("due_at")?))),
            None => None,
        };
        let due_row = match row.text("due_row") {
            Some(text) => Some(DueRow::parse(text)?),
            None => None,
        };
        Some(Head {
            version: Version(u64::try_from(row.number("version")?).ok()?),
            etag: row.etag.clone(),
            due,
            due_row,
            ended_at: row.number("ended_at").map(Timestamp),
            tenant: row.text("tenant")?.to_owned(),
            mode,
            lane: Lane::new(u8::try_from(row.number("lane")?).ok()?)?,
        })
    };
    read().map(Some).ok_or_else(|| not_understood(row))
}

/// The job of a row.
pub(crate) fn decode(row: &Stored, spec: Arc<JobSpec>) -> Result<Job, DocumentError> {
    let id = job_of(&row.entity.key.partition).ok_or_else(|| not_understood(row))?;
    let progress: JobProgress = document::decode("the job's progress", &document::bytes(row))?;
    Ok(Job { id, spec, progress })
}

fn not_understood(row: &Stored) -> DocumentError {
    DocumentError::NotUnderstood {
        what: "the JOB row",
        reason: format!("{:?} is not as this version writes it", row.entity.key),
    }
}
