//! When to say no: what is in flight, and the limits.
//!
//! The counts start from the ledger and follow every write of this host. A place is taken before a job is created, so
//! many at once cannot slip past a limit together; the same command many times at once takes one.
//!
//! A write whose answer is lost may have happened or not, and the same is true of one that nobody waited for. Until
//! somebody looks, the counts stay as they were before it ([`Gates::doubts`]); a sweep looks, so no place is lost.

pub(crate) mod fuel;
mod tally;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lucius_domain::id::JobId;
use lucius_domain::job::Job;
use lucius_domain::routing::Mode;
use lucius_ports::ledger::{Counts, Idempotency};

use crate::refusal::Refusal;
use crate::settings::Limits;

use tally::{Key, Tally};

/// When a refused client may try again. A place becomes free when a job ends, which takes about this long.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The gates of one host.
pub struct Gates {
    limits: Limits,
    tally: Mutex<Tally>,
}

/// What is in flight now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Jobs that are not terminal.
    pub jobs: u64,
    /// Those in mode BURST.
    pub burst_jobs: u64,
    /// Tenants that have any.
    pub tenants: usize,
    /// Directives that wait to be published, by lane.
    pub backlog: [u64; 16],
}

impl Gates {
    /// With what the ledger says is in flight.
    pub fn new(limits: Limits, counts: Counts) -> Self {
        let tally = Mutex::new(Tally::new(counts));
        Self { limits, tally }
    }

    /// Takes a place for a job that is about to be created, or says which limit is reached.
    ///
    /// # Errors
    /// TENANT_LIMIT, LANE_LIMIT or GLOBAL_LIMIT.
    pub(crate) fn take_place(
        &self,
        job: &Arc<Job>,
        idempotency: &Idempotency,
        tenant_limit: Option<u64>,
    ) -> Result<Place<'_>, Refusal> {
        let key = (job.spec.tenant_id.clone(), idempotency.key.clone());
        let mut tally = self.lock();
        if !tally.is_being_created(&key) {
            self.check(&tally, job, tenant_limit)?;
        }
        tally.reserve(&key, job);
        let job = Arc::clone(job);
        Ok(Place {
            gates: self,
            key,
            job,
            over: false,
        })
    }

    fn check(&self, tally: &Tally, job: &Job, tenant_limit: Option<u64>) -> Result<(), Refusal> {
        let (limits, spec, retry_after) = (self.limits, &job.spec, RETRY_AFTER);
        let limit = tenant_limit.unwrap_or(limits.tenant_inflight);
        if tally.of_tenant(&spec.tenant_id) >= limit {
            let tenant = spec.tenant_id.to_string();
            return Err(Refusal::TenantLimit {
                tenant,
                limit,
                retry_after,
            });
        }
        let now = tally.occupancy();
        if now.backlog[usize::from(spec.lane.number())] >= limits.outbox_backlog {
            let (lane, limit) = (spec.lane.number(), limits.outbox_backlog);
            return Err(Refusal::LaneLimit {
                lane,
                limit,
                retry_after,
            });
        }
        let global = |limit, of_mode| Refusal::GlobalLimit {
            limit,
            of_mode,
            retry_after,
        };
        if spec.mode.resolved_mode == Mode::Burst && now.burst_jobs >= limits.burst_inflight {
            return Err(global(limits.burst_inflight, " in mode BURST"));
        }
        if now.jobs >= limits.global_inflight {
            return Err(global(limits.global_inflight, ""));
        }
        Ok(())
    }

    /// Says that a commit on top of this version of a job is about to be made.
    pub(crate) fn begin(&self, before: &Arc<Job>) -> Writing<'_> {
        self.lock().begin(before);
        Writing {
            gates: self,
            before: Arc::clone(before),
            over: false,
        }
    }

    /// Jobs of which it is not known what became of a write.
    pub(crate) fn doubts(&self) -> Vec<JobId> {
        self.lock().doubts()
    }

    /// Settles a doubt by what the ledger holds now.
    pub(crate) fn settle(&self, id: JobId, found: Option<&Job>) {
        self.lock().settle(id, found);
    }

    /// What is in flight now.
    pub fn occupancy(&self) -> Occupancy {
        self.lock().occupancy()
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place for a job that is about to be created. Dropped without a word, it is not known whether the job was.
pub(crate) struct Place<'a> {
    gates: &'a Gates,
    key: Key,
    job: Arc<Job>,
    over: bool,
}

impl Place<'_> {
    /// The job was created; its place is free again when it ends.
    pub(crate) fn created(mut self) {
        self.over = true;
        self.gates.lock().created(&self.key, &self.job);
    }

    /// Nothing was created; the place is free again.
    pub(crate) fn not_created(mut self) {
        self.over = true;
        self.gates.lock().not_created(&self.key);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.gates.lock().maybe_created(&self.key, &self.job);
        }
    }
}

/// A commit under way. Dropped without a word, it is not known whether it happened.
pub(crate) struct Writing<'a> {
    gates: &'a Gates,
    before: Arc<Job>,
    over: bool,
}

impl Writing<'_> {
    /// It is durable; this is the job from now on.
    pub(crate) fn done(mut self, after: &Job) {
        self.over = true;
        self.gates.lock().done(after);
    }

    /// Somebody else was faster; nothing was written.
    pub(crate) fn conflict(mut self) {
        self.over = true;
        self.gates.lock().conflict(self.before.id);
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.gates.lock().maybe_done(&self.before);
        }
    }
}
