//! Anything at any time: whatever comes in, the invariants hold after each commit, and a job can always be ended.

use std::cell::RefCell;
use std::collections::BTreeSet;

use lucius_domain::decide::{Input, Rejection};
use lucius_domain::event::IgnoreReason;
use lucius_domain::id::AttemptKey;
use lucius_domain::job::{DueKind, Phase};
use lucius_domain::plugin::{Dispatch, Route, Settle};
use lucius_domain::retry::Timing;
use lucius_domain::transition::{Question, Transition};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::stage::{Play, Says, failure, fault, forged, migrate, note, result_of, settle, skip};

/// Whose attempt a callback names.
#[derive(Clone, Copy, Debug)]
enum Aim {
    Current,
    Earlier(u8),
    Forged,
}

#[derive(Clone, Copy, Debug)]
enum Wait {
    None,
    Ms(u16),
    UntilDue,
    Back(u16),
}

#[derive(Clone, Debug)]
enum Deed {
    /// What a healthy world would do next.
    Onward(Says),
    Route(Option<bool>),
    Skip,
    Settle(u8),
    Sent(Aim),
    PublishFailed(Aim, bool),
    Ack(Aim),
    Beat(Aim),
    Result(Aim, Says),
    AckOverdue,
    LeaseOverdue,
    Note,
    Cancel,
    Redrive,
    Migrate(u8),
}

fn says() -> impl Strategy<Value = Says> {
    prop_oneof![3 => Just(Says::Done), 2 => Just(Says::TryAgain), 1 => Just(Says::GiveUp)]
}

fn aim() -> impl Strategy<Value = Aim> {
    prop_oneof![4 => Just(Aim::Current), 2 => any::<u8>().prop_map(Aim::Earlier), 1 => Just(Aim::Forged)]
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        12 => says().prop_map(Deed::Onward),
        2 => any::<Option<bool>>().prop_map(Deed::Route),
        1 => Just(Deed::Skip),
        2 => (0..4u8).prop_map(Deed::Settle),
        2 => aim().prop_map(Deed::Sent),
        2 => (aim(), prop::bool::weighted(0.9)).prop_map(|(aim, again)| Deed::PublishFailed(aim, again)),
        2 => aim().prop_map(Deed::Ack),
        2 => aim().prop_map(Deed::Beat),
        3 => (aim(), says()).prop_map(|(aim, says)| Deed::Result(aim, says)),
        2 => Just(Deed::AckOverdue),
        2 => Just(Deed::LeaseOverdue),
        1 => Just(Deed::Note),
        1 => Just(Deed::Cancel),
        2 => Just(Deed::Redrive),
        1 => (1..4u8).prop_map(Deed::Migrate),
    ]
}

fn wait() -> impl Strategy<Value = Wait> {
    prop_oneof![
        4 => Just(Wait::None),
        2 => any::<u16>().prop_map(Wait::Ms),
        4 => Just(Wait::UntilDue),
        1 => any::<u16>().prop_map(Wait::Back),
    ]
}

fn timing() -> Timing {
    Timing {
        ack_ms: 30_000,
        lease_ms: 60_000,
        deadline_ms: 90_000,
        max_attempts: 3,
        retry_backoff_ms: vec![0, 20_000],
        dispatch_backoff_ms: vec![5_000, 10_000],
    }
}

fn aimed(play: &Play, aim: Aim) -> (usize, AttemptKey) {
    match aim {
        Aim::Current => (play.step(), play.key()),
        Aim::Earlier(back) if !play.keys.is_empty() => {
            play.keys[usize::from(back) % play.keys.len()]
        }
        Aim::Earlier(_) | Aim::Forged => (play.step(), forged()),
    }
}

/// What comes next when nothing goes wrong.
fn onward(play: &mut Play, says: Says) -> Input {
    match play.phase() {
        Phase::Waiting { .. } => play.routed(),
        Phase::Settling { .. } => play.settled(),
        Phase::Dispatching { .. } => play.sent(),
        Phase::AwaitingAck { .. } => play.ack(),
        Phase::InProgress { .. } => play.result(says),
        Phase::Pending | Phase::Succeeded | Phase::Skipped { .. } => Input::Redrive,
        Phase::FailedFinal | Phase::Cancelled => Input::Redrive,
    }
}

fn input(play: &mut Play, deed: &Deed) -> Input {
    match deed {
        Deed::Onward(says) => onward(play, *says),
        Deed::Route(None) => play.route(Err(fault())),
        Deed::Route(Some(false)) => play.route(Ok(Route::Fail { failure: failure() })),
        Deed::Route(Some(true)) => play.route(Ok(Route::Dispatch(Dispatch {
            service: "elsewhere".into(),
            payload: Some(serde_json::json!({ "page_range": "1" })),
            ack_ms: Some(1),
            lease_ms: Some(1),
        }))),
        Deed::Skip => play.route(skip()),
        Deed::Settle(0) => settle(Ok(Settle::Accept)),
        Deed::Settle(1) => settle(Ok(Settle::Fail { failure: failure() })),
        Deed::Settle(2) => settle(Ok(Settle::Retry {
            delay_ms: Some(3),
            failure: failure(),
        })),
        Deed::Settle(_) => settle(Err(fault())),
        Deed::Sent(aim) => {
            let (step, key) = aimed(play, *aim);
            Input::Sent { step, key }
        }
        Deed::PublishFailed(aim, retryable) => {
            let (step, key) = aimed(play, *aim);
            let retryable = *retryable;
            Input::PublishFailed {
                step,
                key,
                failure: failure(),
                retryable,
            }
        }
        Deed::Ack(aim) => {
            let (step, key) = aimed(play, *aim);
            Input::Ack { step, key }
        }
        Deed::Beat(aim) => {
            let (step, key) = aimed(play, *aim);
            Input::Heartbeat {
                step,
                key,
                progress: None,
            }
        }
        Deed::Result(aim, says) => {
            let (step, key) = aimed(play, *aim);
            result_of(step, key, *says)
        }
        Deed::AckOverdue => Input::AckOverdue,
        Deed::LeaseOverdue => Input::LeaseOverdue,
        Deed::Note => note(IgnoreReason::Stale),
        Deed::Cancel => Input::Cancel,
        Deed::Migrate(generation) => migrate(u64::from(*generation)),
        Deed::Redrive => Input::Redrive,
    }
}

fn pass(play: &mut Play, wait: Wait) {
    match wait {
        Wait::None => {}
        Wait::Ms(ms) => drop(play.later(u64::from(ms))),
        Wait::UntilDue if play.job.due().is_some() => drop(play.until_due()),
        Wait::UntilDue => {}
        Wait::Back(ms) => play.now.0 -= i64::from(ms),
    }
}

/// A callback counts only when it names the attempt that is under way.
fn fenced(play: &Play, input: &Input) -> bool {
    let (Input::Ack { step, key }
    | Input::Heartbeat { step, key, .. }
    | Input::Result { step, key, .. }) = input
    else {
        return false;
    };
    let active = play.job.active_attempt();
    active.is_none_or(|(index, attempt)| (index, attempt.key) != (*step, *key))
}

/// Answers as the engine does: what a commit leaves to be asked is asked in it, and healthily.
fn together_with_answers(play: &mut Play, first: Input) -> Result<(), Rejection> {
    let mut transition = Transition::of(&play.job, play.now);
    transition.apply(first.clone())?;
    let mut inputs = vec![first];
    while let Some(question) = transition.question() {
        let answer = match question {
            Question::Route { step, .. } => {
                let service = play.job.spec.steps[step].service.clone();
                let (payload, ack_ms, lease_ms) = (None, None, None);
                play.route(Ok(Route::Dispatch(Dispatch {
                    service,
                    payload,
                    ack_ms,
                    lease_ms,
                })))
            }
            Question::Settle { step, .. } => {
                let Phase::Settling { report, .. } = &transition.job().progress.steps[step].phase
                else {
                    panic!("a settle is only asked for a RESULT")
                };
                settle(Ok(Settle::by_default(report)))
            }
        };
        transition.apply(answer.clone())?;
        inputs.push(answer);
    }
    play.try_together(inputs).map(drop)
}

/// From now on everything works; the job must end, within what its budgets allow.
fn heal(play: &mut Play) {
    for _ in 0..200 {
        let Some((kind, _)) = play.job.due() else {
            return;
        };
        play.until_due();
        let input = match kind {
            DueKind::Decision | DueKind::Dispatch => onward(play, Says::Done),
            DueKind::Ack => Input::AckOverdue,
            DueKind::Lease => Input::LeaseOverdue,
        };
        play.bring(input);
    }
    panic!("the job never ends: {:?}", play.job.progress);
}

/// All these deeds, then a healthy world until the job ends.
fn play(steps: usize, deeds: Vec<(Wait, Deed, bool)>) -> Result<Play, TestCaseError> {
    let mut play = Play::with_timing(steps, &timing());
    for (wait, deed, answered) in deeds {
        pass(&mut play, wait);
        let before = play.job.clone();
        let input = input(&mut play, &deed);
        let foreign = fenced(&play, &input);
        let outcome = if answered {
            together_with_answers(&mut play, input)
        } else {
            play.try_bring(input).map(drop)
        };
        match outcome {
            Ok(()) => prop_assert!(!foreign, "{deed:?} counted"),
            Err(_) => prop_assert_eq!(&play.job, &before),
        }
    }
    play.history.survives_storage(&play.job);
    heal(&mut play);
    play.history.survives_storage(&play.job);
    Ok(play)
}

#[test]
fn whatever_happens_in_whatever_order_the_invariants_hold_and_the_job_can_end() {
    let deeds = prop::collection::vec((wait(), deed(), any::<bool>()), 1..80);
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 1_024,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let seen = RefCell::new(BTreeSet::new());
    let ran = runner.run(&(1..=3usize, deeds), |(steps, deeds)| {
        let play = play(steps, deeds)?;
        seen.borrow_mut()
            .extend(play.history.events.iter().map(|it| it.event.name()));
        Ok(())
    });
    if let Err(error) = ran {
        panic!("{error}");
    }
    // A run that leaves something out proves nothing about it. Decisions on record are not made up here.
    let mut all = crate::document::event_names();
    all.remove("decided");
    let seen: BTreeSet<String> = seen.into_inner().into_iter().map(str::to_owned).collect();
    assert_eq!(seen, all);
}
