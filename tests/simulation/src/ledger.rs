//! The ledger as a host sees it: slow, unavailable before or after it takes effect, taken by another writer, or so
//! late that the write arrives long after its caller gave it up.

use std::sync::Arc;

use async_trait::async_trait;
use lucius_domain::event::Recorded;
use lucius_domain::id::{Generation, JobId, TenantId};
use lucius_domain::job::{DueKind, Job};
use lucius_domain::routing::Lane;
use lucius_domain::time::Timestamp;
use lucius_domain::transition::Change;
use lucius_ports::ledger::{
    Committed, Counts, Created, Error, Filter, GenerationRecord, Generations, Idempotency, Ledger,
};
use lucius_ports::pins::Pins;
use lucius_ports::records::{Key, Kind, Record, Records, Removed, Written};
use lucius_ports::upkeep::{Failures, States, Upkeep};

use crate::defects;
use crate::mutation::Mutation;
use crate::world::{Happening, LateWrite, World, at_once};

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It never arrives.
    Before,
    /// It takes effect and its answer is lost.
    After,
    /// Its answer is lost, and it takes effect much later, or never.
    Late,
    /// Another writer is said to have been faster.
    Conflict,
}

/// One host's way to the ledger.
pub(crate) struct SimLedger(pub(crate) Arc<World>);

fn lost() -> Error {
    Error::Unavailable("the ledger fails by plan".to_owned())
}

impl SimLedger {
    fn read_fault(&self) -> Result<(), Error> {
        let state = &mut *self.0.state();
        let fails = !state.calm && (state.ledger_down || state.dice.permille(15));
        if fails { Err(lost()) } else { Ok(()) }
    }

    fn write_fault(&self, job: Option<JobId>) -> Option<Fault> {
        let state = &mut *self.0.state();
        if state.calm {
            return None;
        }
        let fault = match state.dice.below(1_000) {
            _ if state.ledger_down => Fault::Before,
            0..25 => Fault::Before,
            25..60 => Fault::After,
            60..80 => Fault::Late,
            80..120 => Fault::Conflict,
            _ => return None,
        };
        state.note(job, format!("the ledger fails a write: {fault:?}"));
        Some(fault)
    }

    async fn read<T>(&self, read: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.0.turns().await;
        self.read_fault()?;
        let answer = read.await;
        self.0.turns().await;
        answer
    }
}

impl World {
    /// Takes a write that arrives now.
    pub(crate) fn arrive(&self, late: LateWrite) {
        match late {
            LateWrite::Create(task, change, idempotency) => {
                self.note(Some(change.job.id), "a write given up long ago arrives");
                // Nobody waits for the answer any more.
                let _nobody = self.create(task, change, idempotency);
            }
            LateWrite::Commit(task, change) => {
                self.note(Some(change.job.id), "a write given up long ago arrives");
                let _nobody = self.commit(task, change);
            }
        }
    }

    fn create(
        &self,
        task: Option<u64>,
        change: Change,
        mut idempotency: Idempotency,
    ) -> Result<Created, Error> {
        let id = change.job.id;
        if self.is(Mutation::LoseCreate) {
            return Ok(Created::New);
        }
        if self.is(Mutation::ForgetKeys) {
            idempotency.key.push_str(&id.to_string());
        }
        let change = defects::forge(self, change);
        let created = at_once(self.memory.create(change, idempotency))?;
        if created == Created::New {
            self.observe(id, task);
        }
        Ok(created)
    }

    fn commit(&self, task: Option<u64>, change: Change) -> Result<Committed, Error> {
        let id = change.job.id;
        if self.is(Mutation::LoseCommit) && self.state().dice.permille(300) {
            return Ok(Committed::Done);
        }
        let mut change = defects::forge(self, change);
        if self.is(Mutation::IgnoreVersion)
            && let Some(stored) = at_once(self.memory.load(id))?
        {
            change.expected = stored.progress.version;
        }
        let committed = at_once(self.memory.commit(change.clone()))?;
        if committed == Committed::Done {
            self.observe(id, task);
            if self.is(Mutation::CommitTwice) {
                change.expected = change.job.progress.version;
                at_once(self.memory.commit(change))?;
                self.observe(id, task);
            }
        }
        Ok(committed)
    }

    /// Compares what the ledger now holds of a job with all that was seen of it before.
    fn observe(&self, id: JobId, task: Option<u64>) {
        let (Ok(Some(stored)), outbox) = (at_once(self.memory.load(id)), self.memory.outbox(id))
        else {
            return;
        };
        let state = &mut *self.state();
        let known = state.check.events_of(id);
        let events = at_once(self.memory.events(id, known, usize::MAX)).unwrap_or_default();
        let names: Vec<&str> = events.iter().map(|it| it.event.name()).collect();
        let by = task
            .map(|task| format!(" by task {task}"))
            .unwrap_or_default();
        state.note(
            Some(id),
            format!(
                "version {}{by}: {} -> {}",
                stored.progress.version.0,
                names.join(", "),
                stored.progress.status.name()
            ),
        );
        let effects = task.and_then(|task| state.effects.get_mut(&task));
        let violation = state.check.observe(&stored, &events, &outbox, effects);
        state.violate(violation.or_else(|| self.is_found_when_due(&stored)));
    }

    /// The whole story of a job, once it is over.
    pub(crate) fn at_the_end(&self, id: JobId) -> Option<crate::world::Violation> {
        let stored = at_once(self.memory.load(id)).ok().flatten()?;
        let events = at_once(self.memory.events(id, 0, usize::MAX)).unwrap_or_default();
        let outbox = self.memory.outbox(id);
        self.state().check.at_the_end(&stored, &events, &outbox)
    }

    /// I3 in small: a job that is not found when it is due is not moved by anyone.
    fn is_found_when_due(&self, job: &Job) -> Option<crate::world::Violation> {
        let lane = job.spec.lane;
        let (kind, at) = job.due()?;
        let found = |at| self.due(lane, &[kind], at).contains(&job.id);
        let what = match (found(at), found(Timestamp(at.0 - 1))) {
            (true, false) => return None,
            (false, _) => format!("is due for {kind:?} at {at} and is not found then"),
            (true, true) => format!("is due for {kind:?} at {at} and is found before"),
        };
        crate::check::violation("I3", job.id, what)
    }

    fn due(&self, lane: Lane, kinds: &[DueKind], now: Timestamp) -> Vec<JobId> {
        let forgotten = match self.mutation {
            Some(Mutation::ForgetLeases) => Some(DueKind::Lease),
            Some(Mutation::ForgetAcks) => Some(DueKind::Ack),
            Some(Mutation::ForgetOutbox) => Some(DueKind::Dispatch),
            Some(_) | None => None,
        };
        let kinds: Vec<DueKind> = kinds
            .iter()
            .copied()
            .filter(|kind| Some(*kind) != forgotten)
            .collect();
        at_once(self.memory.due(lane, &kinds, now, usize::MAX)).unwrap_or_default()
    }
}

#[async_trait]
impl Ledger for SimLedger {
    async fn create(&self, change: Change, idempotency: Idempotency) -> Result<Created, Error> {
        self.0.turns().await;
        let task = self.0.state().task;
        match self.write_fault(Some(change.job.id)) {
            // A conflict is not an answer to this question.
            Some(Fault::Before | Fault::Conflict) => Err(lost()),
            Some(Fault::After) => {
                self.0.create(task, change, idempotency)?;
                Err(lost())
            }
            Some(Fault::Late) => {
                let late = Box::new(LateWrite::Create(task, change, idempotency));
                let state = &mut *self.0.state();
                let delay = state.dice.between(1, 5_000);
                state.later(delay, Happening::Late(late));
                Err(lost())
            }
            None => {
                let created = self.0.create(task, change, idempotency);
                self.0.turns().await;
                created
            }
        }
    }

    async fn find(
        &self,
        tenant: &TenantId,
        idempotency: &Idempotency,
    ) -> Result<Option<Created>, Error> {
        self.read(self.0.memory.find(tenant, idempotency)).await
    }

    async fn load(&self, job: JobId) -> Result<Option<Arc<Job>>, Error> {
        let loaded = self.read(self.0.memory.load(job)).await?;
        Ok(loaded.map(|job| defects::misread(&self.0, job)))
    }

    async fn commit(&self, change: Change) -> Result<Committed, Error> {
        self.0.turns().await;
        let task = self.0.state().task;
        match self.write_fault(Some(change.job.id)) {
            Some(Fault::Before) => Err(lost()),
            Some(Fault::Conflict) => Ok(Committed::Conflict),
            Some(Fault::After) => {
                self.0.commit(task, change)?;
                Err(lost())
            }
            Some(Fault::Late) => {
                let late = Box::new(LateWrite::Commit(task, change));
                let state = &mut *self.0.state();
                let delay = state.dice.between(1, 5_000);
                state.later(delay, Happening::Late(late));
                Err(lost())
            }
            None => {
                let committed = self.0.commit(task, change);
                self.0.turns().await;
                committed
            }
        }
    }

    async fn due(
        &self,
        lane: Lane,
        kinds: &[DueKind],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<JobId>, Error> {
        let mut due = self
            .read(async { Ok(self.0.due(lane, kinds, now)) })
            .await?;
        due.truncate(limit);
        Ok(due)
    }

    async fn list(&self, filter: Filter) -> Result<Vec<Arc<Job>>, Error> {
        self.read(self.0.memory.list(filter)).await
    }

    async fn events(
        &self,
        job: JobId,
        after_seq: u64,
        limit: usize,
    ) -> Result<Vec<Recorded>, Error> {
        self.read(self.0.memory.events(job, after_seq, limit)).await
    }

    async fn counts(&self) -> Result<Counts, Error> {
        self.read(self.0.memory.counts()).await
    }
}

impl Pins for SimLedger {}

#[async_trait]
impl Generations for SimLedger {
    async fn append(&self, record: GenerationRecord) -> Result<Committed, Error> {
        self.0.turns().await;
        match self.write_fault(None) {
            Some(Fault::Before | Fault::Late) => Err(lost()),
            Some(Fault::Conflict) => Ok(Committed::Conflict),
            Some(Fault::After) => {
                self.0.memory.append(record).await?;
                Err(lost())
            }
            None => {
                let appended = self.0.memory.append(record).await;
                self.0.stop_in_a_story().await;
                appended
            }
        }
    }

    async fn generation(&self, number: Generation) -> Result<Option<GenerationRecord>, Error> {
        self.read(self.0.memory.generation(number)).await
    }

    async fn latest(&self, limit: usize) -> Result<Vec<GenerationRecord>, Error> {
        self.read(self.0.memory.latest(limit)).await
    }
}

#[async_trait]
impl Records for SimLedger {
    async fn get(&self, kind: Kind, key: &Key) -> Result<Option<Record>, Error> {
        self.read(self.0.records.get(kind, key)).await
    }

    async fn put(
        &self,
        kind: Kind,
        key: &Key,
        body: String,
        expected: Option<u64>,
    ) -> Result<Written, Error> {
        self.0.turns().await;
        let put = self.0.records.put(kind, key, body, expected);
        match self.write_fault(None) {
            Some(Fault::Before | Fault::Late) => Err(lost()),
            Some(Fault::Conflict) => Ok(Written::Conflict),
            Some(Fault::After) => put.await.and_then(|_| Err(lost())),
            None => {
                let written = put.await;
                self.0.stop_in_a_story().await;
                written
            }
        }
    }

    async fn remove(&self, kind: Kind, key: &Key, expected: u64) -> Result<Removed, Error> {
        self.0.turns().await;
        let remove = self.0.records.remove(kind, key, expected);
        match self.write_fault(None) {
            Some(Fault::Before | Fault::Late) => Err(lost()),
            Some(Fault::Conflict) => Ok(Removed::Conflict),
            Some(Fault::After) => remove.await.and_then(|_| Err(lost())),
            None => {
                let removed = remove.await;
                self.0.stop_in_a_story().await;
                removed
            }
        }
    }

    async fn list(
        &self,
        kind: Kind,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Record>, Error> {
        self.read(self.0.records.list(kind, after, limit)).await
    }
}

/// Nobody looks after a simulated ledger; what is asked of it is what the memory ledger says.
#[async_trait]
impl Upkeep for SimLedger {
    async fn failures(
        &self,
        tenant: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<Failures>, Error> {
        self.0.memory.failures(tenant, limit).await
    }

    async fn states(&self) -> Result<States, Error> {
        self.0.memory.states().await
    }

    async fn purge(&self, ended_before: Timestamp, limit: usize) -> Result<usize, Error> {
        self.0.memory.purge(ended_before, limit).await
    }
}
