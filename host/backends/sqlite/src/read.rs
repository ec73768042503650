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
    let Filter {
        tenant_id,
        state,
        request_type,
        protocol_id,
        error_code,
        signature,
        from: _,
        until: _,
        after: _,
        limit: _,
    } = filter;
    let (first, end) = filter.id_range();
    let mut values: Vec<Value> = Vec::new();
    let mut sql = format!(
        "SELECT j.id, j.progress, s.spec FROM jobs j {} JOIN specs s ON s.job = j.n WHERE 1",
        list_index(filter),
    );
    let text = |text: &str| Value::from(text.to_owned());
    let id = |id: JobId| Value::from(id.0.as_bytes().to_vec());
    let conditions = [
        ("j.tenant =", tenant_id.as_ref().map(|it| text(it.as_str()))),
        (
            "j.request_type =",
            request_type.as_ref().map(|it| text(it.as_str())),
        ),
        (
            "j.protocol =",
            protocol_id.as_ref().map(|it| text(it.as_str())),
        ),
        ("j.error_code =", error_code.as_deref().map(text)),
        ("j.signature =", signature.map(|it| it.0.to_vec().into())),
        ("j.state =", state.map(text)),
        ("j.id >=", first.map(id)),
        ("j.id <", end.map(id)),
    ];
    for (condition, value) in conditions {
        if let Some(value) = value {
            values.push(value);
            sql.push_str(&format!(" AND {condition} ?{}", values.len()));
        }
    }
    if state.is_some_and(is_indexed) {
        sql.push_str(" AND j.state <> 'SUCCEEDED'"); // or the index would not do
    }
    // Whoever reads stops when there are enough; a row that is left out must not count.
    sql.push_str(" ORDER BY j.id DESC");
    (sql, values)
}

/// The index that gives the list in its order and skips most of what is not in it.
fn list_index(filter: &Filter) -> &'static str {
    if filter.signature.is_some() {
        return "INDEXED BY jobs_by_signature";
    }
    if filter.error_code.is_some() {
        return "INDEXED BY jobs_by_error";
    }
    match (filter.state, &filter.tenant_id, &filter.request_type) {
        (Some(state), ..) if is_indexed(state) => "INDEXED BY jobs_by_state",
        (_, Some(_), Some(_)) => "INDEXED BY jobs_by_tenant_and_type",
        (_, Some(_), None) => "INDEXED BY jobs_by_tenant",
        (_, None, Some(_)) => "INDEXED BY jobs_by_type",
        (_, None, None) if filter.protocol_id.is_some() => "INDEXED BY jobs_by_protocol",
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

pub(crate) fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::LAYOUTS;

    /// How SQLite means to answer, one line a table.
    fn plan(sql: &str, values: Vec<Value>) -> Vec<String> {
        let memory = Connection::open_in_memory().expect("memory is there");
        crate::upkeep::add_layout_functions(&memory).expect("a function is added");
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

    /// Every combination of what a list can be narrowed by.
    fn filters() -> Vec<Filter> {
        let mut filters = vec![Filter {
            limit: 10,
            ..Filter::default()
        }];
        let narrowings: [fn(&mut Filter); 9] = [
            |it| it.tenant_id = Some("acme".into()),
            |it| it.request_type = Some("OCR".into()),
            |it| it.protocol_id = Some("atomic-ocr.v1".into()),
            |it| it.error_code = Some("NO_ROUTE".to_owned()),
            |it| it.signature = Some(lucius_domain::signature::Id([1; 8])),
            |it| it.from = Some(Timestamp(1)),
            |it| it.state = Some("SUCCEEDED"),
            |it| it.state = Some("FAILED_FINAL"),
            |it| it.state = Some("IN_PROGRESS"),
        ];
        for narrow in narrowings {
            let narrowed = filters.iter().cloned().map(|mut filter| {
                narrow(&mut filter);
                filter
            });
            let narrowed: Vec<_> = narrowed.collect();
            filters.extend(narrowed);
        }
        filters
    }

    #[test]
    fn no_list_is_sorted_and_only_the_unfiltered_ones_walk_all_jobs() {
        for filter in filters() {
            let after = Some(JobId(uuid::Uuid::from_u128(1)));
            let (sql, values) = list_query(&Filter {
                after,
                ..filter.clone()
            });
            let later_page = plan(&sql, values);
            assert!(
                later_page[0].starts_with("SEARCH j USING INDEX"),
                "{filter:?}: {later_page:?}"
            );
            assert!(
                later_page[0].contains("id<?"),
                "the cursor is looked up: {later_page:?}"
            );
            let (sql, values) = list_query(&filter);
            let first_page = plan(&sql, values);
            for line in later_page.iter().chain(&first_page) {
                assert!(!line.contains("TEMP B-TREE"), "{filter:?}: {line}");
            }
            let narrow = filter.tenant_id.is_some()
                || filter.request_type.is_some()
                || filter.protocol_id.is_some()
                || filter.error_code.is_some()
                || filter.signature.is_some();
            if narrow || filter.state.is_some_and(is_indexed) {
                assert!(
                    first_page[0].starts_with("SEARCH j"),
                    "{filter:?}: {first_page:?}"
                );
            }
        }
    }
}
