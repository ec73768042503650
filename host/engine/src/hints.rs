//! Hints: that something may be ready. They make things fast, and nothing depends on them; a scan finds the same.

use std::sync::Arc;

use lucius_domain::id::JobId;
use lucius_domain::job::Job;
use tokio::sync::{broadcast, mpsc};

/// How many jobs may wait for the dispatcher by hint; beyond that the scan finds them.
const DISPATCH_HINTS: usize = 4_096;
/// How many changes a slow watcher may be behind before it has to look for itself.
const CHANGE_HINTS: usize = 1_024;

/// The engine's bell ropes.
pub struct Hints {
    dispatch: mpsc::Sender<Arc<Job>>,
    changed: broadcast::Sender<JobId>,
}

impl Hints {
    /// The hints, and the dispatcher's end of them.
    pub fn new() -> (Self, mpsc::Receiver<Arc<Job>>) {
        let (dispatch, receiver) = mpsc::channel(DISPATCH_HINTS);
        let (changed, _) = broadcast::channel(CHANGE_HINTS);
        (Self { dispatch, changed }, receiver)
    }

    /// The job has a directive to publish; this is the job as it was committed.
    pub fn dispatch(&self, job: Arc<Job>) {
        // A full queue drops the hint; the outbox scan finds the row.
        let _dropped = self.dispatch.try_send(job);
    }

    /// The job has changed.
    pub fn changed(&self, job: JobId) {
        // Nobody may be watching.
        let _nobody = self.changed.send(job);
    }

    /// Watches for changes.
    pub fn watch(&self) -> broadcast::Receiver<JobId> {
        self.changed.subscribe()
    }
}
