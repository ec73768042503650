//! What one request writes, inside the transaction that it shares with others.
//!
//! Each request first does the one thing that can go against it (take the key, replace the version, take the next
//! number) and writes nothing else unless that succeeded. So a conflict needs no savepoint.

use lucius_domain::id::JobId;
use lucius_domain::job::JobSpec;
use lucius_domain::routing::Mode;
use lucius_domain::transition::{OutboxChange, OutboxRow};
use lucius_ports::ledger::GenerationRecord;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use crate::row::{Encoded, NewJob};

/// What creating came to; a duplicate is loaded by whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CreateOutcome {
    New { n: i64 },
    Duplicate(JobId),
    KeyReused(JobId),
    IdTaken,
}

pub(crate) fn create(to: &Connection, new: &NewJob) -> rusqlite::Result<CreateOutcome> {
    let spec = &new.change.job.spec;
    if let Some(earlier) = find(to, spec.tenant_id.as_str(), &new.key)? {
        return Ok(earlier.outcome(&new.digest.0));
    }
    let Some(n) = insert_job(to, &new.change)? else {
        return Ok(CreateOutcome::IdTaken);
    };
    to.prepare_cached(
        "INSERT INTO idempotency (tenant, key, job, digest) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![spec.tenant_id.as_str(), new.key, n, new.digest.0])?;
    to.prepare_cached("INSERT INTO specs (job, spec, key) VALUES (?1, ?2, ?3)")?
        .execute(params![n, new.spec, new.key])?;
    pin(to, n, spec)?;
    follow(to, n, &new.change)?;
    Ok(CreateOutcome::New { n })
}

/// Notes which plugins a job was accepted with.
fn pin(to: &Connection, n: i64, spec: &JobSpec) -> rusqlite::Result<()> {
    let mut statement =
        to.prepare_cached("INSERT OR IGNORE INTO pins (plugin, job) VALUES (?1, ?2)")?;
    for plugin in spec.steps.iter().filter_map(|step| step.plugin.as_ref()) {
        statement.execute(params![plugin.id.as_str(), n])?;
    }
    Ok(())
}

/// The job that a key stands for.
pub(crate) struct Taken {
    pub(crate) job: JobId,
    pub(crate) digest: [u8; 32],
}

impl Taken {
    pub(crate) fn outcome(&self, digest: &[u8; 32]) -> CreateOutcome {
        match self.digest == *digest {
            true => CreateOutcome::Duplicate(self.job),
            false => CreateOutcome::KeyReused(self.job),
        }
    }
}

pub(crate) fn find(
    from: &Connection,
    tenant: &str,
    key: &crate::row::Key,
) -> rusqlite::Result<Option<Taken>> {
    from.prepare_cached(
        "SELECT j.id, i.digest FROM idempotency i JOIN jobs j ON j.n = i.job
         WHERE i.tenant = ?1 AND i.key = ?2",
    )?
    .query_row(params![tenant, key], |row| {
        Ok(Taken {
            job: JobId(Uuid::from_bytes(row.get(0)?)),
            digest: row.get(1)?,
        })
    })
    .optional()
}

fn insert_job(to: &Connection, change: &Encoded) -> rusqlite::Result<Option<i64>> {
    let (job, spec) = (&change.job, &change.job.spec);
    let inserted = to
        .prepare_cached(
            "INSERT OR IGNORE INTO jobs (id, version, tenant, request_type, mode, lane, state,
                 created_at, due_kind, due_at, progress, protocol, ended_at, error_code, signature)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?
        .execute(params![
            job.id.0.as_bytes(),
            change.version,
            spec.tenant_id.as_str(),
            spec.request_type.as_str(),
            mode(spec.mode.resolved_mode),
            spec.lane.number(),
            job.progress.status.name(),
            spec.created_at.0,
            change.due.map(|(kind, _)| kind),
            change.due.map(|(_, at)| at),
            change.progress,
            spec.protocol_id.as_str(),
            change.ended_at,
            change.error_code,
            change.signature.map(|id| id.0),
        ])?;
    Ok((inserted == 1).then(|| to.last_insert_rowid()))
}

fn mode(mode: Mode) -> &'static str {
    mode.as_str()
}

/// Replaces the version the change was decided on; `None` when the job is at another one. `n` is the job's number in
/// the tables, when it is known.
pub(crate) fn commit(
    to: &Connection,
    change: &Encoded,
    n: Option<i64>,
) -> rusqlite::Result<Option<i64>> {
    let known = match n {
        Some(n) => Some(n),
        None => to
            .prepare_cached("SELECT n FROM jobs WHERE id = ?1")?
            .query_row([change.job.id.0.as_bytes()], |row| row.get(0))
            .optional()?,
    };
    let Some(n) = known else { return Ok(None) };
    let replaced = to
        .prepare_cached(
            "UPDATE jobs SET version = ?3, state = ?4, due_kind = ?5, due_at = ?6, progress = ?7,
                 ended_at = ?8, error_code = ?9, signature = ?10
             WHERE n = ?1 AND version = ?2",
        )?
        .execute(params![
            n,
            change.expected,
            change.version,
            change.job.progress.status.name(),
            change.due.map(|(kind, _)| kind),
            change.due.map(|(_, at)| at),
            change.progress,
            change.ended_at,
            change.error_code,
            change.signature.map(|id| id.0),
        ])?;
    if replaced == 0 {
        return Ok(None);
    }
    follow(to, n, change)?;
    Ok(Some(n))
}

/// Writes what follows from a version that was just taken: its events and outbox rows.
fn follow(to: &Connection, n: i64, change: &Encoded) -> rusqlite::Result<()> {
    to.prepare_cached("INSERT INTO events (job, last_seq, body) VALUES (?1, ?2, ?3)")?
        .execute(params![n, change.last_seq, change.events])?;
    for row in &change.outbox {
        outbox(to, n, change, row)?;
    }
    Ok(())
}

fn outbox(to: &Connection, n: i64, change: &Encoded, row: &OutboxChange) -> rusqlite::Result<()> {
    let step = i64::try_from(row.step).unwrap_or(i64::MAX);
    match &row.row {
        OutboxRow::Pending {
            service,
            publish_at,
        } => {
            to.prepare_cached(
                "INSERT INTO outbox (job, step, attempt, lane, service, state, publish_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, 'PENDING', ?6)
                 ON CONFLICT (job, step, attempt) DO UPDATE
                 SET service = excluded.service, state = 'PENDING', publish_at = excluded.publish_at",
            )?
            .execute(params![
                n,
                step,
                row.attempt_no.0,
                change.job.spec.lane.number(),
                service.as_str(),
                publish_at.0,
            ])?;
        }
        OutboxRow::Sent | OutboxRow::FailedFinal | OutboxRow::Cancelled => {
            to.prepare_cached(
                "UPDATE outbox SET state = ?4 WHERE job = ?1 AND step = ?2 AND attempt = ?3",
            )?
            .execute(params![n, step, row.attempt_no.0, row.row.name()])?;
        }
    }
    Ok(())
}

fn json(value: &impl serde::Serialize) -> String {
    // Plain data with text keys always serializes.
    serde_json::to_string(value).unwrap_or_default()
}

/// Appends a generation; false when its number is not the next.
pub(crate) fn append(to: &Connection, record: &GenerationRecord) -> rusqlite::Result<bool> {
    let number = i64::try_from(record.generation.0).unwrap_or(i64::MAX);
    let appended = to
        .prepare_cached(
            "INSERT INTO generations (generation, activated_at, digest, manifest, origin, schemas)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6
             WHERE ?1 = 1 + (SELECT coalesce(max(generation), 0) FROM generations)",
        )?
        .execute(params![
            number,
            record.activated_at.0,
            record.digest.0,
            record.manifest,
            json(&record.origin),
            json(&record.schemas),
        ])?;
    Ok(appended == 1)
}
