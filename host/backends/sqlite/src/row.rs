//! Between the domain's words and the columns of the tables. Encoding happens where the change was made, not on the
//! writer's thread, which all writes share.

use std::sync::Arc;

use lucius_domain::id::{Digest, JobId};
use lucius_domain::job::{DueKind, Job, JobProgress, JobSpec};
use lucius_domain::signature::{self, Signature};
use lucius_domain::transition::{Change, OutboxChange};
use lucius_ports::ledger::{Error, GenerationRecord, Idempotency};
use rusqlite::Row;
use rusqlite::types::{ToSqlOutput, ValueRef};
use uuid::Uuid;

/// A change, ready to be written.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) job: Arc<Job>,
    pub(crate) expected: i64,
    pub(crate) version: i64,
    pub(crate) due: Option<(i64, i64)>,
    pub(crate) ended_at: Option<i64>,
    pub(crate) error_code: Option<String>,
    pub(crate) signature: Option<signature::Id>,
    pub(crate) progress: String,
    pub(crate) last_seq: i64,
    pub(crate) events: String,
    pub(crate) outbox: Vec<OutboxChange>,
}

impl Encoded {
    pub(crate) fn new(change: Change) -> Result<Self, Error> {
        let Change {
            expected,
            job,
            events,
            outbox,
        } = change;
        let last_seq = number(events.last().map_or(0, |last| last.seq))?;
        let due = job
            .due()
            .and_then(|(kind, at)| Some((clock_kind(kind)?, at.0)));
        Ok(Self {
            expected: number(expected.0)?,
            version: number(job.progress.version.0)?,
            due,
            ended_at: job.progress.completed_at.map(|at| at.0),
            error_code: job.failure().map(|failure| failure.code.clone()),
            signature: Signature::of(&job).map(|signature| signature.id()),
            progress: json(&job.progress)?,
            last_seq,
            events: json(&events)?,
            outbox,
            job,
        })
    }
}

/// A new job, ready to be written.
#[derive(Debug)]
pub(crate) struct NewJob {
    pub(crate) change: Encoded,
    pub(crate) spec: String,
    pub(crate) key: Key,
    pub(crate) digest: Digest,
}

impl NewJob {
    pub(crate) fn new(change: Change, idempotency: Idempotency) -> Result<Self, Error> {
        let spec = json(&*change.job.spec)?;
        let digest = idempotency.digest;
        Ok(Self {
            change: Encoded::new(change)?,
            spec,
            key: Key::new(idempotency.key),
            digest,
        })
    }
}

/// An idempotency key as a column: the 32 bytes of a digest instead of its 71 characters, since there is one row a
/// job and their order is random. Each text has one form only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Digest(Digest),
    Text(String),
}

impl Key {
    pub(crate) fn new(key: String) -> Self {
        let digest = key
            .strip_prefix("digest:")
            .and_then(|text| Digest::parse(text).filter(|digest| digest.to_string() == text));
        digest.map_or(Self::Text(key), Self::Digest)
    }
}

impl rusqlite::ToSql for Key {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Digest(digest) => ValueRef::Blob(&digest.0),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

/// The kinds that `jobs` keeps a time for; what waits to be published is found by its outbox row.
pub(crate) fn clock_kind(kind: DueKind) -> Option<i64> {
    match kind {
        DueKind::Dispatch => None,
        DueKind::Ack => Some(1),
        DueKind::Lease => Some(2),
        DueKind::Decision => Some(3),
    }
}

/// The columns `id, progress, spec` as a job.
pub(crate) fn job(row: &Row<'_>) -> Result<Job, ReadError> {
    let id = job_id(row, 0)?;
    let progress: JobProgress = parse(row, 1, id)?;
    let spec: JobSpec = parse(row, 2, id)?;
    Ok(Job {
        id,
        spec: Arc::new(spec),
        progress,
    })
}

/// A job id.
pub(crate) fn job_id(row: &Row<'_>, column: usize) -> Result<JobId, ReadError> {
    Ok(JobId(Uuid::from_bytes(row.get(column)?)))
}

/// What most JSON columns fit in; one that does not grows.
const USUAL_BYTES: usize = 2_048;

/// Begins the sum at the end of a JSON column; no JSON text ends like this.
const SUM: &str = "\n#";

/// What was stored as JSON with a sum; `None` when it is not what was written. SQLite would not notice a bit that has
/// flipped within a text. A text without a sum is from before there were any.
pub(crate) fn summed(text: &str) -> Option<&str> {
    let Some((json, sum)) = text.rsplit_once(SUM) else {
        return Some(text);
    };
    let sum = u32::from_str_radix(sum, 16).ok()?;
    (crc32fast::hash(json.as_bytes()) == sum).then_some(json)
}

/// A JSON column.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
    job: JobId,
) -> Result<T, ReadError> {
    let text = row
        .get_ref(column)?
        .as_str()
        .map_err(rusqlite::Error::from)?;
    let not_understood = |why: &dyn std::fmt::Display| {
        let name = row.as_ref().column_name(column).unwrap_or("a column");
        ReadError::NotUnderstood(format!("{name} of job {job}: {why}"))
    };
    let json = summed(text).ok_or_else(|| not_understood(&"its checksum is wrong"))?;
    serde_json::from_str(json).map_err(|error| not_understood(&error))
}

/// A column that holds JSON.
fn read_json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Text,
            Box::new(error),
        )
    })
}

/// The columns of a generation.
pub(crate) fn generation(row: &Row<'_>) -> rusqlite::Result<GenerationRecord> {
    let number: i64 = row.get(0)?;
    Ok(GenerationRecord {
        generation: lucius_domain::id::Generation(u64::try_from(number).unwrap_or(0)),
        activated_at: lucius_domain::time::Timestamp(row.get(1)?),
        digest: Digest(row.get(2)?),
        manifest: row.get(3)?,
        origin: read_json(row, 4)?,
        schemas: read_json(row, 5)?,
    })
}

/// Why a read gives nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("{0}")]
    NotUnderstood(String),
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotUnderstood(what) => Self::Corrupt(what),
            ReadError::Sqlite(error) => match error.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                    Self::Corrupt(error.to_string())
                }
                Some(_) | None => Self::Unavailable(error.to_string()),
            },
        }
    }
}

/// A count as SQLite keeps it.
pub(crate) fn number(value: u64) -> Result<i64, Error> {
    i64::try_from(value).map_err(|_| Error::Corrupt(format!("{value} is beyond what is stored")))
}

fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    use std::io::Write as _;

    let corrupt = |error: &dyn std::fmt::Display| Error::Corrupt(error.to_string());
    let mut text = Vec::with_capacity(USUAL_BYTES);
    serde_json::to_writer(&mut text, value).map_err(|error| corrupt(&error))?;
    let sum = crc32fast::hash(&text);
    write!(text, "{SUM}{sum:08x}").map_err(|error| corrupt(&error))?;
    String::from_utf8(text).map_err(|error| corrupt(&error))
}
