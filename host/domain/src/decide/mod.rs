//! `(job, input, now) -> events | rejection`: the rules, and the only code that knows them.
//!
//! API, callbacks, dispatcher and sweepers all come through here. Every legal pair of input and phase is listed;
//! everything else is a typed rejection and leaves the job as it is. Nothing here changes a job:
//! [`crate::evolve`] folds the events in.
//!
//! The inputs are grouped by who brings them: [`attempt`] (dispatcher, callbacks, clocks), [`decision`] (plugins),
//! [`verb`] (clients and operators).

mod attempt;
mod decision;
mod verb;

use crate::contract::Progress;
use crate::event::{Event, IgnoreReason};
use crate::id::{AttemptKey, Digest, Generation, LeaseId};
use crate::job::{Failure, Job, Phase};
use crate::plugin::{Decision, Pin, Report, Route, Settle};
use crate::time::Timestamp;

/// How many callbacks that do not count a job keeps on record; later ones are answered the same and not kept.
pub const MAX_NOTES: u32 = 100;

/// Something that reaches a job from outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The plugin (or, without one, the protocol) says where the step whose turn has come goes.
    Route {
        /// The fence for the attempt, should there be one.
        lease_id: LeaseId,
        /// The decision for the record, when a plugin made it.
        decision: Option<Decision>,
        /// Where it goes, or how the plugin failed to say.
        outcome: Result<Route, Failure>,
    },
    /// The plugin (or, without one, the default) says what the RESULT means.
    Settle {
        /// The decision for the record, when a plugin made it.
        decision: Option<Decision>,
        /// What it means, or how the plugin failed to say.
        outcome: Result<Settle, Failure>,
    },
    /// The bus has taken the directive.
    Sent {
        /// The step.
        step: usize,
        /// The attempt.
        key: AttemptKey,
    },
    /// The bus has not taken the directive.
    PublishFailed {
        /// The step.
        step: usize,
        /// The attempt.
        key: AttemptKey,
        /// Why.
        failure: Failure,
        /// False when the bus will never take it.
        retryable: bool,
    },
    /// A service has the directive.
    Ack {
        /// The step.
        step: usize,
        /// The attempt.
        key: AttemptKey,
    },
    /// A service is still at work.
    Heartbeat {
        /// The step.
        step: usize,
        /// The attempt.
        key: AttemptKey,
        /// How far the work is.
        progress: Option<Progress>,
    },
    /// A service says how an attempt ended.
    Result {
        /// The step.
        step: usize,
        /// The attempt.
        key: AttemptKey,
        /// How it ended.
        report: Report,
        /// The digest of the RESULT.
        digest: Digest,
    },
    /// The clock says that a wait for an ACK may be over.
    AckOverdue,
    /// The clock says that a lease may be over.
    LeaseOverdue,
    /// A callback that does not count, to be put on record.
    Note {
        /// The event for the record, always [`Event::CallbackIgnored`].
        event: Event,
    },
    /// Someone wants the job cancelled.
    Cancel,
    /// Someone wants a failed job to start again.
    Redrive,
    /// Someone wants the job to be decided about by another registry generation.
    Migrate {
        /// Which.
        generation: Generation,
        /// Who decides about each step there; for the steps that are over it says nothing.
        plugins: Vec<Option<Pin>>,
    },
}

/// Why an input changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The callback does not count.
    #[error("the callback does not count: {0:?}")]
    Ignored(IgnoreReason),
    /// The job is over.
    #[error("the job is over")]
    Terminal,
    /// Only a job that failed can be redriven.
    #[error("the job has not failed")]
    NotFailed,
    /// The job is being cancelled already.
    #[error("the job is being cancelled")]
    Cancelling,
    /// The job holds that registry generation already.
    #[error("the job holds that generation")]
    SameGeneration,
    /// The job has moved on, or its time has not come; whoever asked was late or early, which is harmless.
    #[error("the job is not waiting for this")]
    NotWaiting,
    /// The record of callbacks that do not count is full.
    #[error("the job keeps no more callbacks that do not count")]
    NotesFull,
}

/// What an input does to a job.
///
/// # Errors
/// Why it does nothing. A rejection is a normal outcome.
pub fn decide(job: &Job, input: Input, now: Timestamp) -> Result<Vec<Event>, Rejection> {
    match input {
        Input::Cancel => verb::cancel(job),
        Input::Redrive => verb::redrive(job),
        Input::Migrate {
            generation,
            plugins,
        } => verb::migrate(job, generation, plugins),
        Input::Route {
            lease_id,
            decision,
            outcome,
        } => decision::route(job, lease_id, decision, outcome, now),
        Input::Settle { decision, outcome } => decision::settle(job, decision, outcome, now),
        Input::Sent { step, key } => attempt::sent(job, step, key, now),
        Input::PublishFailed {
            step,
            key,
            failure,
            retryable,
        } => attempt::publish_failed(job, step, key, failure, retryable, now),
        Input::Ack { step, key } => attempt::ack(job, step, key, now),
        Input::Heartbeat {
            step,
            key,
            progress,
        } => attempt::heartbeat(job, step, key, progress, now),
        Input::Result {
            step,
            key,
            report,
            digest,
        } => attempt::result(job, step, key, report, digest),
        Input::AckOverdue => attempt::ack_overdue(job, now),
        Input::LeaseOverdue => attempt::lease_overdue(job, now),
        Input::Note { event } => verb::note(job, event),
    }
}

/// The step has failed for good, and the job with it.
fn fail_job(step: usize, failure: Failure) -> Vec<Event> {
    vec![
        Event::StepFailed {
            step,
            failure: failure.clone(),
        },
        Event::JobFailed { failure },
    ]
}

/// The attempt has failed: another one when the budget allows, else the end.
fn retry_or_fail(
    job: &Job,
    failed: &crate::job::Attempt,
    delay_ms: Option<u64>,
    failure: Failure,
    now: Timestamp,
) -> Vec<Event> {
    let Some((step, spec, state)) = job.current() else {
        return Vec::new();
    };
    let used = state.attempts_in_budget();
    if used >= spec.timing.max_attempts {
        return fail_job(step, failure);
    }
    let wait_ms = delay_ms
        .map(|ms| ms.min(crate::retry::MAX_RETRY_DELAY_MS))
        .unwrap_or_else(|| spec.timing.retry_wait_ms(used));
    let due_at = now.plus_ms(wait_ms);
    vec![Event::RetryScheduled {
        step,
        attempt_no: failed.key.no,
        failure,
        due_at,
    }]
}

/// The active attempt of a job that is being cancelled has ended without a success.
fn cancelled_at(step: usize) -> Vec<Event> {
    vec![Event::StepCancelled { step }, Event::JobCancelled]
}

/// True when the phase belongs to a step whose directive is out.
fn directive_is_out(phase: &Phase) -> bool {
    match phase {
        Phase::AwaitingAck { .. } | Phase::InProgress { .. } => true,
        Phase::Pending
        | Phase::Waiting { .. }
        | Phase::Dispatching { .. }
        | Phase::Settling { .. }
        | Phase::Succeeded
        | Phase::Skipped { .. }
        | Phase::FailedFinal
        | Phase::Cancelled => false,
    }
}
