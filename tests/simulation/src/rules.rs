//! What must hold of a job and its outbox by themselves, whoever wrote them.

use lucius_domain::event::{Event, Recorded};
use lucius_domain::job::{Job, Phase};
use lucius_domain::transition::OutboxRow;

use crate::check::{Rows, Verdict, ensure};

/// I1 for steps.
pub(crate) fn ended_steps_stay(before: &Job, after: &Job, event: &Event) -> Verdict {
    let steps = before.progress.steps.iter().zip(&after.progress.steps);
    for (index, (before, after)) in steps.enumerate() {
        let ended = match before.phase {
            Phase::Succeeded | Phase::Skipped { .. } | Phase::Cancelled => true,
            Phase::FailedFinal => !matches!(event, Event::Redriven { step } if *step == index),
            Phase::Pending
            | Phase::Waiting { .. }
            | Phase::Dispatching { .. }
            | Phase::AwaitingAck { .. }
            | Phase::InProgress { .. }
            | Phase::Settling { .. } => false,
        };
        ensure(!ended || before.phase == after.phase, "I1", || {
            format!("{} changed step {index}, which had ended", event.name())
        })?;
    }
    Ok(())
}

/// I13: attempts, decisions and publishes are tried so often and not more.
pub(crate) fn within_budget(job: &Job) -> Verdict {
    for (spec, step) in job.spec.steps.iter().zip(&job.progress.steps) {
        let (used, most) = (step.attempts_in_budget(), spec.timing.max_attempts);
        ensure(used <= most, "I13", || {
            format!("{}: {used} attempts, {most} are allowed", spec.step_id)
        })?;
        let failed = if let Phase::Dispatching {
            publish_failures, ..
        } = &step.phase
        {
            *publish_failures
        } else {
            0
        };
        let tried = usize::try_from(failed).unwrap_or(usize::MAX);
        let most = spec.timing.dispatch_backoff_ms.len();
        ensure(tried <= most, "I13", || {
            format!(
                "{}: {tried} failed publishes, {most} are allowed",
                spec.step_id
            )
        })?;
    }
    Ok(())
}

/// I6: the outbox has a PENDING row exactly when the job waits to be published, and for the same moment.
pub(crate) fn rows_agree(job: &Job, outbox: &Rows) -> Verdict {
    let current = job.current().filter(|_| !job.progress.status.is_terminal());
    let waiting = current.and_then(|(step, _, state)| {
        let Phase::Dispatching {
            attempt,
            publish_at,
            ..
        } = &state.phase
        else {
            return None;
        };
        Some((step, attempt.key.no, *publish_at))
    });
    let pending = outbox.iter().filter_map(|(step, no, row)| match row {
        OutboxRow::Pending { publish_at, .. } => Some((*step, *no, *publish_at)),
        OutboxRow::Sent | OutboxRow::FailedFinal | OutboxRow::Cancelled => None,
    });
    let pending: Vec<_> = pending.collect();
    let expected: Vec<_> = waiting.into_iter().collect();
    ensure(pending == expected, "I6", || {
        format!("the job waits for {expected:?}, the outbox holds {pending:?}")
    })
}

/// I6: an attempt and its row are one write.
pub(crate) fn attempts_have_rows(job: &Job, events: &[Recorded], outbox: &Rows) -> Verdict {
    for recorded in events {
        if let Event::AttemptCreated { step, attempt } = &recorded.event {
            let no = attempt.key.no;
            let rows = outbox
                .iter()
                .filter(|it| (it.0, it.1) == (*step, no))
                .count();
            ensure(rows == 1, "I6", || {
                format!(
                    "attempt {no} of {:?} has {rows} outbox rows",
                    job.spec.steps[*step].step_id
                )
            })?;
        }
    }
    Ok(())
}
