//! What clients and operators ask for: cancel, redrive, migrate; and the record of callbacks that do not count.

use super::{MAX_NOTES, Rejection, directive_is_out};
use crate::event::Event;
use crate::id::Generation;
use crate::job::{Job, Status};
use crate::plugin::Pin;

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

/// Starts again at the step that failed, with a fresh budget and higher attempt numbers. A step has failed for good
/// exactly when its job has, so there is one only in a job that may be redriven.
pub(super) fn redrive(job: &Job) -> Result<Vec<Event>, Rejection> {
    let step = job.failed_step().ok_or(Rejection::NotFailed)?;
    Ok(vec![Event::Redriven { step }])
}

/// Moves the job to another registry generation, for the steps that are not over. A failed one may be moved, too, so
/// that it can be redriven under a plugin that was mended.
pub(super) fn migrate(
    job: &Job,
    generation: Generation,
    mut plugins: Vec<Option<Pin>>,
) -> Result<Vec<Event>, Rejection> {
    match &job.progress.status {
        Status::Succeeded | Status::Cancelled => return Err(Rejection::Terminal),
        Status::Cancelling => return Err(Rejection::Cancelling),
        Status::Queued | Status::Dispatching | Status::InProgress | Status::FailedFinal { .. } => {}
    }
    let from = job.generation();
    if from == generation {
        return Err(Rejection::SameGeneration);
    }
    plugins.resize(job.spec.steps.len(), None);
    let over = plugins.iter_mut().enumerate().take(job.progress.current);
    for (index, plugin) in over {
        *plugin = job.plugin(index).cloned();
    }
    Ok(vec![Event::Migrated {
        from,
        generation,
        plugins,
    }])
}

pub(super) fn note(job: &Job, event: Event) -> Result<Vec<Event>, Rejection> {
    if job.progress.notes < MAX_NOTES {
        Ok(vec![event])
    } else {
        Err(Rejection::NotesFull)
    }
}
