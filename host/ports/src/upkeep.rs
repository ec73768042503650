//! What operators ask of a ledger beyond single jobs: why jobs failed for good, in groups, and that what is long over
//! be deleted.
//!
//! Both cost what they concern, the jobs that failed and the jobs that go, and not what the ledger holds.

use std::collections::BTreeMap;

use async_trait::async_trait;
use lucius_domain::id::{JobId, TenantId};
use lucius_domain::job::Job;
use lucius_domain::signature::{self, Signature};
use lucius_domain::time::Timestamp;

use crate::ledger::Error;

/// Jobs that failed for good and stayed so, for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures {
    /// The reason; any of the jobs spells it out.
    pub signature: signature::Id,
    /// How many.
    pub count: u64,
    /// When the first of them failed.
    pub first_at: Timestamp,
    /// When the last of them failed.
    pub last_at: Timestamp,
    /// The one that was accepted last.
    pub newest: JobId,
}

impl Failures {
    /// These jobs as [`Upkeep::failures`] answers them; jobs that have not failed do not count.
    pub fn grouped<'a>(jobs: impl IntoIterator<Item = &'a Job>, limit: usize) -> Vec<Self> {
        let mut groups: BTreeMap<signature::Id, Self> = BTreeMap::new();
        for job in jobs {
            let (Some(of_job), Some(at)) = (Signature::of(job), job.progress.completed_at) else {
                continue;
            };
            let signature = of_job.id();
            let group = groups.entry(signature).or_insert(Self {
                signature,
                count: 0,
                first_at: at,
                last_at: at,
                newest: job.id,
            });
            group.count += 1;
            group.first_at = group.first_at.min(at);
            group.last_at = group.last_at.max(at);
            group.newest = group.newest.max(job.id);
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by_key(|group| (std::cmp::Reverse(group.count), group.signature));
        groups.truncate(limit);
        groups
    }
}

/// How many jobs stand in a state, by its public name; states without any may be left out.
pub type States = BTreeMap<&'static str, u64>;

/// The states that are counted: all but those in which jobs rest for good.
pub const COUNTED: [&str; 5] = [
    "QUEUED",
    "DISPATCHING",
    "IN_PROGRESS",
    "CANCELLING",
    "FAILED_FINAL",
];

/// Looking after a ledger.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// The jobs in FAILED_FINAL by signature, of one tenant or of all, the most frequent first (equally frequent ones
    /// by signature), at most `limit`.
    async fn failures(
        &self,
        tenant: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<Failures>, Error>;

    /// How many jobs stand in each of the states in [`COUNTED`].
    async fn states(&self) -> Result<States, Error>;

    /// Deletes jobs that ended before this moment, the oldest first, at most `limit`, each with all that belongs to
    /// it: steps, outbox, events, and its idempotency key, which is free from then on. Returns how many went; fewer
    /// than `limit` means that there are no more. A job that is not over, or is redriven meanwhile, stays.
    async fn purge(&self, ended_before: Timestamp, limit: usize) -> Result<usize, Error>;
}
