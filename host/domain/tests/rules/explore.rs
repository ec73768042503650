//! Every state that a job of two steps can get into, and every input in each of them: a search over `decide`.
//!
//! All waits are of no length, so whatever has a time is due: what comes too early is the business of the table.

use std::collections::{BTreeSet, VecDeque};

use lucius_domain::decide::{Input, Rejection};
use lucius_domain::event::Event;
use lucius_domain::id::{AttemptKey, AttemptNo, LeaseId};
use lucius_domain::job::{Job, Phase};
use lucius_domain::plugin::{Dispatch, Route, Settle};
use lucius_domain::retry::Timing;
use lucius_domain::transition::Transition;
use uuid::Uuid;

use crate::stage::{Play, START, Says, failure, fault, forged, migrate, result_of, settle, skip};

/// How many attempts a job has before it is redriven no more, so that the search ends.
const ENOUGH_ATTEMPTS: u32 = 4;

/// More states than there are when everything that can be tried again has an end.
const FEW: usize = 5_000;

/// What an input did to a job.
pub(crate) struct Taken {
    pub(crate) before: Job,
    /// What happened, in the words of the document.
    pub(crate) on: &'static str,
    pub(crate) outcome: Result<(Vec<Event>, Job), Rejection>,
}

/// No waits, and two of everything that can be tried again.
pub(crate) fn hasty() -> Timing {
    Timing {
        ack_ms: 0,
        lease_ms: 0,
        deadline_ms: 0,
        max_attempts: 2,
        retry_backoff_ms: vec![0],
        dispatch_backoff_ms: vec![0],
    }
}

/// Every input in every state, each once.
pub(crate) fn everything() -> Vec<Taken> {
    let first = Play::with_timing(2, &hasty()).job;
    let mut known = BTreeSet::from([shape(&first)]);
    let mut open = VecDeque::from([first]);
    let mut all = Vec::new();
    while let Some(before) = open.pop_front() {
        for (on, input) in inputs(&before) {
            let mut transition = Transition::of(&before, START);
            let outcome = transition.apply(input).map(|()| {
                let change = transition
                    .finish()
                    .expect("what is not rejected has events");
                let events = change.events.iter().map(|it| it.event.clone()).collect();
                (events, Job::clone(&change.job))
            });
            if let Ok((_, after)) = &outcome
                && known.insert(shape(after))
            {
                assert!(known.len() < FEW, "something can be tried again for ever");
                open.push_back(after.clone());
            }
            let before = before.clone();
            all.push(Taken {
                before,
                on,
                outcome,
            });
        }
    }
    all
}

/// What tells two states apart for the rules; how many commits it took to get there does not, nor what was said.
fn shape(job: &Job) -> String {
    let steps: Vec<_> = job
        .progress
        .steps
        .iter()
        .map(|step| {
            let tried = match &step.phase {
                Phase::Waiting { faults, .. } | Phase::Settling { faults, .. } => *faults,
                Phase::Dispatching {
                    publish_failures, ..
                } => *publish_failures,
                Phase::Pending
                | Phase::AwaitingAck { .. }
                | Phase::InProgress { .. }
                | Phase::Succeeded
                | Phase::Skipped { .. }
                | Phase::FailedFinal
                | Phase::Cancelled => 0,
            };
            let said = match &step.phase {
                Phase::Settling { report, .. } => Some(std::mem::discriminant(report)),
                Phase::Pending
                | Phase::Waiting { .. }
                | Phase::Dispatching { .. }
                | Phase::AwaitingAck { .. }
                | Phase::InProgress { .. }
                | Phase::Succeeded
                | Phase::Skipped { .. }
                | Phase::FailedFinal
                | Phase::Cancelled => None,
            };
            let latest_is_decided = step
                .decided
                .last()
                .is_some_and(|it| it.key.no == step.attempts);
            let phase = std::mem::discriminant(&step.phase);
            (
                phase,
                tried,
                said,
                step.attempts,
                step.budget_from,
                latest_is_decided,
            )
        })
        .collect();
    let (status, generation) = (job.progress.status.name(), job.generation());
    format!("{status}{generation:?}{steps:?}")
}

/// The lease of an attempt; each attempt is made once, so this names it.
pub(crate) fn lease_of(step: usize, no: AttemptNo) -> LeaseId {
    let step = u128::try_from(step).expect("a job has few steps");
    LeaseId(Uuid::from_u128((step << 32) + u128::from(no.0)))
}

/// The latest attempt of the step whose turn it is.
fn latest(job: &Job) -> (usize, AttemptKey) {
    let step = job.progress.current.min(job.spec.steps.len() - 1);
    let no = job.progress.steps[step].attempts;
    let lease_id = lease_of(step, no);
    match no {
        AttemptNo(0) => (step, forged()),
        AttemptNo(_) => (step, AttemptKey { no, lease_id }),
    }
}

fn inputs(job: &Job) -> Vec<(&'static str, Input)> {
    let (step, key) = latest(job);
    let route = |outcome| Input::Route {
        lease_id: lease_of(step, job.progress.steps[step].attempts.next()),
        decision: None,
        outcome,
    };
    let unpublished = |retryable| Input::PublishFailed {
        step,
        key,
        failure: failure(),
        retryable,
    };
    let dispatch = Route::Dispatch(Dispatch {
        service: job.spec.steps[step].service.clone(),
        payload: None,
        ack_ms: None,
        lease_ms: None,
    });
    let again = Settle::Retry {
        delay_ms: None,
        failure: failure(),
    };
    let mut inputs = vec![
        ("it is routed", route(Ok(dispatch))),
        ("the plugin skips it", route(skip())),
        (
            "the plugin refuses it",
            route(Ok(Route::Fail { failure: failure() })),
        ),
        ("the plugin cannot route it", route(Err(fault()))),
        ("the bus takes the directive", Input::Sent { step, key }),
        ("the bus does not take the directive", unpublished(true)),
        ("the bus will never take the directive", unpublished(false)),
        ("ACK", Input::Ack { step, key }),
        (
            "heartbeat",
            Input::Heartbeat {
                step,
                key,
                progress: None,
            },
        ),
        ("RESULT `SUCCEEDED`", result_of(step, key, Says::Done)),
        ("RESULT `FAILED`", result_of(step, key, Says::TryAgain)),
        ("the RESULT is accepted", settle(Ok(Settle::Accept))),
        ("the RESULT asks for another attempt", settle(Ok(again))),
        (
            "the RESULT is final",
            settle(Ok(Settle::Fail { failure: failure() })),
        ),
        ("the plugin cannot read the RESULT", settle(Err(fault()))),
        ("no ACK in time", Input::AckOverdue),
        ("the lease ends", Input::LeaseOverdue),
        ("cancel", Input::Cancel),
        ("another registry generation", migrate(2)),
    ];
    if job.attempts_total() < ENOUGH_ATTEMPTS {
        inputs.push(("redrive", Input::Redrive));
    }
    inputs
}

#[test]
fn i2_i19_every_state_that_can_be_reached_keeps_its_promises() {
    let all = everything();
    for Taken {
        before, outcome, ..
    } in &all
    {
        crate::invariants::holds(before);
        if let Ok((events, after)) = outcome {
            let mut folded = before.clone();
            folded.progress.version = after.progress.version;
            for (seq, event) in (before.progress.events + 1..).zip(events) {
                let event = event.clone();
                let recorded = lucius_domain::event::Recorded {
                    seq,
                    at: START,
                    event,
                };
                lucius_domain::evolve::evolve(&mut folded, &recorded);
            }
            assert_eq!(folded, *after, "the events are all that changed it");
        }
    }
    assert!(all.len() > 1_000, "{} inputs are not everything", all.len());
}
