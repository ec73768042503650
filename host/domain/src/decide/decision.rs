//! What plugins decide: where a step goes, and what a RESULT means. A plugin that cannot say is asked again, and a
//! step whose plugin stays broken fails in the open; the RESULT it could not read is on record all the same.

use super::{Rejection, fail_job, retry_or_fail};
use crate::event::Event;
use crate::id::{AttemptKey, LeaseId};
use crate::job::{Attempt, Failure, Job, Phase, Status};
use crate::plugin::{Decision, Dispatch, Route, Settle};
use crate::time::Timestamp;

pub(super) fn route(
    job: &Job,
    lease_id: LeaseId,
    decision: Option<Decision>,
    outcome: Result<Route, Failure>,
    now: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let Some((step, spec, state)) = job.current() else {
        return Err(Rejection::NotWaiting);
    };
    let faults = match &state.phase {
        Phase::Waiting { due_at, faults } if *due_at <= now => *faults,
        Phase::Waiting { .. }
        | Phase::Pending
        | Phase::Dispatching { .. }
        | Phase::AwaitingAck { .. }
        | Phase::InProgress { .. }
        | Phase::Settling { .. }
        | Phase::Succeeded
        | Phase::Skipped { .. }
        | Phase::FailedFinal
        | Phase::Cancelled => return Err(Rejection::NotWaiting),
    };
    let mut events = on_record(step, decision);
    match outcome {
        Ok(Route::Dispatch(Dispatch {
            service,
            payload,
            ack_ms,
            lease_ms,
        })) => {
            let attempt = Attempt {
                key: AttemptKey {
                    no: state.attempts.next(),
                    lease_id,
                },
                service,
                payload: payload.filter(|payload| *payload != spec.payload),
                ack_ms: ack_ms.unwrap_or(spec.timing.ack_ms),
                lease_ms: lease_ms.unwrap_or(spec.timing.lease_ms),
            };
            events.push(Event::AttemptCreated { step, attempt });
        }
        Ok(Route::Skip { reason }) => {
            events.push(Event::StepSkipped { step, reason });
            events.extend(succeed_after(job, step));
        }
        Ok(Route::Fail { failure }) => events.extend(fail_job(step, failure)),
        Err(failure) => events.extend(deferred(job, faults, failure, now)),
    }
    Ok(events)
}

pub(super) fn settle(
    job: &Job,
    decision: Option<Decision>,
    outcome: Result<Settle, Failure>,
    now: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let Some((step, _, state)) = job.current() else {
        return Err(Rejection::NotWaiting);
    };
    let (attempt, faults) = match &state.phase {
        Phase::Settling {
            attempt,
            faults,
            due_at,
            ..
        } if *due_at <= now => (attempt, *faults),
        Phase::Settling { .. }
        | Phase::Pending
        | Phase::Waiting { .. }
        | Phase::Dispatching { .. }
        | Phase::AwaitingAck { .. }
        | Phase::InProgress { .. }
        | Phase::Succeeded
        | Phase::Skipped { .. }
        | Phase::FailedFinal
        | Phase::Cancelled => return Err(Rejection::NotWaiting),
    };
    let mut events = on_record(step, decision);
    match outcome {
        Ok(Settle::Accept) => {
            events.push(Event::StepSucceeded { step });
            events.extend(succeed_after(job, step));
        }
        Ok(Settle::Retry { delay_ms, failure }) => {
            events.extend(retry_or_fail(job, attempt, delay_ms, failure, now));
        }
        Ok(Settle::Fail { failure }) => events.extend(fail_job(step, failure)),
        Err(failure) => events.extend(deferred(job, faults, failure, now)),
    }
    debug_assert!(
        job.progress.status != Status::Cancelling,
        "a cancelling job settles nothing"
    );
    Ok(events)
}

fn on_record(step: usize, decision: Option<Decision>) -> Vec<Event> {
    decision
        .map(|decision| Event::Decided { step, decision })
        .into_iter()
        .collect()
}

/// The job's success, when the step that just ended was the last one.
fn succeed_after(job: &Job, step: usize) -> Option<Event> {
    (step + 1 == job.spec.steps.len()).then_some(Event::JobSucceeded)
}

fn deferred(job: &Job, earlier_faults: u32, failure: Failure, now: Timestamp) -> Vec<Event> {
    let Some((step, spec, _)) = job.current() else {
        return Vec::new();
    };
    let faults = earlier_faults + 1;
    if faults >= spec.timing.max_attempts {
        return fail_job(step, failure);
    }
    let due_at = now.plus_ms(spec.timing.retry_wait_ms(faults));
    vec![Event::DecisionDeferred {
        step,
        failure,
        faults,
        due_at,
    }]
}
