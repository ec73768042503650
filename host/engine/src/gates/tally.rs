//! The counts behind the gates.
//!
//! What a job takes up follows from its state alone, so a count moves by the difference between two states of a job.
//! While writes on a job are under way, or in doubt, the tally remembers the newest version it has counted; answers
//! that arrive in another order than the writes happened therefore count once each.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use lucius_domain::id::{JobId, TenantId, Version};
use lucius_domain::job::{Job, JobSpec, Phase};
use lucius_domain::routing::Mode;
use lucius_domain::time::Timestamp;
use lucius_ports::ledger::{Counts, ModeKey};

use super::drain::Drain;
use super::recount::{Moved, Moves};
use super::{Gate, Occupancy};

mod standing;

pub(super) use standing::Kept;

/// What makes a command the same as another: tenant and idempotency key.
pub(super) type Key = (TenantId, String);

/// What one job takes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Load {
    in_flight: bool,
    /// Its directive waits in the outbox.
    waits: bool,
}

impl Load {
    fn of(job: &Job) -> Self {
        let in_flight = !job.progress.status.is_terminal();
        let waits = job
            .current()
            .is_some_and(|(.., step)| matches!(step.phase, Phase::Dispatching { .. }));
        Self {
            in_flight,
            waits: in_flight && waits,
        }
    }
}

/// A job with writes under way or in doubt.
struct Open {
    spec: Arc<JobSpec>,
    counted: Load,
    version: Version,
    writers: usize,
    /// The newest version of which it is not known whether it was written.
    doubt: Option<Version>,
}

/// A command that is being made a job, perhaps many times at once.
struct Creating {
    spec: Arc<JobSpec>,
    reserved: Load,
    holders: usize,
}

#[derive(Default)]
pub(super) struct Tally {
    now: Timestamp,
    by_tenant: BTreeMap<TenantId, OfTenant>,
    all: u64,
    burst: u64,
    backlog: [u64; 16],
    open: HashMap<JobId, Open>,
    creating: HashMap<Key, Creating>,
    lanes: [Drain; 16],
    burst_drain: Drain,
    global_drain: Drain,
    refused: [u64; Gate::ALL.len()],
    /// What has moved since a count of the ledger began.
    moves: Option<Moves>,
}

/// What a tenant has in flight. One who has nothing is forgotten, and so is how fast it went.
#[derive(Default)]
struct OfTenant {
    jobs: u64,
    drain: Drain,
}

impl Tally {
    pub(super) fn new(counts: Counts) -> Self {
        let mut tally = Self::default();
        for ((tenant, mode), jobs) in counts.in_flight {
            tally.by_tenant.entry(tenant).or_default().jobs += jobs;
            tally.all += jobs;
            if mode == ModeKey::Burst {
                tally.burst += jobs;
            }
        }
        for (lane, pending) in counts.outbox_pending {
            tally.backlog[usize::from(lane.number())] += pending;
        }
        tally
    }

    pub(super) fn of_tenant(&self, tenant: &TenantId) -> u64 {
        self.by_tenant.get(tenant).map_or(0, |it| it.jobs)
    }

    /// The time of all that follows.
    pub(super) fn set_now(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// Somebody is turned away at this gate; when to come again.
    pub(super) fn turn_away(&mut self, gate: Gate, spec: &JobSpec) -> Duration {
        self.refused[gate as usize] += 1;
        let drain = match gate {
            Gate::Tenant => match self.by_tenant.get_mut(&spec.tenant_id) {
                Some(tenant) => &mut tenant.drain,
                // A limit of none; names that clients make up are not kept.
                None => return Drain::default().turn_away(self.now),
            },
            Gate::Lane => &mut self.lanes[usize::from(spec.lane.number())],
            Gate::Burst => &mut self.burst_drain,
            Gate::Global => &mut self.global_drain,
        };
        drain.turn_away(self.now)
    }

    pub(super) fn occupancy(&self) -> Occupancy {
        Occupancy {
            jobs: self.all,
            burst_jobs: self.burst,
            tenants: self.by_tenant.len(),
            backlog: self.backlog,
        }
    }

    pub(super) fn is_being_created(&self, key: &Key) -> bool {
        self.creating.contains_key(key)
    }

    pub(super) fn reserve(&mut self, key: &Key, job: &Job) {
        self.hold(key, &job.spec, Load::of(job));
    }

    /// What a failed job takes up once it goes on.
    pub(super) fn reserve_again(&mut self, key: &Key, spec: &Arc<JobSpec>) {
        let load = Load {
            in_flight: true,
            waits: true,
        };
        self.hold(key, spec, load);
    }

    fn hold(&mut self, key: &Key, spec: &Arc<JobSpec>, reserved: Load) {
        if let Some(creating) = self.creating.get_mut(key) {
            creating.holders += 1;
            return;
        }
        let spec = Arc::clone(spec);
        self.shift(&spec, Load::default(), reserved);
        let holders = 1;
        let creating = Creating {
            spec,
            reserved,
            holders,
        };
        self.creating.insert(key.clone(), creating);
    }

    /// The reservation becomes the job's; whoever else holds it will find a duplicate.
    pub(super) fn created(&mut self, key: &Key, job: &Job) {
        // First the job, then the reservation: somebody may have ended the job already, and no count goes below zero.
        self.shift(&job.spec, Load::default(), Load::of(job));
        self.give_up(key);
        self.leave(key);
    }

    pub(super) fn not_created(&mut self, key: &Key) {
        self.leave(key);
    }

    pub(super) fn maybe_created(&mut self, key: &Key, job: &Job) {
        let had_it = self
            .creating
            .get(key)
            .is_some_and(|creating| creating.reserved != Load::default());
        let counted = if had_it {
            Load::of(job)
        } else {
            Load::default()
        };
        self.shift(&job.spec, Load::default(), counted);
        self.give_up(key);
        let open = Open {
            spec: Arc::clone(&job.spec),
            counted,
            version: Version(0),
            writers: 0,
            doubt: Some(job.progress.version),
        };
        self.open.insert(job.id, open);
        self.leave(key);
    }

    pub(super) fn begin(&mut self, before: &Job) {
        let open = self.open.entry(before.id).or_insert_with(|| Open {
            spec: Arc::clone(&before.spec),
            counted: Load::of(before),
            version: before.progress.version,
            writers: 0,
            doubt: None,
        });
        open.writers += 1;
    }

    pub(super) fn done(&mut self, after: &Job) {
        self.count(after);
        self.end(after.id);
    }

    pub(super) fn conflict(&mut self, id: JobId) {
        self.end(id);
    }

    pub(super) fn maybe_done(&mut self, before: &Job) {
        let written = Version(before.progress.version.0 + 1);
        if let Some(open) = self.open.get_mut(&before.id)
            && open.version < written
        {
            open.doubt = open.doubt.max(Some(written));
        }
        self.end(before.id);
    }

    pub(super) fn doubts(&self) -> Vec<JobId> {
        let idle = self
            .open
            .iter()
            .filter(|(_, open)| open.doubt.is_some() && open.writers == 0);
        let mut doubts: Vec<JobId> = idle.map(|(id, _)| *id).collect();
        // In an order of their own, so that a simulated run can be made again.
        doubts.sort_unstable();
        doubts
    }

    pub(super) fn settle(&mut self, id: JobId, found: Option<&Job>) {
        match found {
            Some(job) => self.count(job),
            None => {
                if let Some(open) = self.open.get_mut(&id) {
                    let (spec, counted) = (Arc::clone(&open.spec), open.counted);
                    open.counted = Load::default();
                    self.shift(&spec, counted, Load::default());
                }
            }
        }
        if let Some(open) = self.open.get_mut(&id)
            && open.writers == 0
        {
            self.open.remove(&id);
        }
    }

    /// Counts a job as it is, unless something newer was counted. What it settles is not in doubt any more.
    fn count(&mut self, job: &Job) {
        let (load, version) = (Load::of(job), job.progress.version);
        let Some(open) = self.open.get_mut(&job.id) else {
            return;
        };
        if version <= open.version {
            return;
        }
        let before = std::mem::replace(&mut open.counted, load);
        open.version = version;
        open.doubt = open.doubt.filter(|doubt| *doubt > version);
        self.drain(&job.spec, before, load);
        self.shift(&job.spec, before, load);
    }

    /// Measures what a job gave up by moving on. A reservation that is given up is none of that.
    fn drain(&mut self, spec: &JobSpec, from: Load, to: Load) {
        let now = self.now;
        if from.waits && !to.waits {
            self.lanes[usize::from(spec.lane.number())].freed(now);
        }
        if from.in_flight && !to.in_flight {
            if let Some(tenant) = self.by_tenant.get_mut(&spec.tenant_id) {
                tenant.drain.freed(now);
            }
            if spec.mode.resolved_mode == Mode::Burst {
                self.burst_drain.freed(now);
            }
            self.global_drain.freed(now);
        }
    }

    fn end(&mut self, id: JobId) {
        let Some(open) = self.open.get_mut(&id) else {
            return;
        };
        open.writers = open.writers.saturating_sub(1);
        if open.writers == 0 && open.doubt.is_none() {
            self.open.remove(&id);
        }
    }

    /// Frees what is reserved for a command, whoever still tries to create it.
    fn give_up(&mut self, key: &Key) {
        if let Some(creating) = self.creating.get_mut(key) {
            let (spec, reserved) = (Arc::clone(&creating.spec), creating.reserved);
            creating.reserved = Load::default();
            self.shift(&spec, reserved, Load::default());
        }
    }

    fn leave(&mut self, key: &Key) {
        let Some(creating) = self.creating.get_mut(key) else {
            return;
        };
        creating.holders = creating.holders.saturating_sub(1);
        if creating.holders == 0 {
            self.give_up(key);
            self.creating.remove(key);
        }
    }

    pub(super) fn begin_recount(&mut self) {
        let mut moves = Moves::default();
        // The ledger may or may not have what is reserved.
        for creating in self.creating.values() {
            moves.note(&creating.spec, Load::default(), creating.reserved);
        }
        self.moves = Some(moves);
    }

    pub(super) fn recounted(&mut self, counts: Counts) {
        let Some(moves) = self.moves.take() else {
            return;
        };
        let counted = Self::new(counts);
        self.all = moves.all.hold(self.all, counted.all);
        self.burst = moves.burst.hold(self.burst, counted.burst);
        for ((here, moved), counted) in self
            .backlog
            .iter_mut()
            .zip(moves.backlog)
            .zip(counted.backlog)
        {
            *here = moved.hold(*here, counted);
        }
        let moved_of = |tenant: &TenantId| moves.by_tenant.get(tenant).copied().unwrap_or_default();
        for (tenant, of_tenant) in &mut self.by_tenant {
            of_tenant.jobs = moved_of(tenant).hold(of_tenant.jobs, counted.of_tenant(tenant));
        }
        for (tenant, found) in counted.by_tenant {
            let jobs = moved_of(&tenant).hold(0, found.jobs);
            self.by_tenant.entry(tenant).or_insert_with(|| OfTenant {
                jobs,
                ..OfTenant::default()
            });
        }
        self.by_tenant.retain(|_, of_tenant| of_tenant.jobs > 0);
    }

    fn shift(&mut self, spec: &JobSpec, from: Load, to: Load) {
        if let Some(moves) = &mut self.moves {
            moves.note(spec, from, to);
        }
        let backlog = &mut self.backlog[usize::from(spec.lane.number())];
        match (from.waits, to.waits) {
            (false, true) => *backlog += 1,
            (true, false) => *backlog = backlog.saturating_sub(1),
            (true, true) | (false, false) => {}
        }
        let burst = u64::from(spec.mode.resolved_mode == Mode::Burst);
        match (from.in_flight, to.in_flight) {
            (false, true) => {
                self.by_tenant
                    .entry(spec.tenant_id.clone())
                    .or_default()
                    .jobs += 1;
                self.all += 1;
                self.burst += burst;
            }
            (true, false) => {
                if let Some(tenant) = self.by_tenant.get_mut(&spec.tenant_id) {
                    tenant.jobs = tenant.jobs.saturating_sub(1);
                    if tenant.jobs == 0 {
                        self.by_tenant.remove(&spec.tenant_id);
                    }
                }
                self.all = self.all.saturating_sub(1);
                self.burst = self.burst.saturating_sub(burst);
            }
            (true, true) | (false, false) => {}
        }
    }
}

impl Moves {
    fn note(&mut self, spec: &JobSpec, from: Load, to: Load) {
        let step = |moved: &mut Moved, from: bool, to: bool| {
            moved.up += u64::from(!from && to);
            moved.down += u64::from(from && !to);
        };
        let lane = usize::from(spec.lane.number());
        step(&mut self.backlog[lane], from.waits, to.waits);
        let (from, to) = (from.in_flight, to.in_flight);
        if from == to {
            return;
        }
        step(&mut self.all, from, to);
        let tenant = self.by_tenant.entry(spec.tenant_id.clone()).or_default();
        step(tenant, from, to);
        if spec.mode.resolved_mode == Mode::Burst {
            step(&mut self.burst, from, to);
        }
    }
}
