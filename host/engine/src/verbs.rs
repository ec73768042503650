//! What people ask of a job that is there: cancel and redrive.

use std::sync::Arc;

use lucius_domain::decide::{Input, Rejection};
use lucius_domain::id::JobId;
use lucius_domain::job::{Job, Migration};
use lucius_domain::plugin::Pin;
use lucius_ports::ledger;

use crate::Engine;
use crate::drive::{DriveError, Driven};
use crate::gates::pause::Pause;
use crate::gates::{Full, PlaceAgain};
use crate::refusal::Refusal;

/// Whether a failed job may go on now.
pub(crate) enum Again<'a> {
    /// It may, for as long as this is held.
    Place(PlaceAgain<'a>),
    /// A limit is reached.
    Full(Full),
    /// An operator has stopped it.
    Paused(Pause),
}

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

    /// Starts a failed job again at its failed step, if it could be accepted now.
    ///
    /// # Errors
    /// JOB_NOT_FOUND, JOB_NOT_FAILED, what the gates say to new commands, or the ledger's.
    pub async fn redrive(&self, id: JobId) -> Result<Arc<Job>, Refusal> {
        let job = self.ports.ledger.load(id).await?;
        let job = job.ok_or(Refusal::JobNotFound)?;
        if job.failure().is_none() {
            return Err(Refusal::JobNotFailed(job.progress.status.name()));
        }
        let spec = Arc::clone(&job.spec);
        let _place = match self.place_again(&job, None).await? {
            Again::Place(place) => place,
            Again::Full(full) => return Err(self.gates.turn_away(full, &spec)),
            Again::Paused(pause) => return Err(Refusal::paused(pause)),
        };
        match self.drive(id, Some(job), || Input::Redrive).await? {
            Driven::Changed(job) => Ok(job),
            Driven::Rejected(job, _) => Err(Refusal::JobNotFailed(job.progress.status.name())),
            Driven::NotFound => Err(Refusal::JobNotFound),
        }
    }

    /// A place for a failed job that is about to go on, moved to another generation or not: it takes up as much as a new
    /// one, so the same gates are asked.
    ///
    /// # Errors
    /// The pauses cannot be read.
    pub(crate) async fn place_again(
        &self,
        job: &Job,
        moved: Option<&Migration>,
    ) -> Result<Again<'_>, ledger::Error> {
        let now = self.ports.clock.now();
        // Who decided about the steps that are over does not matter any more.
        let to_come = job.failed_step().unwrap_or(0)..job.spec.steps.len();
        let pins = to_come.filter_map(|step| match moved {
            Some(moved) => moved.plugins.get(step)?.as_ref(),
            None => job.plugin(step),
        });
        let pins: Vec<&Pin> = pins.collect();
        if let Some(pause) = self.pauses.refusing(&job.spec, &pins, now).await? {
            return Ok(Again::Paused(pause));
        }
        let tenant_limit = self.registry.live().tenant_limit(&job.spec.tenant_id);
        Ok(match self.gates.take_place_again(job, tenant_limit) {
            Ok(place) => Again::Place(place),
            Err(full) => Again::Full(full),
        })
    }
}
