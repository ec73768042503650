//! The jobs that are under way, as they were last committed, so that the next change to one needs no read.
//!
//! The file belongs to this process alone and only the writer puts jobs in here: after their commit is durable and
//! before it is answered. So whoever sees an answer sees at least that version, and no slow reader can put an older
//! one back. Of two halves the younger takes what is written; when it is full, the older one goes and the younger
//! takes its place. A job that keeps changing stays; one that waits long is read from the file when its time comes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lucius_domain::id::JobId;
use lucius_domain::job::Job;

/// A job with its number in the tables.
#[derive(Clone, Debug)]
pub(crate) struct Hot {
    pub(crate) n: i64,
    pub(crate) job: Arc<Job>,
}

#[derive(Debug)]
pub(crate) struct HotJobs {
    halves: Mutex<Halves>,
    half_capacity: usize,
}

#[derive(Debug, Default)]
struct Halves {
    young: HashMap<JobId, Hot>,
    old: HashMap<JobId, Hot>,
}

impl HotJobs {
    /// Keeps at most this many jobs.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            halves: Mutex::default(),
            half_capacity: capacity / 2,
        }
    }

    pub(crate) fn get(&self, id: JobId) -> Option<Hot> {
        let halves = self.halves();
        halves
            .young
            .get(&id)
            .or_else(|| halves.old.get(&id))
            .cloned()
    }

    /// Takes the job as it was just committed; one that is over is not kept.
    pub(crate) fn put(&self, hot: Hot) {
        let id = hot.job.id;
        let mut halves = self.halves();
        halves.old.remove(&id);
        if hot.job.progress.status.is_terminal() {
            halves.young.remove(&id);
            return;
        }
        if halves.young.len() >= self.half_capacity && !halves.young.contains_key(&id) {
            let young = std::mem::take(&mut halves.young);
            let gone = std::mem::replace(&mut halves.old, young);
            drop(halves); // many jobs may go at once; nobody waits for that
            drop(gone);
            halves = self.halves();
        }
        if self.half_capacity > 0 {
            halves.young.insert(id, hot);
        }
    }

    /// Forgets a job of which it is not known what the file says.
    pub(crate) fn forget(&self, id: JobId) {
        let mut halves = self.halves();
        halves.young.remove(&id);
        halves.old.remove(&id);
    }

    fn halves(&self) -> MutexGuard<'_, Halves> {
        // Maps of plain values: there is no half-done change that a panic could leave behind.
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use lucius_ports::conformance::ledger::play::{Draft, Move, START, accepted, change, job_id};

    use super::*;

    fn hot(serial: u64) -> Hot {
        Hot {
            n: 1,
            job: accepted(job_id(START, serial), &Draft::default()).job,
        }
    }

    #[test]
    fn a_job_that_keeps_changing_stays_while_others_pass() {
        let jobs = HotJobs::new(10);
        let busy = hot(0);
        for serial in 1..100 {
            jobs.put(busy.clone());
            jobs.put(hot(serial));
            assert!(jobs.get(busy.job.id).is_some(), "after {serial} others");
        }
        let kept = (1..100)
            .filter(|serial| jobs.get(job_id(START, *serial)).is_some())
            .count();
        assert!(kept < 10, "{kept} are kept");
    }

    #[test]
    fn a_job_that_is_over_or_unknown_is_not_kept() {
        let jobs = HotJobs::new(10);
        let live = hot(0);
        jobs.put(live.clone());
        let over = change(&live.job, START, &[Move::Cancel], 1)
            .expect("it is live")
            .job;
        jobs.put(Hot { n: 1, job: over });
        assert!(jobs.get(live.job.id).is_none());
        jobs.put(live.clone());
        jobs.forget(live.job.id);
        assert!(jobs.get(live.job.id).is_none());
    }

    #[test]
    fn without_room_nothing_is_kept() {
        let jobs = HotJobs::new(0);
        jobs.put(hot(0));
        assert!(jobs.get(job_id(START, 0)).is_none());
    }
}
