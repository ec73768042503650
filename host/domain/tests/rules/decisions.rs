//! What plugins say, and what happens when they cannot.

use lucius_domain::decide::Input;
use lucius_domain::event::Event;
use lucius_domain::id::Digest;
use lucius_domain::job::{Phase, Status};
use lucius_domain::plugin::{Decision, Function, Pin, Route, Settle};
use lucius_domain::transition::{Question, Transition};
use serde_json::json;

use crate::stage::{Play, Says, failure, fault, settle, skip};

fn decision(function: Function) -> Decision {
    Decision {
        function,
        plugin: Pin {
            id: "ocr".into(),
            version: "1.0.0".into(),
            digest: Digest::of(b"component"),
        },
        input_digest: Digest::of(b"input"),
        input: Some(json!({ "page_range": "3-1" })),
        output: json!({ "route": "dispatch", "big": u64::MAX, "null": null }),
        fuel: 1_234,
    }
}

#[test]
fn a_result_the_next_step_and_its_directive_are_one_commit() {
    let mut play = Play::new(3);
    play.begin_work();
    let (result, settle, route) = (
        play.result(Says::Done),
        settle(Ok(Settle::Accept)),
        play.routed(),
    );
    let Input::Route {
        lease_id, decision, ..
    } = route
    else {
        panic!("a route is a route")
    };
    let route = Input::Route {
        lease_id,
        decision,
        outcome: Ok(Route::Dispatch(lucius_domain::plugin::Dispatch {
            service: "platform-embedding".into(),
            payload: None,
            ack_ms: None,
            lease_ms: None,
        })),
    };
    let before = play.job.progress.version.0;
    let events = play.together(vec![result, settle, route]);
    assert_eq!(
        events,
        ["result_received", "step_succeeded", "attempt_created"]
    );
    assert_eq!(play.job.progress.version.0, before + 1);
    assert_eq!(play.step_states(), ["SUCCEEDED", "DISPATCHING", "PENDING"]);
    let earlier = play.job.earlier_steps(1);
    assert_eq!(earlier.len(), 1);
    assert_eq!(earlier[0].artifact_refs.len(), 1);
}

#[test]
fn the_questions_of_a_transition_are_asked_in_order_until_none_is_left() {
    let mut play = Play::new(2);
    play.begin_work();
    let mut transition = Transition::of(&play.job, play.now);
    assert_eq!(transition.question(), None);
    transition.apply(play.result(Says::Done)).expect("a RESULT");
    let attempt = play.key().no;
    assert_eq!(
        transition.question(),
        Some(Question::Settle { step: 0, attempt })
    );
    transition
        .apply(settle(Ok(Settle::Accept)))
        .expect("a verdict");
    assert_eq!(
        transition.question(),
        Some(Question::Route { step: 1, attempt })
    );
    let lease_id = play.lease();
    let route = Input::Route {
        lease_id,
        decision: None,
        outcome: skip(),
    };
    transition.apply(route).expect("a route");
    assert_eq!(transition.question(), None);
    assert_eq!(transition.job().progress.status, Status::Succeeded);
}

#[test]
fn a_question_that_was_put_off_is_not_asked_before_its_time() {
    let mut play = Play::new(1);
    let asked = |play: &Play, at| Transition::of(&play.job, at).question().is_some();
    let put_off = |play: &Play| {
        let (_, due) = play.job.due().expect("it has a due time");
        assert!(!asked(play, lucius_domain::time::Timestamp(due.0 - 1)));
        assert!(asked(play, due));
    };
    let route = play.route(Err(fault()));
    play.bring(route);
    put_off(&play);
    play.until_due();
    play.begin_work();
    play.together(vec![play.result(Says::Done), settle(Err(fault()))]);
    put_off(&play);
}

#[test]
fn a_transition_in_which_nothing_happened_is_no_change() {
    let mut play = Play::new(1);
    play.begin_work();
    let mut transition = Transition::of(&play.job, play.now);
    transition
        .apply(Input::Redrive)
        .expect_err("the job has not failed");
    assert_eq!(transition.finish(), None);
}

#[test]
fn skipped_steps_hand_on_to_the_next_one() {
    let mut play = Play::new(3);
    play.begin_work();
    play.end_work(Says::Done);
    let route = play.route(skip());
    assert_eq!(play.bring(route), ["step_skipped"]);
    play.begin_work();
    play.end_work(Says::Done);
    assert_eq!(play.state(), "SUCCEEDED");
    assert_eq!(play.step_states(), ["SUCCEEDED", "SKIPPED", "SUCCEEDED"]);
    let Phase::Skipped { reason } = &play.job.progress.steps[1].phase else {
        panic!("{:?}", play.job.progress.steps[1].phase)
    };
    assert_eq!(reason, "the text is empty");
    assert!(play.job.earlier_steps(2)[1].skipped);
    play.history.survives_storage(&play.job);
}

#[test]
fn a_job_whose_steps_are_all_skipped_has_succeeded_without_a_directive() {
    let mut play = Play::new(3);
    let routes = (0..3).map(|_| play.route(skip())).collect();
    let events = play.together(routes);
    assert_eq!(
        events,
        [
            "step_skipped",
            "step_skipped",
            "step_skipped",
            "job_succeeded"
        ]
    );
    assert_eq!(play.state(), "SUCCEEDED");
    assert!(play.history.outbox.is_empty());
    assert_eq!(play.job.attempts_total(), 0);
}

#[test]
fn the_last_step_may_be_skipped() {
    let mut play = Play::new(2);
    play.begin_work();
    play.end_work(Says::Done);
    let route = play.route(skip());
    assert_eq!(play.bring(route), ["step_skipped", "job_succeeded"]);
}

#[test]
fn a_plugin_that_will_not_run_a_step_fails_the_job() {
    let mut play = Play::new(2);
    play.begin_work();
    play.end_work(Says::Done);
    let route = play.route(Ok(Route::Fail { failure: failure() }));
    play.bring(route);
    assert_eq!(
        play.job.progress.status,
        Status::FailedFinal { failure: failure() }
    );
}

#[test]
fn every_decision_of_a_plugin_is_on_record_before_what_it_brings_about() {
    let mut play = Play::new(1);
    let Input::Route {
        lease_id, outcome, ..
    } = play.routed()
    else {
        panic!("a route is a route")
    };
    let on_record = Some(decision(Function::Route));
    let route = Input::Route {
        lease_id,
        decision: on_record,
        outcome,
    };
    assert_eq!(play.bring(route), ["decided", "attempt_created"]);
    let verdict = Input::Settle {
        decision: Some(decision(Function::Settle)),
        outcome: Ok(Settle::Accept),
    };
    let events = play.together(vec![play.result(Says::Done), verdict]);
    let all = [
        "directive_sent",
        "result_received",
        "decided",
        "step_succeeded",
        "job_succeeded",
    ];
    assert_eq!(events, all);
    play.history.survives_storage(&play.job);
}

#[test]
fn a_plugin_that_cannot_route_is_asked_again_and_then_the_step_fails_in_the_open() {
    let mut play = Play::new(2);
    play.begin_work();
    play.end_work(Says::Done);
    for wait_ms in [60_000, 300_000] {
        let route = play.route(Err(fault()));
        assert_eq!(play.bring(route), ["decision_deferred"]);
        assert_eq!(play.wait_ms(), wait_ms);
        assert_eq!(play.step_states(), ["SUCCEEDED", "PENDING"]);
        play.until_due();
    }
    let route = play.route(Err(fault()));
    assert_eq!(play.bring(route), ["step_failed", "job_failed"]);
    assert_eq!(
        play.job.progress.status,
        Status::FailedFinal { failure: fault() }
    );
}

#[test]
fn a_result_that_no_plugin_could_read_is_kept_and_read_later() {
    let mut play = Play::new(1);
    play.begin_work();
    let events = play.together(vec![play.result(Says::Done), settle(Err(fault()))]);
    assert_eq!(events, ["result_received", "decision_deferred"]);
    assert_eq!(play.wait_ms(), 60_000);
    play.until_due();
    assert_eq!(
        play.bring(play.settled()),
        ["step_succeeded", "job_succeeded"]
    );
    assert_eq!(play.job.progress.steps[0].artifact_refs.len(), 1);
}

#[test]
fn a_result_that_no_plugin_can_ever_read_ends_the_job_and_stays_on_record() {
    let mut play = Play::new(1);
    play.begin_work();
    play.together(vec![play.result(Says::Done), settle(Err(fault()))]);
    play.until_due().bring(settle(Err(fault())));
    assert_eq!(play.wait_ms(), 300_000);
    let events = play.until_due().bring(settle(Err(fault())));
    assert_eq!(events, ["step_failed", "job_failed"]);
    let kept = play
        .history
        .events
        .iter()
        .any(|it| matches!(&it.event, Event::ResultReceived { report, .. } if *report == Says::Done.report()));
    assert!(kept);
    play.history.survives_storage(&play.job);
}

#[test]
fn an_answer_ends_the_count_of_faults() {
    let mut play = Play::new(1);
    for _ in 0..2 {
        let route = play.route(Err(fault()));
        play.bring(route);
        play.until_due();
    }
    play.begin_work();
    play.end_work(Says::TryAgain);
    play.until_due();
    let route = play.route(Err(fault()));
    assert_eq!(play.bring(route), ["decision_deferred"]);
    assert_eq!(play.wait_ms(), 60_000);
}

#[test]
fn a_payload_that_the_plugin_left_alone_is_not_stored_twice() {
    let mut play = Play::new(1);
    let payload = Some(play.job.spec.steps[0].payload.clone());
    let route = play.route(Ok(Route::Dispatch(lucius_domain::plugin::Dispatch {
        service: "platform-ocr".into(),
        payload,
        ack_ms: None,
        lease_ms: None,
    })));
    play.bring(route);
    let (_, attempt) = play.job.active_attempt().expect("an attempt");
    assert_eq!(attempt.payload, None);
}

#[test]
fn a_payload_that_the_plugin_wrote_is_the_one_of_its_attempt_alone() {
    let mut play = Play::new(1);
    let payload = Some(json!({ "page_range": "1-2" }));
    let route = play.route(Ok(Route::Dispatch(lucius_domain::plugin::Dispatch {
        service: "platform-ocr".into(),
        payload: payload.clone(),
        ack_ms: None,
        lease_ms: None,
    })));
    play.bring(route);
    let (_, attempt) = play.job.active_attempt().expect("an attempt");
    assert_eq!(attempt.payload, payload);
    play.bring(play.sent());
    play.until_due().bring(Input::AckOverdue);
    play.until_due();
    let route = play.routed();
    play.bring(route);
    let (_, attempt) = play.job.active_attempt().expect("the next one");
    assert_eq!(attempt.payload, None);
}

#[test]
fn a_step_shows_the_latest_thing_that_went_wrong_also_while_it_goes_on() {
    let mut play = Play::new(1);
    let shown = |play: &Play| {
        let failure = play.job.progress.steps[0].last_failure.as_ref();
        failure.map(|failure| failure.code.clone())
    };
    let route = play.route(Err(fault()));
    play.bring(route);
    assert_eq!(shown(&play).as_deref(), Some("PLUGIN_FAULT"));
    play.until_due();
    let route = play.routed();
    play.bring(route);
    play.bring(play.publish_failed(true));
    assert_eq!(shown(&play).as_deref(), Some("PUBLISH_FAILED"));
}

#[test]
fn what_plugins_said_of_the_payloads_is_on_record_from_the_first_commit() {
    let job = Play::new(2).job;
    let said: Vec<_> = (0..2)
        .map(|step| (step, decision(Function::Validate)))
        .collect();
    let change = Transition::create(job.id, job.spec, said.clone()).finish();
    let events = change.expect("a job that is created has events").events;
    let mut expected = vec![Event::Accepted];
    expected.extend(
        said.into_iter()
            .map(|(step, decision)| Event::Decided { step, decision }),
    );
    let events: Vec<Event> = events.iter().map(|it| it.event.clone()).collect();
    assert_eq!(events, expected);
}

#[test]
fn a_job_says_when_it_last_changed() {
    let mut play = Play::new(1);
    play.begin_work();
    play.later(77);
    play.bring(play.beat());
    assert_eq!(play.job.progress.updated_at, play.now);
}
