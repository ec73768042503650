//! A ledger that fails when it is told to: the n-th call, before or after it takes effect.
//!
//! Both look the same to the caller, which is the point: a store error means *unknown*. Failing every call of a run
//! once, in both ways, shows that nothing is lost whichever of them it is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// When a call fails, seen from the ledger inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call never reaches it.
    Before,
    /// The call has taken effect and its answer is lost.
    After,
}

/// A ledger around another that fails chosen calls with [`Error::Unavailable`].
#[derive(Debug)]
pub struct Faulty<L: ?Sized> {
    plan: Mutex<Plan>,
    inner: Arc<L>,
}

#[derive(Debug, Default)]
struct Plan {
    calls: u64,
    failed: u64,
    faults: BTreeMap<u64, Fault>,
    outage: Option<Fault>,
}

impl<L: ?Sized> Faulty<L> {
    /// Around this ledger, with no faults yet.
    pub fn new(inner: Arc<L>) -> Self {
        Self {
            plan: Mutex::default(),
            inner,
        }
    }

    /// Makes the call with this number fail; the first call after [`Faulty::new`] is number 1.
    pub fn fail_call(&self, number: u64, fault: Fault) {
        self.plan().faults.insert(number, fault);
    }

    /// Makes the next call fail.
    pub fn fail_next(&self, fault: Fault) {
        let mut plan = self.plan();
        let next = plan.calls + 1;
        plan.faults.insert(next, fault);
    }

    /// Makes every call fail from now on, until it is called with `None`.
    pub fn set_outage(&self, outage: Option<Fault>) {
        self.plan().outage = outage;
    }

    /// How many calls there were, of any kind.
    pub fn calls(&self) -> u64 {
        self.plan().calls
    }

    /// How many of them failed by plan.
    pub fn failed(&self) -> u64 {
        self.plan().failed
    }

    /// The ledger inside, which never fails by plan.
    pub fn inner(&self) -> &Arc<L> {
        &self.inner
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let (number, fault) = {
            let mut plan = self.plan();
            plan.calls += 1;
            let number = plan.calls;
            let fault = plan.faults.remove(&number).or(plan.outage);
            plan.failed += u64::from(fault.is_some());
            (number, fault)
        };
        match fault {
            None => return call.await,
            Some(Fault::Before) => {}
            Some(Fault::After) => {
                let _answer_that_is_lost = call.await;
            }
        }
        Err(Error::Unavailable(format!("call {number} fails by plan")))
    }
}

#[async_trait]
impl<L: Ledger + ?Sized> Ledger for Faulty<L> {
    async fn create(&self, change: Change, idempotency: Idempotency) -> Result<Created, Error> {
        self.call(self.inner.create(change, idempotency)).await
    }

    async fn find(
        &self,
        tenant: &TenantId,
        idempotency: &Idempotency,
    ) -> Result<Option<Created>, Error> {
        self.call(self.inner.find(tenant, idempotency)).await
    }

    async fn load(&self, job: JobId) -> Result<Option<Arc<Job>>, Error> {
        self.call(self.inner.load(job)).await
    }

    async fn commit(&self, change: Change) -> Result<Committed, Error> {
        self.call(self.inner.commit(change)).await
    }

    async fn due(
        &self,
        lane: Lane,
        kinds: &[DueKind],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<JobId>, Error> {
        self.call(self.inner.due(lane, kinds, now, limit)).await
    }

    async fn list(&self, filter: Filter) -> Result<Vec<Arc<Job>>, Error> {
        self.call(self.inner.list(filter)).await
    }

    async fn events(
        &self,
        job: JobId,
        after_seq: u64,
        limit: usize,
    ) -> Result<Vec<Recorded>, Error> {
        self.call(self.inner.events(job, after_seq, limit)).await
    }

    async fn counts(&self) -> Result<Counts, Error> {
        self.call(self.inner.counts()).await
    }
}

impl<L: Ledger + ?Sized> Pins for Faulty<L> {}

#[async_trait]
impl<L: Generations + ?Sized> Generations for Faulty<L> {
    async fn append(&self, record: GenerationRecord) -> Result<Committed, Error> {
        self.call(self.inner.append(record)).await
    }

    async fn generation(&self, number: Generation) -> Result<Option<GenerationRecord>, Error> {
        self.call(self.inner.generation(number)).await
    }

    async fn latest(&self, limit: usize) -> Result<Vec<GenerationRecord>, Error> {
        self.call(self.inner.latest(limit)).await
    }
}
