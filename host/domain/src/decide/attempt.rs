//! One attempt, from the outbox to its end: published, acknowledged, kept alive, answered, or timed out.

use super::{Rejection, cancelled_at, fail_job, retry_or_fail};
use crate::contract::Progress;
use crate::event::{Event, IgnoreReason};
use crate::id::{AttemptKey, Digest};
use crate::job::{Attempt, Failure, Job, Phase, Status};
use crate::plugin::Report;
use crate::time::Timestamp;

/// The wait for an ACK is over.
const ACK_TIMEOUT: &str = "ACK_TIMEOUT";
/// The lease is over.
const LEASE_EXPIRED: &str = "LEASE_EXPIRED";
/// The attempt ran as long as one may, and only ever said that it is still at work.
const ATTEMPT_DEADLINE: &str = "ATTEMPT_DEADLINE";
/// Publishing failed as often as it may.
const DISPATCH_EXHAUSTED: &str = "DISPATCH_EXHAUSTED";
/// The bus will never take the directive.
const DISPATCH_REFUSED: &str = "DISPATCH_REFUSED";

pub(super) fn sent(
    job: &Job,
    step: usize,
    key: AttemptKey,
    now: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let attempt = dispatching(job, step, key)?.0;
    let ack_due = now.plus_ms(attempt.ack_ms);
    Ok(vec![Event::DirectiveSent {
        step,
        attempt_no: key.no,
        ack_due,
    }])
}

pub(super) fn publish_failed(
    job: &Job,
    step: usize,
    key: AttemptKey,
    failure: Failure,
    retryable: bool,
    now: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let (_, earlier_failures) = dispatching(job, step, key)?;
    let timing = &job.spec.steps[step].timing;
    if !retryable {
        return Ok(fail_job(
            step,
            Failure::new(DISPATCH_REFUSED, failure.message),
        ));
    }
    match timing.publish_wait_ms(earlier_failures + 1) {
        Some(wait_ms) => {
            let publish_at = now.plus_ms(wait_ms);
            Ok(vec![Event::PublishFailed {
                step,
                attempt_no: key.no,
                failure,
                publish_at,
            }])
        }
        None => Ok(fail_job(
            step,
            Failure::new(DISPATCH_EXHAUSTED, failure.message),
        )),
    }
}

/// The first sign of life starts the lease and the time that the attempt has in all. It proves that the directive
/// arrived, also when it overtakes the write of SENT.
pub(super) fn ack(
    job: &Job,
    step: usize,
    key: AttemptKey,
    now: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let (attempt, phase) = current_attempt(job, step, key)?;
    let longest_ms = job.spec.steps[step].timing.deadline_ms;
    let acked = Event::Acked {
        step,
        attempt_no: key.no,
        lease_expires_at: now.plus_ms(attempt.lease_ms),
        ends_by: now.plus_ms(longest_ms.max(attempt.lease_ms)),
    };
    match phase {
        Phase::Dispatching { .. } => Ok(vec![
            Event::DirectiveSent {
                step,
                attempt_no: key.no,
                ack_due: now,
            },
            acked,
        ]),
        Phase::AwaitingAck { .. } => Ok(vec![acked]),
        Phase::InProgress { .. } => Err(Rejection::Ignored(IgnoreReason::Repeated)),
        Phase::Settling { .. }
        | Phase::Pending
        | Phase::Waiting { .. }
        | Phase::Succeeded
        | Phase::Skipped { .. }
        | Phase::FailedFinal
        | Phase::Cancelled => Err(Rejection::Ignored(IgnoreReason::Decided)),
    }
}

/// A heartbeat renews the lease, but never beyond the attempt's deadline: a worker that only ever beats would hold its
/// job for good. As a first sign of life it is an ACK too.
pub(super) fn heartbeat(
    job: &Job,
    step: usize,
    key: AttemptKey,
    progress: Option<Progress>,
    now: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let (attempt, phase) = current_attempt(job, step, key)?;
    let lease_ends = now.plus_ms(attempt.lease_ms);
    let renewed = |lease_expires_at| Event::LeaseRenewed {
        step,
        attempt_no: key.no,
        lease_expires_at,
        progress,
    };
    match phase {
        Phase::InProgress { ends_by, .. } => Ok(vec![renewed(lease_ends.min(*ends_by))]),
        Phase::Dispatching { .. } | Phase::AwaitingAck { .. } => {
            let mut events = ack(job, step, key, now)?;
            events.push(renewed(lease_ends));
            Ok(events)
        }
        Phase::Settling { .. }
        | Phase::Pending
        | Phase::Waiting { .. }
        | Phase::Succeeded
        | Phase::Skipped { .. }
        | Phase::FailedFinal
        | Phase::Cancelled => Err(Rejection::Ignored(IgnoreReason::Decided)),
    }
}

/// A RESULT without an ACK counts as both. What it means is for the plugin to say, in the same commit; only a job
/// that is being cancelled does not ask.
pub(super) fn result(
    job: &Job,
    step: usize,
    key: AttemptKey,
    report: Report,
    digest: Digest,
) -> Result<Vec<Event>, Rejection> {
    if job.progress.status.is_terminal() {
        return Err(Rejection::Ignored(IgnoreReason::JobTerminal));
    }
    let decided = job
        .progress
        .steps
        .get(step)
        .map_or(&[][..], |step| &step.decided);
    if let Some(decided) = decided.iter().find(|decided| decided.key == key) {
        let same = decided.digest == digest;
        let reason = if same {
            IgnoreReason::Repeated
        } else {
            IgnoreReason::Conflicting
        };
        return Err(Rejection::Ignored(reason));
    }
    let (_, phase) = current_attempt(job, step, key)?;
    let mut events = Vec::with_capacity(4);
    if let Phase::Dispatching { publish_at, .. } = phase {
        events.push(Event::DirectiveSent {
            step,
            attempt_no: key.no,
            ack_due: *publish_at,
        });
    }
    let succeeded = matches!(report, Report::Succeeded { .. });
    events.push(Event::ResultReceived {
        step,
        attempt_no: key.no,
        report,
        digest,
    });
    if job.progress.status == Status::Cancelling {
        match succeeded {
            true => events.extend([Event::StepSucceeded { step }, Event::JobCancelled]),
            false => events.extend(cancelled_at(step)),
        }
    }
    Ok(events)
}

pub(super) fn ack_overdue(job: &Job, now: Timestamp) -> Result<Vec<Event>, Rejection> {
    let Some((step, _, state)) = job.current() else {
        return Err(Rejection::NotWaiting);
    };
    match &state.phase {
        Phase::AwaitingAck { attempt, ack_due } if *ack_due <= now => {
            let message = format!(
                "no ACK within {} ms of sending the directive",
                attempt.ack_ms
            );
            Ok(attempt_lost(
                job,
                step,
                attempt,
                Failure::new(ACK_TIMEOUT, message),
                now,
            ))
        }
        Phase::AwaitingAck { .. }
        | Phase::Pending
        | Phase::Waiting { .. }
        | Phase::Dispatching { .. }
        | Phase::InProgress { .. }
        | Phase::Settling { .. }
        | Phase::Succeeded
        | Phase::Skipped { .. }
        | Phase::FailedFinal
        | Phase::Cancelled => Err(Rejection::NotWaiting),
    }
}

pub(super) fn lease_overdue(job: &Job, now: Timestamp) -> Result<Vec<Event>, Rejection> {
    let Some((step, _, state)) = job.current() else {
        return Err(Rejection::NotWaiting);
    };
    match &state.phase {
        Phase::InProgress {
            attempt,
            lease_expires_at,
            ends_by,
            ..
        } if *lease_expires_at <= now => {
            let failure = if lease_expires_at < ends_by {
                let message = format!("no heartbeat or RESULT within {} ms", attempt.lease_ms);
                Failure::new(LEASE_EXPIRED, message)
            } else {
                let message = "no RESULT in the longest time that an attempt may take";
                Failure::new(ATTEMPT_DEADLINE, message)
            };
            Ok(attempt_lost(job, step, attempt, failure, now))
        }
        Phase::InProgress { .. }
        | Phase::Pending
        | Phase::Waiting { .. }
        | Phase::Dispatching { .. }
        | Phase::AwaitingAck { .. }
        | Phase::Settling { .. }
        | Phase::Succeeded
        | Phase::Skipped { .. }
        | Phase::FailedFinal
        | Phase::Cancelled => Err(Rejection::NotWaiting),
    }
}

fn attempt_lost(
    job: &Job,
    step: usize,
    attempt: &Attempt,
    failure: Failure,
    now: Timestamp,
) -> Vec<Event> {
    if job.progress.status == Status::Cancelling {
        return cancelled_at(step);
    }
    retry_or_fail(job, attempt, None, failure, now)
}

/// The attempt that waits in the outbox, and how often publishing it failed.
fn dispatching(job: &Job, step: usize, key: AttemptKey) -> Result<(&Attempt, u32), Rejection> {
    let phase = job
        .current()
        .filter(|(index, ..)| *index == step)
        .map(|(.., step)| &step.phase);
    match phase {
        Some(Phase::Dispatching {
            attempt,
            publish_failures,
            ..
        }) if attempt.key == key => Ok((attempt, *publish_failures)),
        _ => Err(Rejection::NotWaiting),
    }
}

/// The fence: the callback's attempt must be the one under way. An attempt whose RESULT is in is told that its work
/// is done, but only as long as its step has no newer attempt.
fn current_attempt(
    job: &Job,
    step: usize,
    key: AttemptKey,
) -> Result<(&Attempt, &Phase), Rejection> {
    if job.progress.status.is_terminal() {
        return Err(Rejection::Ignored(IgnoreReason::JobTerminal));
    }
    let state = job
        .progress
        .steps
        .get(step)
        .ok_or(Rejection::Ignored(IgnoreReason::Stale))?;
    match job.active_attempt() {
        Some((index, attempt)) if index == step && attempt.key == key => {
            Ok((attempt, &state.phase))
        }
        _ if key.no == state.attempts && state.decided.iter().any(|decided| decided.key == key) => {
            Err(Rejection::Ignored(IgnoreReason::Decided))
        }
        _ => Err(Rejection::Ignored(IgnoreReason::Stale)),
    }
}
