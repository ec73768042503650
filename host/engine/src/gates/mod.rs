//! When to say no: what is in flight, and the limits.
//!
//! A refusal says when to come again, by how fast places become free; see [`drain`]. What an operator has stopped is
//! in [`pause`].
//!
//! The counts start from the ledger and follow every write of this host. A place is taken before a job is created, so
//! many at once cannot slip past a limit together; the same command many times at once takes one.
//!
//! A write whose answer is lost may have happened or not, and the same is true of one that nobody waited for. Until
//! somebody looks, the counts stay as they were before it ([`Gates::doubts`]); a sweep looks, so no place is lost. What
//! other hosts of the same ledger do is counted from time to time; see [`recount`].

mod drain;
pub(crate) mod fuel;
pub mod health;
pub mod pause;
pub(crate) mod recount;
mod tally;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lucius_domain::id::{JobId, TenantId};
use lucius_domain::job::{Job, JobSpec};
use lucius_domain::routing::Mode;
use lucius_ports::clock::Clock;
use lucius_ports::ledger::{Counts, Idempotency};

use crate::refusal::Refusal;
use crate::settings::Limits;

use tally::{Kept, Key, Tally};

/// The gates of one host.
pub struct Gates {
    clock: Arc<dyn Clock>,
    limits: Mutex<Limits>,
    tally: Mutex<Tally>,
}

/// Which limit a gate keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gate {
    /// Jobs in flight of a tenant.
    Tenant,
    /// Directives in one lane that wait to be published.
    Lane,
    /// Jobs in flight in mode BURST.
    Burst,
    /// Jobs in flight in all.
    Global,
}

impl Gate {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tenant, Self::Lane, Self::Burst, Self::Global];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant_inflight",
            Self::Lane => "outbox_backlog",
            Self::Burst => "burst_inflight",
            Self::Global => "global_inflight",
        }
    }

    /// How many places it has; for tenants, for each that has no limit of its own.
    pub fn limit(self, limits: &Limits) -> u64 {
        match self {
            Self::Tenant => limits.tenant_inflight,
            Self::Lane => limits.outbox_backlog,
            Self::Burst => limits.burst_inflight,
            Self::Global => limits.global_inflight,
        }
    }
}

/// How a gate stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Which one.
    pub gate: Gate,
    /// Whom or what it is about, where there are many: the tenant that is nearest to its limit, the fullest lane.
    pub fullest: Option<String>,
    /// Places that are taken.
    pub used: u64,
    /// Places that there are, for the one that it is about.
    pub limit: u64,
    /// Commands that it turned away since the host started.
    pub refused: u64,
    /// Places that became free, a second, over the last ten to twenty seconds.
    pub freed_per_second: f64,
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
    pub fn new(limits: Limits, counts: Counts, clock: Arc<dyn Clock>) -> Self {
        let (limits, tally) = (Mutex::new(limits), Mutex::new(Tally::new(counts)));
        Self {
            clock,
            limits,
            tally,
        }
    }

    /// The limits as they are.
    pub fn limits(&self) -> Limits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other limits from now on. Who is in stays in.
    pub(crate) fn set_limits(&self, limits: Limits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// How each gate stands; `tenant_limit` says which tenants have a limit of their own.
    pub fn standings(&self, tenant_limit: &dyn Fn(&TenantId) -> Option<u64>) -> Vec<Standing> {
        let limits = self.limits();
        let kept = Kept {
            limits,
            tenant_limit,
        };
        let tally = self.lock();
        let standing = |gate| tally.standing(gate, &kept);
        Gate::ALL.into_iter().map(standing).collect()
    }

    /// Says which limit is reached before a job is worked out that would find no place. Nothing is taken yet.
    ///
    /// # Errors
    /// As [`Gates::take_place`].
    pub(crate) fn look_for_place(
        &self,
        spec: &JobSpec,
        idempotency: &Idempotency,
        tenant_limit: Option<u64>,
    ) -> Result<(), Refusal> {
        let key = (spec.tenant_id.clone(), idempotency.key.clone());
        let mut tally = self.lock();
        if tally.is_being_created(&key) {
            return Ok(());
        }
        match self.full(&tally, spec, tenant_limit) {
            Some(full) => Err(full.refusal(&mut tally, spec)),
            None => Ok(()),
        }
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
        if !tally.is_being_created(&key)
            && let Some(full) = self.full(&tally, &job.spec, tenant_limit)
        {
            return Err(full.refusal(&mut tally, &job.spec));
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

    /// Takes the places that a failed job needs to go on, or says which limit is reached.
    ///
    /// # Errors
    /// The limit.
    pub(crate) fn take_place_again(
        &self,
        job: &Job,
        tenant_limit: Option<u64>,
    ) -> Result<PlaceAgain<'_>, Full> {
        // No command has such a key: theirs begin with "key:" or "digest:".
        let key = (job.spec.tenant_id.clone(), format!("again:{}", job.id));
        let mut tally = self.lock();
        if !tally.is_being_created(&key)
            && let Some(full) = self.full(&tally, &job.spec, tenant_limit)
        {
            return Err(full);
        }
        tally.reserve_again(&key, &job.spec);
        Ok(PlaceAgain { gates: self, key })
    }

    /// Turns somebody away at a limit that is reached, and says when to come again.
    pub(crate) fn turn_away(&self, full: Full, spec: &JobSpec) -> Refusal {
        full.refusal(&mut self.lock(), spec)
    }

    fn full(&self, tally: &Tally, spec: &JobSpec, tenant_limit: Option<u64>) -> Option<Full> {
        let (limits, now) = (self.limits(), tally.occupancy());
        let tenant = tenant_limit.unwrap_or(limits.tenant_inflight);
        let waiting = now.backlog[usize::from(spec.lane.number())];
        let is_burst = spec.mode.resolved_mode == Mode::Burst;
        let gates = [
            (Gate::Tenant, tally.of_tenant(&spec.tenant_id), tenant),
            (Gate::Lane, waiting, limits.outbox_backlog),
            (Gate::Burst, now.burst_jobs, limits.burst_inflight),
            (Gate::Global, now.jobs, limits.global_inflight),
        ];
        let mut kept = gates
            .into_iter()
            .filter(|(gate, ..)| is_burst || *gate != Gate::Burst);
        kept.find(|(_, used, limit)| used >= limit)
            .map(|(gate, _, limit)| Full { gate, limit })
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

    /// From now on it is noted what moves, until [`Gates::recounted`].
    pub(crate) fn begin_recount(&self) {
        self.lock().begin_recount();
    }

    /// Corrects the counts by what the ledger held at some moment since [`Gates::begin_recount`].
    pub(crate) fn recounted(&self, counts: Counts) {
        self.lock().recounted(counts);
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        let now = self.clock.now();
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.set_now(now);
        tally
    }
}

/// A limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    /// Which gate keeps it.
    pub(crate) gate: Gate,
    limit: u64,
}

impl Full {
    fn refusal(self, tally: &mut Tally, spec: &JobSpec) -> Refusal {
        let Self { gate, limit } = self;
        let retry_after = tally.turn_away(gate, spec);
        match gate {
            Gate::Tenant => Refusal::TenantLimit {
                tenant: spec.tenant_id.to_string(),
                limit,
                retry_after,
            },
            Gate::Lane => Refusal::LaneLimit {
                lane: spec.lane.number(),
                limit,
                retry_after,
            },
            Gate::Burst => Refusal::GlobalLimit {
                limit,
                of_mode: " in mode BURST",
                retry_after,
            },
            Gate::Global => Refusal::GlobalLimit {
                limit,
                of_mode: "",
                retry_after,
            },
        }
    }
}

/// The places of a failed job that is about to go on. Until this is dropped they are taken twice once it goes on, so that
/// no limit is passed in between.
pub(crate) struct PlaceAgain<'a> {
    gates: &'a Gates,
    key: Key,
}

impl Drop for PlaceAgain<'_> {
    fn drop(&mut self) {
        self.gates.lock().not_created(&self.key);
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
