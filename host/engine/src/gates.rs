//! When to say no: counts of what is in flight, and their limits.
//!
//! The counts start from the ledger and follow every commit of this host. A place is taken before a job is created,
//! so many at once cannot slip past a limit together.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lucius_domain::id::TenantId;
use lucius_domain::job::Job;
use lucius_domain::routing::{Lane, Mode};
use lucius_domain::transition::{Change, OutboxRow};
use lucius_ports::ledger::{Counts, ModeKey};

use crate::refusal::Refusal;
use crate::settings::Limits;

/// When a refused client may try again. A place becomes free when a job ends, which takes about this long.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The gates of one host.
pub struct Gates {
    limits: Limits,
    counts: Mutex<InFlight>,
}

#[derive(Default)]
struct InFlight {
    by_tenant: BTreeMap<TenantId, u64>,
    all: u64,
    burst: u64,
    backlog: [u64; 16],
}

/// A place for a job that is about to be created. Dropped without [`Place::keep`], it is free again.
pub struct Place<'a> {
    gates: &'a Gates,
    tenant: TenantId,
    mode: Mode,
    kept: bool,
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
        let mut in_flight = InFlight::default();
        for ((tenant, mode), jobs) in counts.in_flight {
            *in_flight.by_tenant.entry(tenant).or_default() += jobs;
            in_flight.all += jobs;
            if mode == ModeKey::Burst {
                in_flight.burst += jobs;
            }
        }
        for (lane, pending) in counts.outbox_pending {
            in_flight.backlog[usize::from(lane.number())] += pending;
        }
        Self {
            limits,
            counts: Mutex::new(in_flight),
        }
    }

    /// Takes a place, or says which limit is reached.
    ///
    /// # Errors
    /// TENANT_LIMIT, LANE_LIMIT or GLOBAL_LIMIT.
    pub fn take_place(
        &self,
        tenant: &TenantId,
        tenant_limit: Option<u64>,
        mode: Mode,
        lane: Lane,
    ) -> Result<Place<'_>, Refusal> {
        let limits = self.limits;
        let tenant_limit = tenant_limit.unwrap_or(limits.tenant_inflight);
        let mut counts = self.lock();
        if counts
            .by_tenant
            .get(tenant)
            .is_some_and(|jobs| *jobs >= tenant_limit)
            || tenant_limit == 0
        {
            return Err(Refusal::TenantLimit {
                tenant: tenant.to_string(),
                limit: tenant_limit,
                retry_after: RETRY_AFTER,
            });
        }
        if counts.backlog[usize::from(lane.number())] >= limits.outbox_backlog {
            let (lane, limit) = (lane.number(), limits.outbox_backlog);
            return Err(Refusal::LaneLimit {
                lane,
                limit,
                retry_after: RETRY_AFTER,
            });
        }
        let global = |limit, of_mode| Refusal::GlobalLimit {
            limit,
            of_mode,
            retry_after: RETRY_AFTER,
        };
        if mode == Mode::Burst && counts.burst >= limits.burst_inflight {
            return Err(global(limits.burst_inflight, " in mode BURST"));
        }
        if counts.all >= limits.global_inflight {
            return Err(global(limits.global_inflight, ""));
        }
        counts.enter(tenant, mode);
        Ok(Place {
            gates: self,
            tenant: tenant.clone(),
            mode,
            kept: false,
        })
    }

    /// Follows a commit: `before` is the job as it was.
    pub(crate) fn follow(&self, before: &Job, change: &Change) {
        let (was, is) = (
            before.progress.status.is_terminal(),
            change.job.progress.status.is_terminal(),
        );
        if was == is && change.outbox.is_empty() {
            return;
        }
        let mut counts = self.lock();
        let (tenant, mode) = (
            &change.job.spec.tenant_id,
            change.job.spec.mode.resolved_mode,
        );
        match (was, is) {
            (false, true) => counts.leave(tenant, mode),
            (true, false) => counts.enter(tenant, mode),
            (true, true) | (false, false) => {}
        }
        counts.follow_outbox(before, change);
    }

    /// Follows the creation of a job that has its place.
    pub(crate) fn created(&self, change: &Change) {
        let before = Job::new(change.job.id, change.job.spec.clone());
        self.lock().follow_outbox(&before, change);
        if change.job.progress.status.is_terminal() {
            let spec = &change.job.spec;
            self.lock().leave(&spec.tenant_id, spec.mode.resolved_mode);
        }
    }

    /// What is in flight now.
    pub fn occupancy(&self) -> Occupancy {
        let counts = self.lock();
        Occupancy {
            jobs: counts.all,
            burst_jobs: counts.burst,
            tenants: counts.by_tenant.len(),
            backlog: counts.backlog,
        }
    }

    fn lock(&self) -> MutexGuard<'_, InFlight> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InFlight {
    fn enter(&mut self, tenant: &TenantId, mode: Mode) {
        *self.by_tenant.entry(tenant.clone()).or_default() += 1;
        self.all += 1;
        if mode == Mode::Burst {
            self.burst += 1;
        }
    }

    fn leave(&mut self, tenant: &TenantId, mode: Mode) {
        if let Some(jobs) = self.by_tenant.get_mut(tenant) {
            *jobs = jobs.saturating_sub(1);
            if *jobs == 0 {
                self.by_tenant.remove(tenant);
            }
        }
        self.all = self.all.saturating_sub(1);
        if mode == Mode::Burst {
            self.burst = self.burst.saturating_sub(1);
        }
    }

    fn follow_outbox(&mut self, before: &Job, change: &Change) {
        let backlog = &mut self.backlog[usize::from(change.job.spec.lane.number())];
        for row in &change.outbox {
            // A row that was pending already only got a new time.
            let known = before
                .progress
                .steps
                .get(row.step)
                .is_some_and(|s| s.attempts >= row.attempt_no);
            match row.row {
                OutboxRow::Pending { .. } if known => {}
                OutboxRow::Pending { .. } => *backlog += 1,
                OutboxRow::Sent | OutboxRow::FailedFinal | OutboxRow::Cancelled => {
                    *backlog = backlog.saturating_sub(1);
                }
            }
        }
    }
}

impl Place<'_> {
    /// The job was created; its place is free again when it ends.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.gates.lock().leave(&self.tenant, self.mode);
        }
    }
}
