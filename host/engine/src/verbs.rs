//! What people ask of a job that is there: cancel and redrive.

use std::sync::Arc;

use lucius_domain::decide::{Input, Rejection};
use lucius_domain::id::JobId;
use lucius_domain::job::Job;

use crate::Engine;
use crate::drive::{DriveError, Driven};
use crate::refusal::Refusal;

impl From<DriveError> for Refusal {
    fn from(error: DriveError) -> Self {
        match error {
            DriveError::Ledger(error) => error.into(),
            DriveError::Contended => Self::Contended,
        }
    }
}

impl Engine {
    /// Cancels a job: at once when no directive is out, else as soon as the active attempt ends. Asking again while
    /// it is being cancelled changes nothing.
    ///
    /// # Errors
    /// JOB_NOT_FOUND, JOB_TERMINAL, or the ledger's.
    pub async fn cancel(&self, id: JobId) -> Result<Arc<Job>, Refusal> {
        match self.drive(id, None, || Input::Cancel).await? {
            Driven::Changed(job) | Driven::Rejected(job, Rejection::Cancelling) => Ok(job),
            Driven::Rejected(job, _) => Err(Refusal::JobTerminal(job.progress.status.name())),
            Driven::NotFound => Err(Refusal::JobNotFound),
        }
    }

    /// Starts a failed job again at its failed step.
    ///
    /// # Errors
    /// JOB_NOT_FOUND, JOB_NOT_FAILED, or the ledger's.
    pub async fn redrive(&self, id: JobId) -> Result<Arc<Job>, Refusal> {
        match self.drive(id, None, || Input::Redrive).await? {
            Driven::Changed(job) => Ok(job),
            Driven::Rejected(job, _) => Err(Refusal::JobNotFailed(job.progress.status.name())),
            Driven::NotFound => Err(Refusal::JobNotFound),
        }
    }
}
