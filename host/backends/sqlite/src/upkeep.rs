//! Failures in groups, and deleting what ended long ago.

use async_trait::async_trait;
use lucius_domain::id::TenantId;
use lucius_domain::job::{Job, JobProgress, JobSpec};
use lucius_domain::signature::{self, Signature};
use lucius_domain::time::Timestamp;
use lucius_ports::ledger::Error;
use lucius_ports::upkeep::{COUNTED, Failures, States, Upkeep};
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::{Connection, params};
use uuid::Uuid;

use crate::SqliteLedger;
use crate::read::sql_limit;
use crate::row::{ReadError, job_id, summed};
use crate::writer::Request;

#[async_trait]
impl Upkeep for SqliteLedger {
    async fn failures(
        &self,
        tenant: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<Failures>, Error> {
        let tenant = tenant.map(ToString::to_string);
        self.readers
            .read(move |from| failures(from, tenant.as_deref(), limit))
            .await
    }

    async fn states(&self) -> Result<States, Error> {
        self.readers.read(states).await
    }

    async fn purge(&self, ended_before: Timestamp, limit: usize) -> Result<usize, Error> {
        let purge = Purge {
            ended_before,
            limit,
        };
        self.ask(|answer| Request::Purge(purge, answer)).await
    }
}

/// The index holds all that is asked for, so this costs what failed.
const FAILURES: &str = "
    SELECT signature, count(*), min(ended_at), max(ended_at), max(id)
    FROM jobs INDEXED BY jobs_by_signature
    WHERE signature IS NOT NULL AND (?1 IS NULL OR tenant = ?1)
    GROUP BY signature ORDER BY count(*) DESC, signature LIMIT ?2";

fn failures(
    from: &Connection,
    tenant: Option<&str>,
    limit: usize,
) -> Result<Vec<Failures>, ReadError> {
    let mut statement = from.prepare_cached(FAILURES)?;
    let mut rows = statement.query(params![tenant, sql_limit(limit)])?;
    let mut groups = Vec::new();
    while let Some(row) = rows.next()? {
        let count: i64 = row.get(1)?;
        groups.push(Failures {
            signature: signature::Id(row.get(0)?),
            count: u64::try_from(count).unwrap_or(0),
            first_at: Timestamp(row.get(2)?),
            last_at: Timestamp(row.get(3)?),
            newest: job_id(row, 4)?,
        });
    }
    Ok(groups)
}

fn states(from: &Connection) -> Result<States, ReadError> {
    let mut statement = from.prepare_cached(
        "SELECT count(*) FROM jobs INDEXED BY jobs_by_state
         WHERE state = ?1 AND state <> 'SUCCEEDED'",
    )?;
    let mut states = States::new();
    for state in COUNTED {
        let count: i64 = statement.query_row([state], |row| row.get(0))?;
        states.insert(state, u64::try_from(count).unwrap_or(0));
    }
    Ok(states)
}

/// Jobs to be deleted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purge {
    ended_before: Timestamp,
    limit: usize,
}

/// What a job left, by its number. Pins are sorted by plugin, so the few plugins there are come first: to look for a
/// job in all pins would take as long as there are jobs.
const OF_JOB: [&str; 6] = [
    "DELETE FROM idempotency WHERE (tenant, key) =
         (SELECT j.tenant, s.key FROM jobs j JOIN specs s ON s.job = j.n WHERE j.n = ?1)",
    "DELETE FROM pins WHERE job = ?1 AND plugin IN (
         WITH RECURSIVE plugins (id) AS (
             SELECT min(plugin) FROM pins
             UNION ALL
             SELECT (SELECT min(plugin) FROM pins WHERE plugin > plugins.id) FROM plugins
             WHERE plugins.id IS NOT NULL
         )
         SELECT id FROM plugins)",
    "DELETE FROM outbox WHERE job = ?1",
    "DELETE FROM events WHERE job = ?1",
    "DELETE FROM specs WHERE job = ?1",
    "DELETE FROM jobs WHERE n = ?1",
];

/// Deletes the oldest jobs that ended before the moment. It walks from the oldest id, past jobs that are under way
/// for so long, and never beyond those that were accepted by then.
pub(crate) fn purge(to: &Connection, purge: Purge) -> rusqlite::Result<usize> {
    let accepted_before = lucius_domain::id::JobId::first_at(purge.ended_before);
    let mut ended = to.prepare_cached(
        "SELECT n FROM jobs WHERE id < ?1 AND ended_at < ?2 ORDER BY id LIMIT ?3",
    )?;
    let found = ended.query_map(
        params![
            accepted_before.0.as_bytes(),
            purge.ended_before.0,
            sql_limit(purge.limit)
        ],
        |row| row.get::<_, i64>(0),
    )?;
    let gone: Vec<i64> = found.collect::<rusqlite::Result<_>>()?;
    for n in &gone {
        for table in OF_JOB {
            to.prepare_cached(table)?.execute([n])?;
        }
    }
    Ok(gone.len())
}

/// Lets a layout read what is stored as JSON with a sum, and compute the signatures of jobs that failed before there
/// were any. A row that is not what was written gives nothing: whoever reads its job is told, and the ledger opens.
pub(crate) fn add_layout_functions(to: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    to.create_scalar_function("stored_json", 1, flags, |arguments: &Context<'_>| {
        stored_json(arguments, 0)
    })?;
    to.create_scalar_function("failure_signature", 3, flags, signature_of)
}

fn stored_json(arguments: &Context<'_>, index: usize) -> rusqlite::Result<Option<String>> {
    let text: Option<String> = arguments.get(index)?;
    Ok(text.and_then(|text| summed(&text).map(str::to_owned)))
}

fn signature_of(arguments: &Context<'_>) -> rusqlite::Result<Option<[u8; 8]>> {
    let id = lucius_domain::id::JobId(Uuid::from_bytes(arguments.get(0)?));
    let (progress, spec) = (stored_json(arguments, 1)?, stored_json(arguments, 2)?);
    let (Some(progress), Some(spec)) = (progress, spec) else {
        return Ok(None);
    };
    let read = || -> serde_json::Result<Job> {
        let progress: JobProgress = serde_json::from_str(&progress)?;
        let spec: JobSpec = serde_json::from_str(&spec)?;
        Ok(Job {
            id,
            progress,
            spec: spec.into(),
        })
    };
    let signature = read().ok().and_then(|job| Signature::of(&job));
    Ok(signature.map(|signature| signature.id().0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::LAYOUTS;

    #[test]
    fn what_a_deleted_job_left_is_looked_up_and_not_searched_for_among_all_jobs() {
        let memory = Connection::open_in_memory().expect("memory is there");
        add_layout_functions(&memory).expect("a function is added");
        memory
            .execute_batch(&LAYOUTS.concat())
            .expect("the tables are sound");
        for sql in OF_JOB {
            let mut statement = memory
                .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
                .expect(sql);
            let lines = statement.query_map([1], |row| row.get::<_, String>(3));
            let lines: rusqlite::Result<Vec<_>> = lines.expect(sql).collect();
            let lines = lines.expect(sql);
            assert!(!lines.is_empty(), "{sql}");
            for line in lines.iter().filter(|line| line.starts_with("SCAN")) {
                assert_eq!(line, "SCAN plugins", "{sql}: {lines:?}");
            }
        }
    }
}
