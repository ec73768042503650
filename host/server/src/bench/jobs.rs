//! The jobs that are under way, as the clients and the workers of a bench see them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use super::times::{Stage, Times};

/// How long the jobs that are left may take before the bench gives up on them.
const PATIENCE: Duration = Duration::from_secs(60);

/// All jobs of a bench and the times that were taken. Clients and workers run on one thread.
#[derive(Clone)]
pub(super) struct Jobs(Rc<Shared>);

struct Shared {
    under_way: RefCell<HashMap<Uuid, Job>>,
    times: RefCell<Times>,
    ended: Notify,
}

#[derive(Default)]
struct Job {
    /// When it was to be submitted.
    begun: Option<Instant>,
    /// When the host last answered what makes it publish a directive.
    since: Option<Instant>,
    /// When the RESULT of its last step was answered.
    ended: Option<Instant>,
    waiter: Option<oneshot::Sender<()>>,
}

impl Jobs {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self(Rc::new(Shared {
            under_way: RefCell::default(),
            times: RefCell::new(Times::new()?),
            ended: Notify::new(),
        })))
    }

    pub(super) fn record(&self, stage: Stage, time: Duration) {
        self.0.times.borrow_mut().record(stage, time);
    }

    /// The times since this was asked last.
    pub(super) fn take_times(&self) -> anyhow::Result<Times> {
        Ok(self.0.times.replace(Times::new()?))
    }

    /// A command was accepted that was to be sent at `begun`. What workers did with the job may have been seen before.
    pub(super) fn accepted(&self, id: Uuid, begun: Instant) -> oneshot::Receiver<()> {
        let (waiter, waiting) = oneshot::channel();
        let mut jobs = self.0.under_way.borrow_mut();
        let job = jobs.entry(id).or_default();
        job.begun = Some(begun);
        job.since.get_or_insert_with(Instant::now);
        job.waiter = Some(waiter);
        drop(jobs);
        self.finish(id);
        waiting
    }

    /// A worker has a directive of it.
    pub(super) fn directive(&self, id: Uuid) {
        let jobs = self.0.under_way.borrow();
        let since = jobs.get(&id).and_then(|job| job.since);
        drop(jobs);
        // A worker may be quicker than the client that reads the 202; then nothing was waited for.
        let lag = since.map_or(Duration::ZERO, |since| since.elapsed());
        self.record(Stage::Dispatch, lag);
    }

    /// The RESULT of a step was answered.
    pub(super) fn stepped(&self, id: Uuid, last: bool) {
        let now = Instant::now();
        let mut jobs = self.0.under_way.borrow_mut();
        let job = jobs.entry(id).or_default();
        job.since = Some(now);
        job.ended = last.then_some(now);
        drop(jobs);
        self.finish(id);
    }

    fn finish(&self, id: Uuid) {
        let mut jobs = self.0.under_way.borrow_mut();
        let over = jobs.get(&id).and_then(|job| Some(job.ended? - job.begun?));
        let Some(time) = over else { return };
        let waiter = jobs.remove(&id).and_then(|job| job.waiter);
        drop(jobs);
        self.record(Stage::Complete, time);
        // In an open loop nobody waits for one job.
        let _heard = waiter.map(|waiter| waiter.send(()));
        self.0.ended.notify_waiters();
    }

    /// Waits until every job that was accepted is over.
    pub(super) async fn all_over(&self) -> anyhow::Result<()> {
        loop {
            let ended = self.0.ended.notified();
            let left = self.left();
            if left == 0 {
                return Ok(());
            }
            let waited = tokio::time::timeout(PATIENCE, ended).await;
            waited.with_context(|| format!("{left} jobs did not end within {PATIENCE:?}"))?;
        }
    }

    pub(super) fn left(&self) -> usize {
        let jobs = self.0.under_way.borrow();
        jobs.values().filter(|job| job.begun.is_some()).count()
    }
}

/// Waits for one job.
pub(super) async fn over(waiting: oneshot::Receiver<()>) -> anyhow::Result<()> {
    let ended = tokio::time::timeout(PATIENCE, waiting).await;
    ended.with_context(|| format!("a job did not end within {PATIENCE:?}"))??;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_that_ends_before_its_answer_is_read_counts_once() {
        let jobs = Jobs::new().unwrap();
        let id = Uuid::from_u128(7);
        jobs.directive(id);
        jobs.stepped(id, true);
        assert_eq!(jobs.left(), 0, "not accepted yet, as far as is known");
        over(jobs.accepted(id, Instant::now())).await.unwrap();
        jobs.all_over().await.unwrap();
        let times = jobs.take_times().unwrap();
        assert_eq!(times.count(Stage::Complete), 1);
        assert_eq!(times.count(Stage::Dispatch), 1);
    }
}
