//! What clients and operators ask for: cancel, redrive; and the record of callbacks that do not count.

use super::{MAX_NOTES, Rejection, directive_is_out};
use crate::event::Event;
use crate::job::{Job, Phase, Status};

/// Nothing new starts. A directive that is out is waited for; without one the job is over at once.
pub(super) fn cancel(job: &Job) -> Result<Vec<Event>, Rejection> {
    match &job.progress.status {
        Status::Succeeded | Status::FailedFinal { .. } | Status::Cancelled => {
            Err(Rejection::Terminal)
        }
        Status::Cancelling => Err(Rejection::Cancelling),
        Status::Queued | Status::Dispatching | Status::InProgress => {
            let out = job
                .current()
                .is_some_and(|(.., step)| directive_is_out(&step.phase));
            Ok(vec![if out {
                Event::CancelRequested
            } else {
                Event::JobCancelled
            }])
        }
    }
}

/// Starts again at the step that failed, with a fresh budget and higher attempt numbers.
pub(super) fn redrive(job: &Job) -> Result<Vec<Event>, Rejection> {
    match &job.progress.status {
        Status::FailedFinal { .. } => {}
        Status::Queued
        | Status::Dispatching
        | Status::InProgress
        | Status::Cancelling
        | Status::Succeeded
        | Status::Cancelled => return Err(Rejection::NotFailed),
    }
    let failed = job
        .progress
        .steps
        .iter()
        .position(|step| step.phase == Phase::FailedFinal);
    failed
        .map(|step| vec![Event::Redriven { step }])
        .ok_or(Rejection::NotFailed)
}

pub(super) fn note(job: &Job, event: Event) -> Result<Vec<Event>, Rejection> {
    if job.progress.notes < MAX_NOTES {
        Ok(vec![event])
    } else {
        Err(Rejection::NotesFull)
    }
}
