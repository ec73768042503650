//! What this host saw of jobs last.
//!
//! It saves requests and decides nothing alone. A commit takes a job's ETag from here, and the service refuses it when
//! the job has moved on. A scan skips a job that is known not to be due, but for no longer than [`TRUST_MS`] after it
//! was seen, since another host may have changed it meanwhile. Of two halves the younger takes what is seen; when it
//! is full the older one goes, so what is used stays.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lucius_domain::id::JobId;
use lucius_domain::job::{Job, JobSpec};
use lucius_domain::routing::Lane;
use lucius_domain::time::Timestamp;

use crate::layout::due_row::DueRow;
use crate::layout::job_row::{self, Head};

/// For how long a scan takes a job to be as this host saw it last.
pub(crate) const TRUST_MS: u64 = 10_000;

/// A job as it was seen.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// `None`: there was no job.
    pub(crate) head: Option<Head>,
    /// What it was accepted with, once that was read.
    pub(crate) spec: Option<Arc<JobSpec>>,
    /// When.
    pub(crate) at: Timestamp,
}

#[derive(Debug)]
pub(crate) struct Known {
    half: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    young: HashMap<JobId, Seen>,
    old: HashMap<JobId, Seen>,
    /// Due rows that will never count again, by lane.
    dead: HashMap<Lane, Vec<Dead>>,
}

/// A due row that will never count again.
#[derive(Clone, Debug)]
pub(crate) struct Dead {
    pub(crate) row: DueRow,
    /// Its job's end, when that is why.
    pub(crate) end: Option<End>,
}

/// That a job is over.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) at: Timestamp,
    pub(crate) tenant: String,
}

impl End {
    /// Of a job, if it is over.
    pub(crate) fn of(job: &Job) -> Option<Self> {
        job_row::ended_at(job).map(|at| Self {
            at,
            tenant: job.spec.tenant_id.as_str().to_owned(),
        })
    }

    /// Of a job as a scan saw it, if it is over.
    pub(crate) fn of_head(head: &Head) -> Option<Self> {
        head.ended_at.map(|at| Self {
            at,
            tenant: head.tenant.clone(),
        })
    }
}

impl Known {
    pub(crate) fn new(jobs: usize) -> Self {
        Self {
            half: jobs / 2,
            inner: Mutex::default(),
        }
    }

    pub(crate) fn get(&self, job: JobId) -> Option<Seen> {
        let inner = self.inner();
        inner
            .young
            .get(&job)
            .or_else(|| inner.old.get(&job))
            .cloned()
    }

    /// Takes what was seen, unless a later version was seen already.
    pub(crate) fn put(&self, job: JobId, mut seen: Seen) {
        let version = |seen: &Seen| seen.head.as_ref().map(|head| head.version);
        let mut inner = self.inner();
        let earlier = inner.old.remove(&job);
        let earlier = inner.young.remove(&job).or(earlier);
        if let Some(earlier) = earlier {
            if version(&earlier) > version(&seen) {
                inner.young.insert(job, earlier);
                return;
            }
            seen.spec = seen.spec.or(earlier.spec);
        }
        if inner.young.len() >= self.half {
            inner.old = std::mem::take(&mut inner.young);
        }
        inner.young.insert(job, seen);
    }

    /// Forgets a job of which it is not known what became of it.
    pub(crate) fn forget(&self, job: JobId) {
        let mut inner = self.inner();
        inner.young.remove(&job);
        inner.old.remove(&job);
    }

    /// Notes a due row that will never count again, and the end of its job when that is why.
    pub(crate) fn bury(&self, lane: Lane, row: DueRow, end: Option<End>) {
        let mut inner = self.inner();
        let dead = inner.dead.entry(lane).or_default();
        if dead.len() < MOST_DEAD {
            dead.push(Dead { row, end }); // one that is not noted is found by its age
        }
    }

    /// Takes some due rows that will never count again.
    pub(crate) fn dead(&self, lane: Lane, limit: usize) -> Vec<Dead> {
        let mut inner = self.inner();
        let Some(dead) = inner.dead.get_mut(&lane) else {
            return Vec::new();
        };
        let rest = dead.split_off(dead.len().min(limit));
        std::mem::replace(dead, rest)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Maps of plain values: there is no half-done change that a panic could leave behind.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The most rows of one lane that wait to be deleted.
const MOST_DEAD: usize = 10_000;
