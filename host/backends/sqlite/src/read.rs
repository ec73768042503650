//! What is read, each from one snapshot of the file, each by an index that fits the question.

use std::sync::Arc;

use lucius_domain::event::Recorded;
use lucius_domain::id::{JobId, TenantId};
use lucius_domain::job::{DueKind, Job, Status};
use lucius_domain::routing::Lane;
use lucius_domain::time::Timestamp;
use lucius_ports::ledger::{Counts, Filter, GenerationRecord, ModeKey};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params};

use crate::row::{ReadError, clock_kind, generation, job, job_id, parse};

pub(crate) fn load(from: &Connection, id: JobId) -> Result<Option<Job>, ReadError> {
    let mut statement = from.prepare_cached(
        "SELECT j.id, j.progress, s.spec FROM jobs j JOIN specs s ON s.job = j.n WHERE j.id = ?1",
    )?;
    let mut rows = statement.query([id.0.as_bytes()])?;
    rows.next()?.map(job).transpose()
}

pub(crate) fn events(
    from: &Connection,
    id: JobId,
    after_seq: i64,
    limit: usize,
) -> Result<Vec<Recorded>, ReadError> {
    let mut statement = from.prepare_cached(
        "SELECT e.body FROM jobs j JOIN events e ON e.job = j.n
         WHERE j.id = ?1 AND e.last_seq > ?2 ORDER BY e.last_seq LIMIT ?3",
    )?;
    // A row holds at least one event, so this many rows are enough.
    let mut rows = statement.query(params![id.0.as_bytes(), after_seq, sql_limit(limit)])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        let commit: Vec<Recorded> = parse(row, 0, id)?;
        let after = u64::try_from(after_seq).unwrap_or(0);
        events.extend(commit.into_iter().filter(|recorded| recorded.seq > after));
    }
    events.truncate(limit);
    Ok(events)
}

/// What to look for among the jobs of a lane.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) lane: Lane,
    pub(crate) kinds: Vec<DueKind>,
    pub(crate) now: Timestamp,
    pub(crate) limit: usize,
}

pub(crate) fn due(from: &Connection, what: &Due) -> Result<Vec<JobId>, ReadError> {
    let mut kinds = what.kinds.clone();
    kinds.sort_unstable();
    kinds.dedup();
    let mut found: Vec<(i64, JobId)> = Vec::new();
    for kind in kinds {
        let (lane, now, limit) = (what.lane.number(), what.now.0, sql_limit(what.limit));
        match clock_kind(kind) {
            Some(kind) => {
                let mut statement = from.prepare_cached(
                    "SELECT due_at, id FROM jobs INDEXED BY jobs_due
                     WHERE lane = ?1 AND due_kind = ?2 AND due_at <= ?3
                     ORDER BY due_at, id LIMIT ?4",
                )?;
                let mut rows = statement.query(params![lane, kind, now, limit])?;
                while let Some(row) = rows.next()? {
                    found.push((row.get(0)?, job_id(row, 1)?));
                }
            }
            None => {
                let mut statement = from.prepare_cached(
                    "SELECT o.publish_at, j.id
                     FROM outbox o INDEXED BY outbox_pending JOIN jobs j ON j.n = o.job
                     WHERE o.state = 'PENDING' AND o.lane = ?1 AND o.publish_at <= ?2
                     ORDER BY o.publish_at, o.job LIMIT ?3",
                )?;
                let mut rows = statement.query(params![lane, now, limit])?;
                while let Some(row) = rows.next()? {
                    found.push((row.get(0)?, job_id(row, 1)?));
                }
            }
        }
    }
    found.sort_unstable();
    found.truncate(what.limit);
    Ok(found.into_iter().map(|(_, id)| id).collect())
}

pub(crate) fn list(from: &Connection, filter: &Filter) -> Result<Vec<Arc<Job>>, ReadError> {
    let (sql, values) = list_query(filter);
    let mut statement = from.prepare_cached(&sql)?;
    let mut rows = statement.query(rusqlite::params_from_iter(values))?;
    let mut jobs = Vec::new();
    while jobs.len() < filter.limit
        && let Some(row) = rows.next()?
    {
        match job(row) {
            Ok(job) => jobs.push(Arc::new(job)),
            // One row must not hide all the others.
            Err(ReadError::NotUnderstood(what)) => {
                tracing::error!(what, "a row was left alone, and out of a list");
            }
            Err(error @ ReadError::Sqlite(_)) => return Err(error),
        }
    }
    Ok(jobs)
}

fn list_query(filter: &Filter) -> (String, Vec<Value>) {
    let mut values: Vec<Value> = Vec::new();
    let mut sql = format!(
        "SELECT j.id, j.progress, s.spec FROM jobs j {} JOIN specs s ON s.job = j.n WHERE 1",
        list_index(filter),
    );
    let mut narrow = |condition: &str, value: Value| {
        values.push(value);
        sql.push_str(&format!(" AND {condition} ?{}", values.len()));
    };
    if let Some(tenant) = &filter.tenant_id {
        narrow("j.tenant =", tenant.as_str().to_owned().into());
    }
    if let Some(kind) = &filter.request_type {
        narrow("j.request_type =", kind.as_str().to_owned().into());
    }
    if let Some(state) = filter.state {
        narrow("j.state =", state.to_owned().into());
    }
    if let Some(after) = filter.after {
        narrow("j.id <", after.0.as_bytes().to_vec().into());
    }
    if filter.state.is_some_and(is_indexed) {
        sql.push_str(" AND j.state <> 'SUCCEEDED'"); // or the index would not do
    }
    // Whoever reads stops when there are enough; a row that is left out must not count.
    sql.push_str(" ORDER BY j.id DESC");
    (sql, values)
}

/// The index that gives the list in its order and skips most of what is not in it.
fn list_index(filter: &Filter) -> &'static str {
    match (filter.state, &filter.tenant_id, &filter.request_type) {
        (Some(state), ..) if is_indexed(state) => "INDEXED BY jobs_by_state",
        (_, Some(_), Some(_)) => "INDEXED BY jobs_by_tenant_and_type",
        (_, Some(_), None) => "INDEXED BY jobs_by_tenant",
        (_, None, Some(_)) => "INDEXED BY jobs_by_type",
        (_, None, None) => "",
    }
}

fn is_indexed(state: &str) -> bool {
    state != Status::Succeeded.name()
}

pub(crate) fn counts(from: &Connection) -> Result<Counts, ReadError> {
    // Two statements in one transaction, so that both see the same moment.
    let moment = from.unchecked_transaction()?;
    let mut counts = Counts::default();
    {
        let mut statement = moment.prepare_cached(
            "SELECT tenant, mode, count(*) FROM jobs INDEXED BY jobs_by_state
             WHERE state IN ('QUEUED', 'DISPATCHING', 'IN_PROGRESS', 'CANCELLING')
                   AND state <> 'SUCCEEDED'
             GROUP BY tenant, mode",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let tenant: String = row.get(0)?;
            let mode: String = row.get(1)?;
            let key = (TenantId::new(tenant), mode_key(&mode)?);
            counts.in_flight.insert(key, count(row.get(2)?));
        }
        let mut statement = moment.prepare_cached(
            "SELECT lane, count(*) FROM outbox INDEXED BY outbox_pending
             WHERE state = 'PENDING' GROUP BY lane",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let number: u8 = row.get(0)?;
            let lane = Lane::new(number)
                .ok_or_else(|| ReadError::NotUnderstood(format!("there is no lane {number}")))?;
            counts.outbox_pending.insert(lane, count(row.get(1)?));
        }
    }
    moment.finish()?;
    Ok(counts)
}

fn mode_key(name: &str) -> Result<ModeKey, ReadError> {
    match name {
        "DEFAULT" => Ok(ModeKey::Default),
        "BURST" => Ok(ModeKey::Burst),
        other => Err(ReadError::NotUnderstood(format!(
            "there is no mode {other}"
        ))),
    }
}

fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(crate) fn one_generation(
    from: &Connection,
    number: i64,
) -> Result<Option<GenerationRecord>, ReadError> {
    let mut statement = from.prepare_cached(
        "SELECT generation, activated_at, digest, manifest, origin, schemas FROM generations
         WHERE generation = ?1",
    )?;
    Ok(statement.query_row([number], generation).optional()?)
}

pub(crate) fn latest(from: &Connection, limit: usize) -> Result<Vec<GenerationRecord>, ReadError> {
    let mut statement = from.prepare_cached(
        "SELECT generation, activated_at, digest, manifest, origin, schemas FROM generations
         ORDER BY generation DESC LIMIT ?1",
    )?;
    let rows = statement.query_map([sql_limit(limit)], generation)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The newest jobs that were accepted with a plugin.
pub(crate) fn jobs_of(
    from: &Connection,
    plugin: &str,
    limit: usize,
) -> Result<Vec<JobId>, ReadError> {
    let mut statement = from.prepare_cached(
        "SELECT j.id FROM pins p JOIN jobs j ON j.n = p.job
         WHERE p.plugin = ?1 ORDER BY p.job DESC LIMIT ?2",
    )?;
    let rows = statement.query_map(rusqlite::params![plugin, sql_limit(limit)], |row| {
        Ok(JobId(uuid::Uuid::from_bytes(row.get(0)?)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::LAYOUTS;

    /// How SQLite means to answer, one line a table.
    fn plan(sql: &str, values: Vec<Value>) -> Vec<String> {
        let memory = Connection::open_in_memory().expect("memory is there");
        let layouts = LAYOUTS.concat();
        memory
            .execute_batch(&layouts)
            .expect("the tables are sound");
        let mut statement = memory
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .expect(sql);
        let rows = statement.query_map(rusqlite::params_from_iter(values), |row| row.get(3));
        rows.expect(sql).collect::<Result<_, _>>().expect(sql)
    }

    #[test]
    fn no_list_is_sorted_and_only_the_unfiltered_ones_walk_all_jobs() {
        let tenants = [None, Some("acme")];
        let states = [
            None,
            Some("SUCCEEDED"),
            Some("FAILED_FINAL"),
            Some("IN_PROGRESS"),
        ];
        for (tenant, state) in tenants.into_iter().flat_map(|t| states.map(|s| (t, s))) {
            for request_type in [None, Some("OCR")] {
                let after = Some(JobId(uuid::Uuid::from_u128(1)));
                let filter = Filter {
                    tenant_id: tenant.map(Into::into),
                    state,
                    request_type: request_type.map(Into::into),
                    after,
                    limit: 10,
                };
                let (sql, values) = list_query(&filter);
                let plan = plan(&sql, values);
                assert!(
                    plan[0].starts_with("SEARCH j USING INDEX"),
                    "{filter:?}: {plan:?}"
                );
                assert!(
                    plan[0].contains("id<?"),
                    "the cursor is looked up: {plan:?}"
                );
                assert!(
                    !plan.iter().any(|line| line.contains("TEMP B-TREE")),
                    "{plan:?}"
                );
                let (sql, values) = list_query(&Filter {
                    after: None,
                    ..filter.clone()
                });
                let first_page = self::plan(&sql, values);
                assert!(!first_page.iter().any(|line| line.contains("TEMP B-TREE")));
                let narrow = tenant.is_some() || request_type.is_some();
                if narrow || state.is_some_and(is_indexed) {
                    assert!(
                        first_page[0].starts_with("SEARCH j"),
                        "{filter:?}: {first_page:?}"
                    );
                }
            }
        }
    }
}
