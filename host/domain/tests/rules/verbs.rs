//! Cancel and redrive.

use lucius_domain::decide::{Input, Rejection};
use lucius_domain::plugin::Settle;
use lucius_domain::transition::OutboxRow;

use crate::stage::{Play, Says, failure, fault, migrate, settle, skip};

fn outbox(play: &Play) -> Vec<&'static str> {
    play.history.outbox.values().map(OutboxRow::name).collect()
}

/// A job of two steps whose first attempt is with a service, and which is being cancelled.
fn cancelling() -> Play {
    let mut play = Play::new(2);
    play.begin_work();
    assert_eq!(play.bring(Input::Cancel), ["cancel_requested"]);
    play
}

fn assert_cancelled(play: &Play, steps: [&str; 2]) {
    assert_eq!(play.state(), "CANCELLED");
    assert_eq!(play.step_states(), steps);
    assert_eq!(play.job.progress.completed_at, Some(play.now));
    play.history.survives_storage(&play.job);
}

#[test]
fn a_job_with_nothing_out_is_cancelled_at_once_and_its_outbox_row_with_it() {
    let mut play = Play::new(2);
    let route = play.routed();
    play.bring(route);
    assert_eq!(play.bring(Input::Cancel), ["job_cancelled"]);
    assert_cancelled(&play, ["CANCELLED", "CANCELLED"]);
    assert_eq!(outbox(&play), ["CANCELLED"]);
}

#[test]
fn a_job_that_waits_for_another_publish_is_cancelled_at_once() {
    let mut play = Play::new(2);
    let route = play.routed();
    play.bring(route);
    play.bring(play.publish_failed(true));
    play.bring(Input::Cancel);
    assert_cancelled(&play, ["CANCELLED", "CANCELLED"]);
    assert_eq!(outbox(&play), ["CANCELLED"]);
}

#[test]
fn a_job_that_waits_for_a_retry_is_cancelled_at_once() {
    let mut play = Play::new(2);
    play.begin_work();
    play.end_work(Says::TryAgain);
    play.bring(Input::Cancel);
    assert_cancelled(&play, ["CANCELLED", "CANCELLED"]);
    assert_eq!(outbox(&play), ["SENT"]);
}

#[test]
fn a_job_whose_plugin_cannot_read_a_result_is_cancelled_at_once() {
    let mut play = Play::new(2);
    play.begin_work();
    play.together(vec![play.result(Says::Done), settle(Err(fault()))]);
    play.bring(Input::Cancel);
    assert_cancelled(&play, ["CANCELLED", "CANCELLED"]);
}

#[test]
fn steps_that_were_over_stay_as_they_were() {
    let mut play = Play::new(2);
    play.begin_work();
    play.end_work(Says::Done);
    play.bring(Input::Cancel);
    assert_cancelled(&play, ["SUCCEEDED", "CANCELLED"]);
}

#[test]
fn a_result_ends_a_cancelling_job_and_nothing_new_starts() {
    let mut play = cancelling();
    let events = play.bring(play.result(Says::Done));
    assert_eq!(
        events,
        ["result_received", "step_succeeded", "job_cancelled"]
    );
    assert_cancelled(&play, ["SUCCEEDED", "CANCELLED"]);
    assert_eq!(play.job.progress.steps[0].artifact_refs.len(), 1);
}

#[test]
fn a_failed_result_ends_a_cancelling_job_without_a_retry() {
    for says in [Says::TryAgain, Says::GiveUp] {
        let mut play = cancelling();
        play.bring(play.result(says));
        assert_cancelled(&play, ["CANCELLED", "CANCELLED"]);
    }
}

#[test]
fn the_last_steps_success_does_not_undo_a_cancel() {
    let mut play = Play::new(1);
    play.begin_work();
    play.bring(Input::Cancel);
    play.bring(play.result(Says::Done));
    assert_eq!(play.state(), "CANCELLED");
    assert_eq!(play.step_states(), ["SUCCEEDED"]);
}

#[test]
fn an_ack_timeout_ends_a_cancelling_job_without_a_retry() {
    let mut play = Play::new(2);
    let route = play.routed();
    play.bring(route);
    play.bring(play.sent());
    play.bring(Input::Cancel);
    let events = play.until_due().bring(Input::AckOverdue);
    assert_eq!(events, ["step_cancelled", "job_cancelled"]);
    assert_cancelled(&play, ["CANCELLED", "CANCELLED"]);
}

#[test]
fn a_lease_that_ends_ends_a_cancelling_job_without_a_retry() {
    let mut play = cancelling();
    let events = play.until_due().bring(Input::LeaseOverdue);
    assert_eq!(events, ["step_cancelled", "job_cancelled"]);
    assert_cancelled(&play, ["CANCELLED", "CANCELLED"]);
}

#[test]
fn the_service_may_still_ack_and_beat_while_its_job_is_being_cancelled() {
    let mut play = Play::new(1);
    let route = play.routed();
    play.bring(route);
    play.bring(play.sent());
    play.bring(Input::Cancel);
    assert_eq!(play.bring(play.ack()), ["acked"]);
    assert_eq!(play.bring(play.beat()), ["lease_renewed"]);
    assert_eq!(play.state(), "CANCELLING");
    assert_eq!(play.refused(Input::Cancel), Rejection::Cancelling);
}

/// A job of two steps that failed for good at its second.
fn failed() -> Play {
    let mut play = Play::new(2);
    play.begin_work();
    play.end_work(Says::Done);
    play.begin_work();
    play.end_work(Says::GiveUp);
    assert_eq!(play.state(), "FAILED_FINAL");
    play
}

#[test]
fn a_redrive_starts_at_the_failed_step_with_a_fresh_budget_and_higher_numbers() {
    let mut play = failed();
    play.later(1_000);
    let route = play.routed();
    assert_eq!(
        play.together(vec![Input::Redrive, route]),
        ["redriven", "attempt_created"]
    );
    assert_eq!(play.step_states(), ["SUCCEEDED", "DISPATCHING"]);
    assert_eq!(play.job.progress.completed_at, None);
    assert_eq!(play.key().no.0, 2);
    play.bring(play.sent());
    for attempt in 2..=3 {
        play.end_work(Says::TryAgain);
        assert_eq!(play.step_states()[1], "FAILED_RETRY");
        play.until_due();
        play.begin_work();
        assert_eq!(play.key().no.0, attempt + 1);
    }
    play.end_work(Says::TryAgain);
    assert_eq!(play.state(), "FAILED_FINAL");
    assert_eq!(play.job.progress.steps[1].attempts.0, 4);
    play.history.survives_storage(&play.job);
}

#[test]
fn a_redriven_job_can_succeed() {
    let mut play = failed();
    play.bring(Input::Redrive);
    play.begin_work();
    play.end_work(Says::Done);
    assert_eq!(play.state(), "SUCCEEDED");
    assert_eq!(play.refused(Input::Redrive), Rejection::NotFailed);
}

#[test]
fn a_result_from_before_a_redrive_is_known_and_its_attempt_is_stale() {
    let mut play = failed();
    let (old, ack) = (play.result(Says::GiveUp), play.ack());
    play.bring(Input::Redrive);
    play.begin_work();
    use lucius_domain::event::IgnoreReason;
    assert_eq!(
        play.refused(old),
        Rejection::Ignored(IgnoreReason::Repeated)
    );
    assert_eq!(play.refused(ack), Rejection::Ignored(IgnoreReason::Stale));
}

#[test]
fn a_redrive_clears_the_count_of_plugin_faults() {
    let mut play = Play::new(1);
    for _ in 0..3 {
        play.until_due();
        let route = play.route(Err(fault()));
        play.bring(route);
    }
    assert_eq!(play.state(), "FAILED_FINAL");
    play.bring(Input::Redrive);
    let route = play.route(Err(fault()));
    assert_eq!(play.bring(route), ["decision_deferred"]);
}

#[test]
fn a_redrive_may_skip_the_step_or_fail_it_again() {
    let mut play = failed();
    let route = play.route(skip());
    let events = play.together(vec![Input::Redrive, route]);
    assert_eq!(events, ["redriven", "step_skipped", "job_succeeded"]);

    let mut play = failed();
    let route = play.route(Ok(lucius_domain::plugin::Route::Fail {
        failure: failure(),
    }));
    let events = play.together(vec![Input::Redrive, route]);
    assert_eq!(events, ["redriven", "step_failed", "job_failed"]);
}

#[test]
fn only_a_failed_job_can_be_redriven() {
    let mut play = cancelling();
    assert_eq!(play.refused(Input::Redrive), Rejection::NotFailed);
    play.bring(play.result(Says::Done));
    assert_eq!(play.refused(Input::Redrive), Rejection::NotFailed);
    let mut play = failed();
    assert_eq!(play.refused(Input::Cancel), Rejection::Terminal);
    assert_eq!(
        play.refused(settle(Ok(Settle::Accept))),
        Rejection::NotWaiting
    );
}

#[test]
fn a_job_that_is_moved_keeps_who_decided_about_the_steps_that_are_over() {
    let mut play = Play::new(2);
    play.begin_work();
    play.end_work(Says::Done);
    assert_eq!(play.job.generation().0, 1);
    let spec = std::sync::Arc::clone(&play.job.spec);
    assert_eq!(play.bring(migrate(2)), ["migrated"]);
    assert_eq!(play.job.generation().0, 2);
    assert_eq!(play.job.plugin(0), None);
    // The generation says nothing of the second step, so it is routed as declared from now on.
    assert_eq!(play.job.plugin(1), None);
    assert_eq!(play.job.spec, spec);
    play.history.survives_storage(&play.job);
}

#[test]
fn a_failed_job_can_be_moved_and_then_starts_again_under_the_other_generation() {
    let mut play = Play::new(1);
    play.begin_work();
    play.end_work(Says::GiveUp);
    play.bring(migrate(3));
    assert_eq!(play.state(), "FAILED_FINAL");
    play.bring(Input::Redrive);
    let decides = play.job.plugin(0).map(ToString::to_string);
    assert_eq!(decides.as_deref(), Some("ocr@3"));
    play.begin_work();
    play.end_work(Says::Done);
    assert_eq!(play.state(), "SUCCEEDED");
}

#[test]
fn a_job_that_is_moved_to_fewer_plugins_keeps_who_decided_and_has_nobody_for_the_rest() {
    let mut play = Play::new(3);
    let everyone = |generation| {
        let Input::Migrate {
            generation,
            plugins,
        } = migrate(generation)
        else {
            panic!("a move is a move")
        };
        let plugins = vec![plugins[0].clone(); 3];
        Input::Migrate {
            generation,
            plugins,
        }
    };
    play.bring(everyone(2));
    for _ in 0..2 {
        play.begin_work();
        play.end_work(Says::Done);
    }
    let second = play.job.plugin(0).cloned();
    assert!(second.is_some());
    let Input::Migrate { generation, .. } = migrate(3) else {
        panic!("a move is a move")
    };
    play.bring(Input::Migrate {
        generation,
        plugins: vec![None],
    });
    let pins: Vec<_> = (0..3).map(|step| play.job.plugin(step).cloned()).collect();
    assert_eq!(pins, [second.clone(), second, None]);
    let migrated = play.job.progress.migrated.as_ref();
    assert_eq!(migrated.map(|it| it.plugins.len()), Some(3));
}
