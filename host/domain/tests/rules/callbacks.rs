//! ACK, heartbeat and RESULT: in any order, again, too late, or of somebody else.

use lucius_domain::decide::{Input, MAX_NOTES, Rejection};
use lucius_domain::event::IgnoreReason;
use lucius_domain::job::{DueKind, Failure, Phase};

use crate::stage::{Play, Says, note, result_of};

fn ignored(reason: IgnoreReason) -> Rejection {
    Rejection::Ignored(reason)
}

/// A one-step job whose directive is in the outbox.
fn dispatching() -> Play {
    let mut play = Play::new(1);
    let route = play.routed();
    play.bring(route);
    play
}

#[test]
fn the_usual_order_leads_to_success() {
    let mut play = dispatching();
    assert_eq!(play.bring(play.sent()), ["directive_sent"]);
    assert_eq!(play.bring(play.ack()), ["acked"]);
    assert_eq!(play.bring(play.beat()), ["lease_renewed"]);
    let events = play.end_work(Says::Done);
    assert_eq!(
        events,
        ["result_received", "step_succeeded", "job_succeeded"]
    );
    let step = &play.job.progress.steps[0];
    assert_eq!(step.artifact_refs.len(), 1);
    assert_eq!(
        step.output_ref.as_ref().map(|it| it.uri()),
        Some("file:///out/text.json")
    );
    play.history.survives_storage(&play.job);
}

#[test]
fn an_ack_that_overtakes_the_write_of_sent_counts_and_the_late_write_is_harmless() {
    let mut play = dispatching();
    assert_eq!(play.bring(play.ack()), ["directive_sent", "acked"]);
    assert_eq!(play.state(), "IN_PROGRESS");
    assert_eq!(play.refused(play.sent()), Rejection::NotWaiting);
}

/// The key alone is not enough: what is said of another step is not about this attempt.
#[test]
fn what_the_bus_says_of_another_step_changes_nothing() {
    let mut play = dispatching();
    let (step, key) = (play.step() + 1, play.key());
    assert_eq!(
        play.refused(Input::Sent { step, key }),
        Rejection::NotWaiting
    );
    let failure = Failure::new("PUBLISH_FAILED", "the bus is down");
    let retryable = true;
    let refused = play.refused(Input::PublishFailed {
        step,
        key,
        failure,
        retryable,
    });
    assert_eq!(refused, Rejection::NotWaiting);
}

#[test]
fn what_the_bus_says_of_another_number_changes_nothing_even_with_the_right_lease() {
    let mut play = dispatching();
    let (step, mut key) = (play.step(), play.key());
    key.no = key.no.next();
    assert_eq!(
        play.refused(Input::Sent { step, key }),
        Rejection::NotWaiting
    );
}

#[test]
fn a_result_that_overtakes_the_write_of_sent_counts() {
    let mut play = dispatching();
    let events = play.end_work(Says::Done);
    let all = [
        "directive_sent",
        "result_received",
        "step_succeeded",
        "job_succeeded",
    ];
    assert_eq!(events, all);
    assert_eq!(play.refused(play.sent()), Rejection::NotWaiting);
}

#[test]
fn a_result_without_an_ack_counts_as_both() {
    let mut play = dispatching();
    play.bring(play.sent());
    play.end_work(Says::Done);
    assert_eq!(play.state(), "SUCCEEDED");
}

#[test]
fn a_failed_publish_does_not_make_an_ack_count_less() {
    let mut play = dispatching();
    play.bring(play.publish_failed(true));
    assert_eq!(play.bring(play.ack()), ["directive_sent", "acked"]);
    assert_eq!(
        play.refused(play.publish_failed(true)),
        Rejection::NotWaiting
    );
}

#[test]
fn a_heartbeat_is_an_ack_when_it_is_the_first_sign_of_life() {
    let mut play = dispatching();
    play.bring(play.sent());
    assert_eq!(play.bring(play.beat()), ["acked", "lease_renewed"]);
    assert_eq!(play.refused(play.ack()), ignored(IgnoreReason::Repeated));
}

#[test]
fn each_heartbeat_gives_the_lease_its_whole_length_again_and_keeps_what_the_last_one_said() {
    let mut play = Play::new(1);
    play.begin_work();
    assert_eq!(play.wait_ms(), 900_000);
    play.later(899_999);
    play.bring(play.beat());
    assert_eq!(play.wait_ms(), 900_000);
    let (step, key) = (0, play.key());
    play.bring(Input::Heartbeat {
        step,
        key,
        progress: None,
    });
    let Phase::InProgress {
        progress: Some(progress),
        ..
    } = play.phase()
    else {
        panic!("{:?}", play.phase())
    };
    assert_eq!(progress.percent, Some(12.5));
}

#[test]
fn a_repeated_ack_changes_nothing() {
    let mut play = Play::new(1);
    play.begin_work();
    play.later(10);
    assert_eq!(play.refused(play.ack()), ignored(IgnoreReason::Repeated));
    assert_eq!(play.wait_ms(), 900_000 - 10);
}

#[test]
fn a_repeated_result_is_the_same_before_and_after_the_plugin_has_read_it() {
    let mut play = Play::new(2);
    play.begin_work();
    let again = play.result(Says::Done);
    play.bring(again.clone());
    assert_eq!(play.refused(again.clone()), ignored(IgnoreReason::Repeated));
    let settle = play.settled();
    play.bring(settle);
    assert_eq!(play.refused(again.clone()), ignored(IgnoreReason::Repeated));
    play.begin_work();
    assert_eq!(play.refused(again), ignored(IgnoreReason::Repeated));
}

#[test]
fn a_result_that_contradicts_the_first_one_conflicts_and_the_first_one_stays() {
    let mut play = Play::new(2);
    play.begin_work();
    let key = play.key();
    play.end_work(Says::Done);
    let other = result_of(0, key, Says::GiveUp);
    assert_eq!(play.refused(other), ignored(IgnoreReason::Conflicting));
    assert_eq!(play.step_states(), ["SUCCEEDED", "PENDING"]);
}

#[test]
fn an_ack_or_heartbeat_of_a_decided_attempt_is_told_that_the_work_is_done() {
    let mut play = Play::new(2);
    play.begin_work();
    let (ack, beat) = (play.ack(), play.beat());
    play.end_work(Says::Done);
    assert_eq!(play.refused(ack), ignored(IgnoreReason::Decided));
    assert_eq!(play.refused(beat), ignored(IgnoreReason::Decided));
}

#[test]
fn a_decided_attempt_is_stale_once_the_next_one_is_out() {
    let mut play = Play::new(1);
    play.begin_work();
    let (ack, beat) = (play.ack(), play.beat());
    play.end_work(Says::TryAgain);
    assert_eq!(play.refused(ack.clone()), ignored(IgnoreReason::Decided));
    play.until_due();
    play.begin_work();
    assert_eq!(play.refused(ack), ignored(IgnoreReason::Stale));
    assert_eq!(play.refused(beat), ignored(IgnoreReason::Stale));
}

#[test]
fn a_stale_attempt_changes_nothing_once_the_next_one_is_out() {
    let mut play = Play::new(1);
    play.begin_work();
    let late = [play.ack(), play.beat(), play.result(Says::Done)];
    play.until_due().bring(Input::LeaseOverdue);
    for input in &late {
        assert_eq!(play.refused(input.clone()), ignored(IgnoreReason::Stale));
    }
    play.until_due();
    play.begin_work();
    for input in late {
        assert_eq!(play.refused(input), ignored(IgnoreReason::Stale));
    }
    play.end_work(Says::Done);
    assert_eq!(play.state(), "SUCCEEDED");
    assert_eq!(play.job.progress.steps[0].attempts.0, 2);
}

#[test]
fn an_attempt_counts_only_for_its_own_step() {
    let mut play = Play::new(2);
    play.begin_work();
    let key = play.key();
    let elsewhere = result_of(1, key, Says::Done);
    assert_eq!(play.refused(elsewhere), ignored(IgnoreReason::Stale));
    play.end_work(Says::Done);
    let back = Input::Ack { step: 1, key };
    assert_eq!(play.refused(back), ignored(IgnoreReason::Stale));
}

#[test]
fn once_the_job_is_over_no_callback_counts_whatever_it_says() {
    let mut play = Play::new(1);
    play.begin_work();
    let same = play.result(Says::Done);
    play.end_work(Says::Done);
    let key = play.key();
    let all = [
        play.ack(),
        play.beat_of(key),
        same,
        result_of(0, key, Says::GiveUp),
    ];
    for input in all {
        assert_eq!(play.refused(input), ignored(IgnoreReason::JobTerminal));
    }
}

#[test]
fn a_callback_that_does_not_count_is_on_record_and_changes_nothing_else() {
    let mut play = Play::new(1);
    play.begin_work();
    let before = play.job.progress.clone();
    assert_eq!(play.bring(note(IgnoreReason::Stale)), ["callback_ignored"]);
    assert_eq!(play.job.progress.steps, before.steps);
    assert_eq!(play.job.progress.status, before.status);
    assert_eq!(play.job.progress.notes, 1);
    assert_eq!(play.job.due().map(|(kind, _)| kind), Some(DueKind::Lease));
}

#[test]
fn the_record_of_callbacks_that_do_not_count_is_bounded() {
    let mut play = Play::new(1);
    for _ in 0..MAX_NOTES {
        play.bring(note(IgnoreReason::Repeated));
    }
    assert_eq!(
        play.refused(note(IgnoreReason::Repeated)),
        Rejection::NotesFull
    );
}
