//! The reference ledger: maps behind one lock, and every answer computed the plain way.
//!
//! It keeps outbox rows as the changes say and finds what is due by looking at every job, so that a ledger with
//! indexes and caches can be compared with something too simple to be wrong in the same way. Nothing is durable.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use lucius_domain::event::Recorded;
use lucius_domain::id::{AttemptNo, Digest, Generation, JobId, TenantId};
use lucius_domain::job::{DueKind, Job};
use lucius_domain::routing::Lane;
use lucius_domain::time::Timestamp;
use lucius_domain::transition::{Change, OutboxRow};
use lucius_ports::ledger::{
    Committed, Counts, Created, Error, Filter, GenerationRecord, Generations, Idempotency, Ledger,
    ModeKey,
};
use lucius_ports::pins::Pins;
use lucius_ports::upkeep::{COUNTED, Failures, States, Upkeep};

/// Jobs, steps, outbox, events and generations, as long as the process lives.
#[derive(Debug, Default)]
pub struct MemoryLedger {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    jobs: BTreeMap<JobId, Entry>,
    keys: HashMap<(TenantId, String), (JobId, Digest)>,
    generations: Vec<GenerationRecord>,
}

#[derive(Debug)]
struct Entry {
    job: Arc<Job>,
    events: Vec<Recorded>,
    outbox: BTreeMap<(usize, AttemptNo), OutboxRow>,
}

impl MemoryLedger {
    /// An empty ledger.
    pub fn new() -> Self {
        Self::default()
    }

    /// The outbox rows of a job, by step and attempt; empty for an unknown job. For tests that check what the port
    /// does not show: the rows that are not PENDING any more.
    pub fn outbox(&self, job: JobId) -> Vec<(usize, AttemptNo, OutboxRow)> {
        let state = self.state();
        let rows = state
            .jobs
            .get(&job)
            .into_iter()
            .flat_map(|entry| &entry.outbox);
        rows.map(|((step, attempt), row)| (*step, *attempt, row.clone()))
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change below is complete before anything in it could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn find(&self, tenant: &TenantId, idempotency: &Idempotency) -> Option<Created> {
        let (job, digest) = self.keys.get(&(tenant.clone(), idempotency.key.clone()))?;
        if *digest != idempotency.digest {
            return Some(Created::KeyReused(*job));
        }
        self.jobs
            .get(job)
            .map(|entry| Created::Duplicate(Arc::clone(&entry.job)))
    }
}

impl Entry {
    fn take(&mut self, change: Change) {
        self.job = change.job;
        self.events.extend_from_slice(&change.events);
        self.outbox.extend(
            change
                .outbox
                .into_iter()
                .map(|it| ((it.step, it.attempt_no), it.row)),
        );
    }

    /// The time since which the job is due for one of these, if it is.
    fn due(&self, kinds: &[DueKind], now: Timestamp) -> Option<Timestamp> {
        let outbox = kinds
            .contains(&DueKind::Dispatch)
            .then(|| self.publish_at())
            .flatten();
        let clock = self.job.due().filter(|(kind, _)| match kind {
            DueKind::Dispatch => false,
            DueKind::Ack | DueKind::Lease | DueKind::Decision => kinds.contains(kind),
        });
        outbox
            .into_iter()
            .chain(clock.map(|(_, at)| at))
            .filter(|at| *at <= now)
            .min()
    }

    fn publish_at(&self) -> Option<Timestamp> {
        let pending = self.outbox.values().filter_map(|row| match row {
            OutboxRow::Pending { publish_at, .. } => Some(*publish_at),
            OutboxRow::Sent | OutboxRow::FailedFinal | OutboxRow::Cancelled => None,
        });
        pending.min()
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn create(&self, change: Change, idempotency: Idempotency) -> Result<Created, Error> {
        let mut state = self.state();
        let tenant = change.job.spec.tenant_id.clone();
        if let Some(earlier) = state.find(&tenant, &idempotency) {
            return Ok(earlier);
        }
        let id = change.job.id;
        if state.jobs.contains_key(&id) {
            return Err(Error::Unavailable(format!(
                "the job id {id} is taken: use a new one"
            )));
        }
        let job = Arc::clone(&change.job);
        let mut entry = Entry {
            job,
            events: Vec::new(),
            outbox: BTreeMap::new(),
        };
        entry.take(change);
        state.jobs.insert(id, entry);
        state
            .keys
            .insert((tenant, idempotency.key), (id, idempotency.digest));
        Ok(Created::New)
    }

    async fn find(
        &self,
        tenant: &TenantId,
        idempotency: &Idempotency,
    ) -> Result<Option<Created>, Error> {
        Ok(self.state().find(tenant, idempotency))
    }

    async fn load(&self, job: JobId) -> Result<Option<Arc<Job>>, Error> {
        Ok(self
            .state()
            .jobs
            .get(&job)
            .map(|entry| Arc::clone(&entry.job)))
    }

    async fn commit(&self, change: Change) -> Result<Committed, Error> {
        let mut state = self.state();
        match state.jobs.get_mut(&change.job.id) {
            Some(entry) if entry.job.progress.version == change.expected => {
                entry.take(change);
                Ok(Committed::Done)
            }
            Some(_) | None => Ok(Committed::Conflict),
        }
    }

    async fn due(
        &self,
        lane: Lane,
        kinds: &[DueKind],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<JobId>, Error> {
        let state = self.state();
        let in_lane = state
            .jobs
            .values()
            .filter(|entry| entry.job.spec.lane == lane);
        let mut due: Vec<_> = in_lane
            .filter_map(|entry| Some((entry.due(kinds, now)?, entry.job.id)))
            .collect();
        due.sort_unstable();
        due.truncate(limit);
        Ok(due.into_iter().map(|(_, id)| id).collect())
    }

    async fn list(&self, filter: Filter) -> Result<Vec<Arc<Job>>, Error> {
        let state = self.state();
        let listed = state
            .jobs
            .values()
            .rev()
            .filter(|entry| filter.means(&entry.job));
        Ok(listed
            .take(filter.limit)
            .map(|entry| Arc::clone(&entry.job))
            .collect())
    }

    async fn events(
        &self,
        job: JobId,
        after_seq: u64,
        limit: usize,
    ) -> Result<Vec<Recorded>, Error> {
        let state = self.state();
        let events = state
            .jobs
            .get(&job)
            .into_iter()
            .flat_map(|entry| &entry.events);
        Ok(events
            .filter(|recorded| recorded.seq > after_seq)
            .take(limit)
            .cloned()
            .collect())
    }

    async fn counts(&self) -> Result<Counts, Error> {
        let state = self.state();
        let mut counts = Counts::default();
        for entry in state.jobs.values() {
            let spec = &entry.job.spec;
            if !entry.job.progress.status.is_terminal() {
                let key = (
                    spec.tenant_id.clone(),
                    ModeKey::from(spec.mode.resolved_mode),
                );
                *counts.in_flight.entry(key).or_insert(0) += 1;
            }
            for row in entry.outbox.values() {
                match row {
                    OutboxRow::Pending { .. } => {
                        *counts.outbox_pending.entry(spec.lane).or_insert(0) += 1;
                    }
                    OutboxRow::Sent | OutboxRow::FailedFinal | OutboxRow::Cancelled => {}
                }
            }
        }
        Ok(counts)
    }
}

impl Pins for MemoryLedger {}

#[async_trait]
impl Upkeep for MemoryLedger {
    async fn failures(
        &self,
        tenant: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<Failures>, Error> {
        let state = self.state();
        let jobs = state.jobs.values().map(|entry| &*entry.job);
        let of_tenant = jobs.filter(|job| tenant.is_none_or(|it| *it == job.spec.tenant_id));
        Ok(Failures::grouped(of_tenant, limit))
    }

    async fn states(&self) -> Result<States, Error> {
        let mut states = States::new();
        for entry in self.state().jobs.values() {
            let name = entry.job.progress.status.name();
            if COUNTED.contains(&name) {
                *states.entry(name).or_default() += 1;
            }
        }
        Ok(states)
    }

    async fn purge(&self, ended_before: Timestamp, limit: usize) -> Result<usize, Error> {
        let mut state = self.state();
        let ended = state.jobs.values().filter(|entry| {
            let progress = &entry.job.progress;
            progress.completed_at.is_some_and(|at| at < ended_before)
        });
        let gone: Vec<JobId> = ended.take(limit).map(|entry| entry.job.id).collect();
        for id in &gone {
            state.jobs.remove(id);
        }
        state.keys.retain(|_, (job, _)| !gone.contains(job));
        Ok(gone.len())
    }
}

#[async_trait]
impl Generations for MemoryLedger {
    async fn append(&self, record: GenerationRecord) -> Result<Committed, Error> {
        let mut state = self.state();
        let latest = state
            .generations
            .last()
            .map_or(0, |latest| latest.generation.0);
        if record.generation.0 != latest + 1 {
            return Ok(Committed::Conflict);
        }
        state.generations.push(record);
        Ok(Committed::Done)
    }

    async fn generation(&self, number: Generation) -> Result<Option<GenerationRecord>, Error> {
        let state = self.state();
        Ok(state
            .generations
            .iter()
            .find(|record| record.generation == number)
            .cloned())
    }

    async fn latest(&self, limit: usize) -> Result<Vec<GenerationRecord>, Error> {
        Ok(self
            .state()
            .generations
            .iter()
            .rev()
            .take(limit)
            .cloned()
            .collect())
    }
}
