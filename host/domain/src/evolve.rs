//! `(job, event) -> job`: the only place that changes a job. It asks no questions: an event has happened, and
//! [`crate::decide`] has seen to it that it may.

use crate::contract::Progress;
use crate::event::{Event, Recorded};
use crate::id::AttemptKey;
use crate::job::{Attempt, Decided, Job, Migration, Phase, Status};
use crate::plugin::Report;
use crate::time::Timestamp;

/// The job after an event.
pub fn evolve(job: &mut Job, recorded: &Recorded) {
    let at = recorded.at;
    job.progress.events = recorded.seq;
    job.progress.updated_at = at;
    match &recorded.event {
        Event::Accepted => turn_comes(job, 0, at),
        Event::Decided { .. } => {}
        Event::DecisionDeferred {
            step,
            failure,
            faults,
            due_at,
        } => {
            if let Some(step) = job.progress.steps.get_mut(*step) {
                step.last_failure = Some(failure.clone());
                match &mut step.phase {
                    Phase::Waiting {
                        due_at: due,
                        faults: count,
                    }
                    | Phase::Settling {
                        due_at: due,
                        faults: count,
                        ..
                    } => {
                        *due = *due_at;
                        *count = *faults;
                    }
                    Phase::Pending
                    | Phase::Dispatching { .. }
                    | Phase::AwaitingAck { .. }
                    | Phase::InProgress { .. }
                    | Phase::Succeeded
                    | Phase::Skipped { .. }
                    | Phase::FailedFinal
                    | Phase::Cancelled => {}
                }
            }
        }
        Event::StepSkipped { step, reason } => {
            enter(
                job,
                *step,
                Phase::Skipped {
                    reason: reason.clone(),
                },
            );
            turn_comes(job, step + 1, at);
        }
        Event::AttemptCreated { step, attempt } => attempt_created(job, *step, attempt, at),
        Event::DirectiveSent { step, ack_due, .. } => {
            if let Some(attempt) = take_attempt(job, *step) {
                enter(
                    job,
                    *step,
                    Phase::AwaitingAck {
                        attempt,
                        ack_due: *ack_due,
                    },
                );
            }
            if job.progress.status == Status::Queued {
                job.progress.status = Status::Dispatching;
            }
        }
        Event::PublishFailed {
            step,
            failure,
            publish_at: at,
            ..
        } => {
            if let Some(step) = job.progress.steps.get_mut(*step) {
                step.last_failure = Some(failure.clone());
                if let Phase::Dispatching {
                    publish_failures,
                    publish_at,
                    ..
                } = &mut step.phase
                {
                    *publish_failures += 1;
                    *publish_at = *at;
                }
            }
        }
        Event::Acked {
            step,
            lease_expires_at,
            ends_by,
            ..
        } => acked(job, *step, *lease_expires_at, *ends_by),
        Event::LeaseRenewed {
            step,
            lease_expires_at,
            progress,
            ..
        } => renewed(job, *step, *lease_expires_at, progress.as_ref()),
        Event::ResultReceived {
            step,
            report,
            digest,
            ..
        } => {
            if let Some(attempt) = take_attempt(job, *step) {
                let key: AttemptKey = attempt.key;
                let report = report.clone();
                enter(
                    job,
                    *step,
                    Phase::Settling {
                        attempt,
                        report,
                        faults: 0,
                        due_at: at,
                    },
                );
                if let Some(step) = job.progress.steps.get_mut(*step) {
                    step.decided.push(Decided {
                        key,
                        digest: *digest,
                    });
                }
            }
            begun(job);
        }
        Event::StepSucceeded { step } => {
            step_succeeded(job, *step);
            turn_comes(job, step + 1, at);
        }
        Event::RetryScheduled {
            step,
            failure,
            due_at,
            ..
        } => {
            enter(
                job,
                *step,
                Phase::Waiting {
                    due_at: *due_at,
                    faults: 0,
                },
            );
            if let Some(step) = job.progress.steps.get_mut(*step) {
                step.last_failure = Some(failure.clone());
            }
        }
        Event::StepFailed { step, failure } => {
            enter(job, *step, Phase::FailedFinal);
            if let Some(step) = job.progress.steps.get_mut(*step) {
                step.last_failure = Some(failure.clone());
            }
        }
        Event::StepCancelled { step } => enter(job, *step, Phase::Cancelled),
        Event::CancelRequested => job.progress.status = Status::Cancelling,
        Event::JobSucceeded => end(job, Status::Succeeded, at),
        Event::JobFailed { failure } => {
            end(
                job,
                Status::FailedFinal {
                    failure: failure.clone(),
                },
                at,
            );
        }
        Event::JobCancelled => {
            for step in &mut job.progress.steps {
                if !is_over(&step.phase) {
                    step.phase = Phase::Cancelled;
                }
            }
            end(job, Status::Cancelled, at);
        }
        Event::Redriven { step } => {
            if let Some(state) = job.progress.steps.get_mut(*step) {
                state.budget_from = state.attempts;
            }
            job.progress.completed_at = None;
            job.progress.status = Status::Queued;
            turn_comes(job, *step, at);
        }
        Event::Migrated {
            generation,
            plugins,
            ..
        } => {
            job.progress.migrated = Some(Migration {
                generation: *generation,
                plugins: plugins.clone(),
            });
        }
        Event::CallbackIgnored { .. } => job.progress.notes += 1,
    }
}

fn enter(job: &mut Job, step: usize, phase: Phase) {
    if let Some(step) = job.progress.steps.get_mut(step) {
        step.phase = phase;
    }
}

/// The turn of step `index` has come, or, past the last, all are done. In a job that is being cancelled the end follows
/// in the same commit, so that nothing new starts.
fn turn_comes(job: &mut Job, index: usize, at: Timestamp) {
    job.progress.current = index;
    enter(
        job,
        index,
        Phase::Waiting {
            due_at: at,
            faults: 0,
        },
    );
}

fn attempt_created(job: &mut Job, index: usize, attempt: &Attempt, at: Timestamp) {
    if let Some(step) = job.progress.steps.get_mut(index) {
        step.attempts = attempt.key.no;
        step.phase = Phase::Dispatching {
            attempt: attempt.clone(),
            publish_failures: 0,
            publish_at: at,
        };
    }
}

fn acked(job: &mut Job, index: usize, lease_expires_at: Timestamp, ends_by: Timestamp) {
    if let Some(attempt) = take_attempt(job, index) {
        enter(
            job,
            index,
            Phase::InProgress {
                attempt,
                lease_expires_at,
                ends_by,
                progress: None,
            },
        );
    }
    begun(job);
}

/// A heartbeat that says nothing of its progress leaves what the last one said.
fn renewed(job: &mut Job, index: usize, until: Timestamp, news: Option<&Progress>) {
    if let Some(step) = job.progress.steps.get_mut(index)
        && let Phase::InProgress {
            lease_expires_at,
            progress,
            ..
        } = &mut step.phase
    {
        *lease_expires_at = until;
        if let Some(news) = news {
            *progress = Some(news.clone());
        }
    }
}

fn begun(job: &mut Job) {
    if matches!(job.progress.status, Status::Queued | Status::Dispatching) {
        job.progress.status = Status::InProgress;
    }
}

fn step_succeeded(job: &mut Job, index: usize) {
    let Some(step) = job.progress.steps.get_mut(index) else {
        return;
    };
    if let Phase::Settling {
        report: Report::Succeeded {
            artifact_refs,
            output_ref,
        },
        ..
    } = &step.phase
    {
        step.artifact_refs = artifact_refs.clone();
        step.output_ref = output_ref.clone();
    }
    step.phase = Phase::Succeeded;
}

fn end(job: &mut Job, status: Status, at: Timestamp) {
    job.progress.status = status;
    job.progress.completed_at = Some(at);
}

fn take_attempt(job: &Job, index: usize) -> Option<Attempt> {
    job.active_attempt()
        .filter(|(active, _)| *active == index)
        .map(|(_, attempt)| attempt.clone())
}

fn is_over(phase: &Phase) -> bool {
    match phase {
        Phase::Succeeded | Phase::Skipped { .. } | Phase::FailedFinal | Phase::Cancelled => true,
        Phase::Pending
        | Phase::Waiting { .. }
        | Phase::Dispatching { .. }
        | Phase::AwaitingAck { .. }
        | Phase::InProgress { .. }
        | Phase::Settling { .. } => false,
    }
}
