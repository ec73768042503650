//! What the deliberate defects of [`crate::mutation`] do to a commit on its way into the ledger, or to a job on its
//! way out.

use std::sync::Arc;

use lucius_domain::event::{Event, Recorded};
use lucius_domain::evolve::evolve;
use lucius_domain::id::AttemptKey;
use lucius_domain::job::{Job, Phase, Status};
use lucius_domain::time::Timestamp;
use lucius_domain::transition::{Change, OutboxRow};

use crate::mutation::Mutation;
use crate::world::World;

/// The change as a defective engine or ledger would have it.
pub(crate) fn forge(world: &World, mut change: Change) -> Change {
    let Some(mutation) = world.mutation else {
        return change;
    };
    let before = world.state().check.job(change.job.id).cloned();
    match mutation {
        Mutation::SentBeforePublish => sent_before_publish(&mut change),
        Mutation::DropOutboxRow => change
            .outbox
            .retain(|it| !matches!(it.row, OutboxRow::Pending { .. })),
        Mutation::KeepPublishTime => {
            if has(&change, |it| matches!(it, Event::PublishFailed { .. })) {
                change.outbox.clear();
            }
        }
        Mutation::LoseEvent => {
            if change.events.len() > 1 {
                Arc::make_mut(&mut change.events).pop();
            }
        }
        Mutation::StoreOtherState => Arc::make_mut(&mut change.job).progress.notes += 1,
        Mutation::Resurrect => {
            let over = before.is_some_and(|job| job.progress.status.is_terminal());
            if over && !has(&change, |it| matches!(it, Event::Redriven { .. })) {
                add(&mut change, Event::CancelRequested);
            }
        }
        Mutation::BeatForEver => beat_for_ever(&mut change),
        Mutation::RetryAfterCancel => {
            if let Some(before) = before {
                retry_after_cancel(&mut change, &before);
            }
        }
        Mutation::BudgetNeverEnds => {
            if let Some(before) = before {
                // The defect is in what was decided, not in what is stored; a redrive may move the budget.
                if has(&change, |it| matches!(it, Event::Redriven { .. })) {
                    return change;
                }
                let steps = &mut Arc::make_mut(&mut change.job).progress.steps;
                for (step, before) in steps.iter_mut().zip(&before.progress.steps) {
                    step.budget_from = before.budget_from;
                }
            }
        }
        Mutation::IgnoreVersion
        | Mutation::PublishNothing
        | Mutation::ForgetLeases
        | Mutation::ForgetAcks
        | Mutation::ForgetOutbox
        | Mutation::RepeatLease
        | Mutation::LoseCreate
        | Mutation::LoseCommit
        | Mutation::ForgetKeys
        | Mutation::CommitTwice
        | Mutation::ForgetFence => {}
    }
    change
}

/// The job as an engine with a defect would understand it.
pub(crate) fn misread(world: &World, job: Arc<Job>) -> Arc<Job> {
    match world.mutation {
        Some(Mutation::ForgetFence) => {
            let callback = {
                let state = world.state();
                let effects = state.task.and_then(|task| state.effects.get(&task));
                effects.and_then(|effects| effects.callback.clone())
            };
            match callback {
                Some((step, key)) if job.step_index(&step) == Some(job.progress.current) => {
                    with_key(job, key)
                }
                Some(_) | None => job,
            }
        }
        Some(Mutation::BudgetNeverEnds) => {
            if job.progress.status.is_terminal() {
                return job; // a redrive is not what this is about
            }
            let mut job = job;
            for step in &mut Arc::make_mut(&mut job).progress.steps {
                step.budget_from = step.attempts;
            }
            job
        }
        Some(_) | None => job,
    }
}

fn with_key(mut job: Arc<Job>, key: AttemptKey) -> Arc<Job> {
    let current = job.progress.current;
    if let Some(step) = Arc::make_mut(&mut job).progress.steps.get_mut(current)
        && let Phase::Dispatching { attempt, .. }
        | Phase::AwaitingAck { attempt, .. }
        | Phase::InProgress { attempt, .. } = &mut step.phase
    {
        attempt.key = key;
    }
    job
}

fn has(change: &Change, is: impl Fn(&Event) -> bool) -> bool {
    change.events.iter().any(|it| is(&it.event))
}

/// Adds an event, and what it makes of the job.
fn add(change: &mut Change, event: Event) {
    let job = Arc::make_mut(&mut change.job);
    let recorded = Recorded {
        seq: job.progress.events + 1,
        at: job.progress.updated_at,
        event,
    };
    evolve(job, &recorded);
    Arc::make_mut(&mut change.events).push(recorded);
}

fn sent_before_publish(change: &mut Change) {
    let created = change.events.iter().rev().find_map(|it| {
        let Event::AttemptCreated { step, attempt } = &it.event else {
            return None;
        };
        Some((*step, attempt.key.no))
    });
    if let Some((step, attempt_no)) = created {
        let ack_due = change.job.progress.updated_at.plus_ms(1_000);
        add(
            change,
            Event::DirectiveSent {
                step,
                attempt_no,
                ack_due,
            },
        );
        for it in &mut change.outbox {
            it.row = OutboxRow::Sent;
        }
    }
}

fn beat_for_ever(change: &mut Change) {
    const LONGER_MS: u64 = 60_000;
    let mut renewed = None;
    for recorded in Arc::make_mut(&mut change.events) {
        if let Event::LeaseRenewed {
            step,
            lease_expires_at,
            ..
        } = &mut recorded.event
        {
            *lease_expires_at = lease_expires_at.plus_ms(LONGER_MS);
            renewed = Some(*step);
        }
    }
    let steps = &mut Arc::make_mut(&mut change.job).progress.steps;
    if let Some(Phase::InProgress {
        lease_expires_at, ..
    }) = renewed
        .and_then(|step| steps.get_mut(step))
        .map(|step| &mut step.phase)
    {
        *lease_expires_at = lease_expires_at.plus_ms(LONGER_MS);
    }
}

/// Undoes the end of a job that is being cancelled, and schedules a retry in its place.
fn retry_after_cancel(change: &mut Change, before: &Job) {
    let at = change.job.progress.updated_at;
    if before.progress.status != Status::Cancelling
        || !has(change, |it| matches!(it, Event::StepCancelled { .. }))
    {
        return;
    }
    let Some((step, attempt)) = before.active_attempt() else {
        return;
    };
    let failure = lucius_domain::job::Failure::new("LEASE_EXPIRED", "by plan");
    let attempt_no = attempt.key.no;
    let mut job = before.clone();
    job.progress.version = change.job.progress.version;
    change.job = Arc::new(job);
    Arc::make_mut(&mut change.events).clear();
    change.outbox.clear();
    add(
        change,
        Event::RetryScheduled {
            step,
            attempt_no,
            failure,
            due_at: Timestamp(at.0 + 1_000),
        },
    );
}
