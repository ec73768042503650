//! Retries, timeouts and failed publishes: how long, how often, and what comes after.

use lucius_domain::decide::{Input, Rejection};
use lucius_domain::job::{Job, Status};
use lucius_domain::plugin::{Dispatch, Route, Settle};
use lucius_domain::retry::{MAX_RETRY_DELAY_MS, Timing};
use lucius_domain::transition::OutboxRow;

use crate::stage::{Play, Says, failure, settle};

fn code(job: &Job) -> &str {
    let Status::FailedFinal { failure } = &job.progress.status else {
        panic!("the job is {}", job.progress.status.name())
    };
    &failure.code
}

/// Four attempts a step, so that the third wait is seen too.
fn patient() -> Timing {
    Timing {
        max_attempts: 4,
        ..Timing::default()
    }
}

#[test]
fn retryable_failures_wait_1_5_and_15_minutes_and_the_last_attempt_is_the_end() {
    let mut play = Play::with_timing(2, &patient());
    for wait_ms in [60_000, 300_000, 900_000] {
        play.begin_work();
        let events = play.end_work(Says::TryAgain);
        assert_eq!(events, ["result_received", "retry_scheduled"]);
        assert_eq!(play.wait_ms(), wait_ms);
        assert_eq!(
            play.job.progress.steps[0]
                .last_failure
                .as_ref()
                .map(|it| &*it.code),
            Some("BUSY")
        );
        play.until_due();
    }
    play.begin_work();
    let events = play.end_work(Says::TryAgain);
    assert_eq!(events, ["result_received", "step_failed", "job_failed"]);
    assert_eq!(code(&play.job), "BUSY");
    assert_eq!(play.step_states(), ["FAILED_FINAL", "PENDING"]);
    play.history.survives_storage(&play.job);
}

#[test]
fn a_non_retryable_failure_ends_step_and_job_at_once() {
    let mut play = Play::new(2);
    play.begin_work();
    play.end_work(Says::GiveUp);
    assert_eq!(code(&play.job), "UNREADABLE");
    assert_eq!(play.job.progress.completed_at, Some(play.now));
}

#[test]
fn an_ack_is_waited_for_30_seconds_and_its_lack_costs_an_attempt() {
    let mut play = Play::new(1);
    for attempt in 1..=3 {
        let route = play.routed();
        play.bring(route);
        play.bring(play.sent());
        assert_eq!(play.wait_ms(), 30_000);
        assert_eq!(
            play.later(29_999).refused(Input::AckOverdue),
            Rejection::NotWaiting
        );
        let events = play.later(1).bring(Input::AckOverdue);
        if attempt < 3 {
            assert_eq!(events, ["retry_scheduled"]);
            assert_eq!(play.refused(Input::AckOverdue), Rejection::NotWaiting);
            play.until_due();
        } else {
            assert_eq!(events, ["step_failed", "job_failed"]);
        }
    }
    assert_eq!(code(&play.job), "ACK_TIMEOUT");
}

#[test]
fn a_lease_lasts_15_minutes_and_its_end_costs_an_attempt() {
    let mut play = Play::new(1);
    for _ in 1..=2 {
        play.begin_work();
        assert_eq!(
            play.later(899_999).refused(Input::LeaseOverdue),
            Rejection::NotWaiting
        );
        assert_eq!(
            play.later(1).bring(Input::LeaseOverdue),
            ["retry_scheduled"]
        );
        play.until_due();
    }
    play.begin_work();
    play.until_due().bring(Input::LeaseOverdue);
    assert_eq!(code(&play.job), "LEASE_EXPIRED");
}

#[test]
fn f23_a_worker_that_beats_for_ever_loses_its_attempt_at_the_deadline() {
    let timing = Timing {
        lease_ms: 60_000,
        deadline_ms: 150_000,
        max_attempts: 2,
        ..Timing::default()
    };
    let mut play = Play::with_timing(1, &timing);
    for ended in [&["retry_scheduled"][..], &["step_failed", "job_failed"]] {
        play.begin_work();
        for (passes_ms, left_ms) in [
            (0, 60_000),
            (50_000, 60_000),
            (50_000, 50_000),
            (40_000, 10_000),
        ] {
            play.later(passes_ms);
            assert_eq!(play.bring(play.beat()), ["lease_renewed"]);
            assert_eq!(play.wait_ms(), left_ms, "no lease ends after the deadline");
            assert_eq!(play.refused(Input::LeaseOverdue), Rejection::NotWaiting);
        }
        assert_eq!(play.until_due().bring(Input::LeaseOverdue), ended);
        play.later(60_000);
    }
    assert_eq!(code(&play.job), "ATTEMPT_DEADLINE");
}

#[test]
fn f23_a_result_still_counts_until_the_deadline_was_acted_upon() {
    let timing = Timing {
        deadline_ms: 900_000,
        ..Timing::default()
    };
    let mut play = Play::with_timing(1, &timing);
    play.begin_work();
    play.later(900_000);
    assert_eq!(play.bring(play.beat()), ["lease_renewed"]);
    assert_eq!(play.wait_ms(), 0, "and buys no time");
    play.end_work(Says::Done);
    assert_eq!(play.state(), "SUCCEEDED");
}

#[test]
fn f23_a_lease_that_is_longer_than_the_deadline_is_granted_once() {
    let timing = Timing {
        deadline_ms: 1,
        ..Timing::default()
    };
    let mut play = Play::with_timing(1, &timing);
    play.begin_work();
    assert_eq!(play.wait_ms(), 900_000);
    play.later(60_000);
    play.bring(play.beat());
    assert_eq!(play.wait_ms(), 840_000);
}

#[test]
fn the_next_attempt_is_not_routed_before_its_time() {
    let mut play = Play::new(1);
    play.begin_work();
    play.end_work(Says::TryAgain);
    play.later(59_999);
    let early = play.routed();
    assert_eq!(play.refused(early), Rejection::NotWaiting);
    play.later(1);
    let route = play.routed();
    assert_eq!(play.bring(route), ["attempt_created"]);
}

#[test]
fn a_plugins_own_delay_wins_within_its_limit() {
    assert_eq!(MAX_RETRY_DELAY_MS, 86_400_000, "a day");
    for (asked, granted) in [(0, 0), (7, 7), (u64::MAX, u128::from(MAX_RETRY_DELAY_MS))] {
        let mut play = Play::new(1);
        play.begin_work();
        let delay_ms = Some(asked);
        let retry = Settle::Retry {
            delay_ms,
            failure: failure(),
        };
        play.together(vec![play.result(Says::Done), settle(Ok(retry))]);
        assert_eq!(play.wait_ms(), granted);
    }
}

#[test]
fn a_plugins_retry_is_bounded_by_the_budget_as_any_other() {
    let mut play = Play::new(1);
    for _ in 0..3 {
        play.until_due();
        play.begin_work();
        let retry = Settle::Retry {
            delay_ms: Some(1),
            failure: failure(),
        };
        play.together(vec![play.result(Says::Done), settle(Ok(retry))]);
    }
    assert_eq!(code(&play.job), "WRONG_LANGUAGE");
}

#[test]
fn a_plugins_own_waits_hold_for_the_attempt_it_routed() {
    let mut play = Play::new(1);
    let route = play.route(Ok(Route::Dispatch(Dispatch {
        service: "platform-ocr".into(),
        payload: Some(serde_json::json!({ "page_range": "1-2" })),
        ack_ms: Some(5),
        lease_ms: Some(9),
    })));
    play.bring(route);
    play.bring(play.sent());
    assert_eq!(play.wait_ms(), 5);
    play.bring(play.ack());
    assert_eq!(play.wait_ms(), 9);
    play.until_due().bring(Input::LeaseOverdue);
    play.until_due();
    let route = play.routed();
    play.bring(route);
    play.bring(play.sent());
    assert_eq!(play.wait_ms(), 30_000);
}

#[test]
fn failed_publishes_wait_30_seconds_2_and_10_minutes_and_then_the_step_fails() {
    let mut play = Play::new(1);
    let route = play.routed();
    play.bring(route);
    for wait_ms in [30_000, 120_000, 600_000] {
        assert_eq!(play.bring(play.publish_failed(true)), ["publish_failed"]);
        assert_eq!(play.wait_ms(), wait_ms);
        assert_eq!(play.state(), "QUEUED");
        play.until_due();
    }
    assert_eq!(
        play.bring(play.publish_failed(true)),
        ["step_failed", "job_failed"]
    );
    assert_eq!(code(&play.job), "DISPATCH_EXHAUSTED");
    let rows: Vec<_> = play.history.outbox.values().map(OutboxRow::name).collect();
    assert_eq!(rows, ["FAILED_FINAL"]);
    assert_eq!(play.job.attempts_total(), 1);
    play.history.survives_storage(&play.job);
}

#[test]
fn a_publish_that_works_in_the_end_uses_no_attempt() {
    let mut play = Play::new(1);
    let route = play.routed();
    play.bring(route);
    let key = play.key();
    play.bring(play.publish_failed(true));
    play.until_due();
    play.bring(play.sent());
    assert_eq!(play.key(), key);
    assert_eq!(play.job.attempts_total(), 1);
    assert_eq!(play.wait_ms(), 30_000);
}

#[test]
fn publish_waits_begin_anew_for_each_attempt() {
    let mut play = Play::new(1);
    let route = play.routed();
    play.bring(route);
    for _ in 0..3 {
        play.bring(play.publish_failed(true));
        play.until_due();
    }
    play.bring(play.sent());
    play.until_due().bring(Input::AckOverdue);
    play.until_due();
    let route = play.routed();
    play.bring(route);
    play.bring(play.publish_failed(true));
    assert_eq!(play.wait_ms(), 30_000);
}

#[test]
fn a_directive_that_the_bus_will_never_take_fails_the_step_at_once() {
    let mut play = Play::new(1);
    let route = play.routed();
    play.bring(route);
    play.bring(play.publish_failed(false));
    assert_eq!(code(&play.job), "DISPATCH_REFUSED");
    let rows: Vec<_> = play.history.outbox.values().map(OutboxRow::name).collect();
    assert_eq!(rows, ["FAILED_FINAL"]);
}

#[test]
fn a_clock_that_jumps_back_an_hour_makes_nothing_due_and_breaks_nothing() {
    let mut play = Play::new(1);
    play.begin_work();
    play.now.0 -= 3_600_000;
    assert_eq!(play.refused(Input::LeaseOverdue), Rejection::NotWaiting);
    play.bring(play.beat());
    play.end_work(Says::TryAgain);
    assert_eq!(play.wait_ms(), 60_000);
}

#[test]
fn a_clock_that_jumps_ahead_an_hour_costs_one_attempt_and_not_more() {
    let mut play = Play::new(1);
    play.begin_work();
    play.later(3_600_000).bring(Input::LeaseOverdue);
    assert_eq!(play.wait_ms(), 60_000);
    assert_eq!(play.refused(Input::LeaseOverdue), Rejection::NotWaiting);
    assert_eq!(play.job.attempts_total(), 1);
}
