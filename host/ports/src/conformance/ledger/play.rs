//! Driving jobs on a ledger under test.
//!
//! [`Play`] commits moves and checks after each commit that the ledger tells one story: the job loads as committed,
//! its events have no gaps and fold into it, and it is due exactly when and for what it says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lucius_domain::decide::Rejection;
use lucius_domain::event::Recorded;
use lucius_domain::evolve::evolve;
use lucius_domain::id::{JobId, LeaseId};
use lucius_domain::job::{DueKind, Job};
use lucius_domain::routing::Lane;
use lucius_domain::time::Timestamp;
use lucius_domain::transition::{Change, Transition};
use uuid::Uuid;

pub use super::draft::{Draft, START, decision, job_id, lane};
pub use super::moves::Move;
use crate::ledger::{Committed, Counts, Created, Ledger};

/// Every reason to be due.
pub const KINDS: [DueKind; 4] = [
    DueKind::Dispatch,
    DueKind::Ack,
    DueKind::Lease,
    DueKind::Decision,
];

/// A new job, accepted; nothing is decided yet.
pub fn accepted(id: JobId, draft: &Draft) -> Change {
    Transition::create(id, draft.spec(), Vec::new())
        .finish()
        .expect("accepting is an event")
}

/// The change that some moves make.
///
/// # Errors
/// The rejection of the first move that is not possible.
pub fn change(job: &Job, now: Timestamp, moves: &[Move], lease: u128) -> Result<Change, Rejection> {
    let mut transition = Transition::of(job, now);
    for step in moves {
        step.apply(&mut transition, LeaseId(Uuid::from_u128(lease)))?;
    }
    transition.finish().ok_or(Rejection::NotWaiting)
}

/// The job that a spec and its events make.
pub fn replay(stored: &Job, events: &[Recorded]) -> Job {
    let mut job = Job::new(stored.id, Arc::clone(&stored.spec));
    for recorded in events {
        evolve(&mut job, recorded);
    }
    job.progress.version = stored.progress.version; // events do not say where a commit ended
    job
}

/// A ledger under test, and what is needed to play on it.
pub struct Play {
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    serial: AtomicU64,
}

impl Play {
    /// Plays on a ledger.
    pub fn on(ledger: Arc<dyn Ledger>) -> Self {
        Self {
            ledger,
            serial: AtomicU64::new(1),
        }
    }

    fn next(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    /// An id for a job that is accepted at this moment, later than all before it.
    pub fn id(&self, at: Timestamp) -> JobId {
        job_id(at, self.next())
    }

    /// Creates a job.
    pub async fn create(&self, draft: &Draft) -> Arc<Job> {
        let id = self.id(draft.created_at);
        let created = self.ledger.create(accepted(id, draft), draft.key(id)).await;
        assert_eq!(created.expect("the ledger works"), Created::New);
        self.check(id).await
    }

    /// Makes some moves in one commit.
    pub async fn play(&self, id: JobId, now: Timestamp, moves: &[Move]) -> Arc<Job> {
        let job = self.load(id).await;
        let change = change(&job, now, moves, u128::from(self.next()))
            .unwrap_or_else(|rejection| panic!("{moves:?} on {:?}: {rejection}", job.progress));
        let expected = Arc::clone(&change.job);
        let committed = self.ledger.commit(change).await.expect("the ledger works");
        assert_eq!(committed, Committed::Done, "{moves:?}");
        let stored = self.check(id).await;
        assert_eq!(*stored, *expected, "the job loads as it was committed");
        stored
    }

    /// The job.
    pub async fn load(&self, id: JobId) -> Arc<Job> {
        self.ledger
            .load(id)
            .await
            .expect("the ledger works")
            .expect("the job is there")
    }

    /// What is due in a lane.
    pub async fn due(&self, lane: Lane, kinds: &[DueKind], now: Timestamp) -> Vec<JobId> {
        self.ledger
            .due(lane, kinds, now, usize::MAX)
            .await
            .expect("the ledger works")
    }

    /// The counts, without the zeros that a ledger may leave out.
    pub async fn counts(&self) -> Counts {
        let mut counts = self.ledger.counts().await.expect("the ledger works");
        counts.in_flight.retain(|_, count| *count > 0);
        counts.outbox_pending.retain(|_, count| *count > 0);
        counts
    }

    /// How many directives wait to be published, in all lanes.
    pub async fn outbox_pending(&self) -> u64 {
        self.counts().await.outbox_pending.values().sum()
    }

    /// Checks that job, events, due times and outbox tell one story, and returns the job.
    pub async fn check(&self, id: JobId) -> Arc<Job> {
        let job = self.load(id).await;
        let events = self
            .ledger
            .events(id, 0, usize::MAX)
            .await
            .expect("the ledger works");
        for (index, recorded) in events.iter().enumerate() {
            assert_eq!(
                usize::try_from(recorded.seq).ok(),
                Some(index + 1),
                "a gap in {id}"
            );
        }
        assert_eq!(
            replay(&job, &events),
            *job,
            "the events of {id} make another job"
        );
        let lane = job.spec.lane;
        let end = Timestamp(i64::MAX);
        for kind in KINDS {
            match job.due() {
                Some((due, at)) if due == kind => {
                    assert!(
                        self.due(lane, &[kind], at).await.contains(&id),
                        "{kind:?} at {at}"
                    );
                    let before = Timestamp(at.0 - 1);
                    assert!(
                        !self.due(lane, &[kind], before).await.contains(&id),
                        "{kind:?} early"
                    );
                }
                Some(_) | None => {
                    assert!(
                        !self.due(lane, &[kind], end).await.contains(&id),
                        "not {kind:?}"
                    );
                }
            }
        }
        job
    }
}
