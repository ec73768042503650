//! Every input in every situation: what happens, or the exact rejection. A one-step job; nothing is left out.

use lucius_domain::decide::{Input, Rejection, decide};
use lucius_domain::event::{Event, IgnoreReason};
use lucius_domain::id::{AttemptNo, LeaseId};
use lucius_domain::job::Failure;
use lucius_domain::plugin::{Dispatch, Route, Settle};
use uuid::Uuid;

use crate::stage::{Play, Says, failure, fault, forged, migrate, note, result_of, settle, skip};

/// The columns, in order.
const SITUATIONS: [&str; 18] = [
    "w0", "wr", "wt", "w!", "d", "a", "a!", "p", "p!", "s", "s!", "ca", "ca!", "cp", "cp!", "+s",
    "+f", "+c",
];

/// Columns: w0 accepted, to be routed; wr waiting after a RESULT that failed; wt waiting after an ACK timeout; w! the
/// same with the wait over; d the directive in the outbox; a sent, no ACK; p in progress; s the RESULT in, the plugin
/// cannot read it; c.. the same while cancelling; `!` its time is up; + the job is over: succeeded, failed, cancelled.
/// What the words in the cells mean is in [`OUTCOMES`]. The RESULT that was given before wr, s and s! is `result no`;
/// `result other` is one that contradicts every RESULT given.
const RULES: &str = "
               w0    wr    wt    w!    d      a     a!    p     p!    s     s!    ca    ca!   cp    cp!   +s    +f    +c
route          new   .     .     new   .      .     .     .     .     .     .     .     .     .     .     .     .     .
route skip     skip  .     .     skip  .      .     .     .     .     .     .     .     .     .     .     .     .     .
route fail     fail  .     .     fail  .      .     .     .     .     .     .     .     .     .     .     .     .     .
route fault    defer .     .     defer .      .     .     .     .     .     .     .     .     .     .     .     .     .
settle accept  .     .     .     .     .      .     .     .     .     .     done  .     .     .     .     .     .     .
settle retry   .     .     .     .     .      .     .     .     .     .     retry .     .     .     .     .     .     .
settle fail    .     .     .     .     .      .     .     .     .     .     fail  .     .     .     .     .     .     .
settle fault   .     .     .     .     .      .     .     .     .     .     defer .     .     .     .     .     .     .
sent           .     .     .     .     sent   .     .     .     .     .     .     .     .     .     .     .     .     .
sent other     .     .     .     .     .      .     .     .     .     .     .     .     .     .     .     .     .     .
unpublished    .     .     .     .     pubf   .     .     .     .     .     .     .     .     .     .     .     .     .
unpub other    .     .     .     .     .      .     .     .     .     .     .     .     .     .     .     .     .     .
bus refuses    .     .     .     .     fail   .     .     .     .     .     .     .     .     .     .     .     .     .
ack            stale late  stale stale sack   ack   ack   same  same  late  late  ack   ack   same  same  over  over  over
ack other      stale stale stale stale stale  stale stale stale stale stale stale stale stale stale stale over  over  over
beat           stale late  stale stale sabeat abeat abeat beat  beat  late  late  abeat abeat beat  beat  over  over  over
beat other     stale stale stale stale stale  stale stale stale stale stale stale stale stale stale stale over  over  over
result ok      stale clash stale stale sres   res   res   res   res   clash clash endok endok endok endok over  over  over
result no      stale same  stale stale sres   res   res   res   res   same  same  endno endno endno endno over  over  over
result final   stale clash stale stale sres   res   res   res   res   clash clash endno endno endno endno over  over  over
result other   stale stale stale stale stale  stale stale stale stale stale stale stale stale stale stale over  over  over
result no step stale stale stale stale stale  stale stale stale stale stale stale stale stale stale stale over  over  over
ack overdue    .     .     .     .     .      .     retry .     .     .     .     .     lost  .     .     .     .     .
lease overdue  .     .     .     .     .      .     .     .     retry .     .     .     .     .     lost  .     .     .
note           note  note  note  note  note   note  note  note  note  note  note  note  note  note  note  note  note  note
cancel         cxl   cxl   cxl   cxl   cxl    ask   ask   ask   ask   cxl   cxl   asked asked asked asked term  term  term
migrate        move  move  move  move  move   move  move  move  move  move  move  asked asked asked asked term  move  term
migrate same   held  held  held  held  held   held  held  held  held  held  held  asked asked asked asked term  held  term
redrive        notf  notf  notf  notf  notf   notf  notf  notf  notf  notf  notf  notf  notf  notf  notf  notf  again notf
";

type Outcome = Result<&'static [&'static str], Rejection>;

/// What the words in the table mean.
const OUTCOMES: &[(&str, Outcome)] = &[
    (".", Err(Rejection::NotWaiting)),
    ("stale", Err(Rejection::Ignored(IgnoreReason::Stale))),
    ("late", Err(Rejection::Ignored(IgnoreReason::Decided))),
    ("same", Err(Rejection::Ignored(IgnoreReason::Repeated))),
    ("clash", Err(Rejection::Ignored(IgnoreReason::Conflicting))),
    ("over", Err(Rejection::Ignored(IgnoreReason::JobTerminal))),
    ("term", Err(Rejection::Terminal)),
    ("notf", Err(Rejection::NotFailed)),
    ("asked", Err(Rejection::Cancelling)),
    ("held", Err(Rejection::SameGeneration)),
    ("move", Ok(&["migrated"])),
    ("new", Ok(&["attempt_created"])),
    ("skip", Ok(&["step_skipped", "job_succeeded"])),
    ("fail", Ok(&["step_failed", "job_failed"])),
    ("defer", Ok(&["decision_deferred"])),
    ("done", Ok(&["step_succeeded", "job_succeeded"])),
    ("retry", Ok(&["retry_scheduled"])),
    ("sent", Ok(&["directive_sent"])),
    ("pubf", Ok(&["publish_failed"])),
    ("ack", Ok(&["acked"])),
    ("sack", Ok(&["directive_sent", "acked"])),
    ("beat", Ok(&["lease_renewed"])),
    ("abeat", Ok(&["acked", "lease_renewed"])),
    ("sabeat", Ok(&["directive_sent", "acked", "lease_renewed"])),
    ("res", Ok(&["result_received"])),
    ("sres", Ok(&["directive_sent", "result_received"])),
    (
        "endok",
        Ok(&["result_received", "step_succeeded", "job_cancelled"]),
    ),
    (
        "endno",
        Ok(&["result_received", "step_cancelled", "job_cancelled"]),
    ),
    ("lost", Ok(&["step_cancelled", "job_cancelled"])),
    ("note", Ok(&["callback_ignored"])),
    ("ask", Ok(&["cancel_requested"])),
    ("cxl", Ok(&["job_cancelled"])),
    ("again", Ok(&["redriven"])),
];

/// The inputs in the rows of the table.
fn input(name: &str, play: &mut Play) -> Input {
    let (step, key) = (0, play.key());
    let decide_route = |outcome| Input::Route {
        lease_id: LeaseId(Uuid::from_u128(0x1ea5e)),
        decision: None,
        outcome,
    };
    match name {
        "route" => decide_route(Ok(Route::Dispatch(Dispatch {
            service: "platform-ocr".into(),
            payload: None,
            ack_ms: None,
            lease_ms: None,
        }))),
        "route skip" => decide_route(skip()),
        "route fail" => decide_route(Ok(Route::Fail { failure: failure() })),
        "route fault" => decide_route(Err(fault())),
        "settle accept" => settle(Ok(Settle::Accept)),
        "settle retry" => settle(Ok(Settle::Retry {
            delay_ms: None,
            failure: failure(),
        })),
        "settle fail" => settle(Ok(Settle::Fail { failure: failure() })),
        "settle fault" => settle(Err(fault())),
        "sent" => Input::Sent { step, key },
        "sent other" => Input::Sent {
            step,
            key: forged(),
        },
        "unpublished" => unpublished(play.key(), true),
        "unpub other" => unpublished(forged(), true),
        "bus refuses" => unpublished(play.key(), false),
        "ack" => Input::Ack { step, key },
        "ack other" => Input::Ack {
            step,
            key: forged(),
        },
        "beat" => play.beat_of(key),
        "beat other" => play.beat_of(forged()),
        "result ok" => result_of(step, key, Says::Done),
        "result no" => result_of(step, key, Says::TryAgain),
        "result final" => result_of(step, key, Says::GiveUp),
        "result other" => result_of(step, forged(), Says::Done),
        "result no step" => result_of(9, key, Says::Done),
        "ack overdue" => Input::AckOverdue,
        "lease overdue" => Input::LeaseOverdue,
        "note" => note(IgnoreReason::Stale),
        "cancel" => Input::Cancel,
        "redrive" => Input::Redrive,
        "migrate" => migrate(2),
        "migrate same" => migrate(1),
        other => panic!("no input is called \"{other}\""),
    }
}

fn unpublished(key: lucius_domain::id::AttemptKey, retryable: bool) -> Input {
    let failure = Failure::new("PUBLISH_FAILED", "the bus is down");
    Input::PublishFailed {
        step: 0,
        key,
        failure,
        retryable,
    }
}

/// A job in the situation that a column names.
fn situation(name: &str) -> Play {
    let mut play = Play::new(1);
    let cancelled_with = |play: &mut Play| {
        play.bring(Input::Cancel);
    };
    let dispatching = |play: &mut Play| {
        let route = play.routed();
        play.bring(route);
    };
    let awaiting = |play: &mut Play| {
        dispatching(play);
        play.bring(play.sent());
    };
    let working = |play: &mut Play| {
        awaiting(play);
        play.bring(play.ack());
    };
    let unread = |play: &mut Play| {
        working(play);
        play.together(vec![play.result(Says::TryAgain), settle(Err(fault()))]);
    };
    match name.trim_end_matches('!') {
        "w0" => {}
        "wr" => {
            working(&mut play);
            play.end_work(Says::TryAgain);
        }
        "wt" | "w" => {
            awaiting(&mut play);
            play.until_due();
            play.bring(Input::AckOverdue);
        }
        "d" => dispatching(&mut play),
        "a" => awaiting(&mut play),
        "p" => working(&mut play),
        "s" => unread(&mut play),
        "ca" => {
            awaiting(&mut play);
            cancelled_with(&mut play);
        }
        "cp" => {
            working(&mut play);
            cancelled_with(&mut play);
        }
        "+s" => {
            working(&mut play);
            play.end_work(Says::Done);
        }
        "+f" => {
            working(&mut play);
            play.end_work(Says::GiveUp);
        }
        "+c" => {
            dispatching(&mut play);
            cancelled_with(&mut play);
        }
        other => panic!("no situation is called \"{other}\""),
    }
    if name.ends_with('!') {
        play.until_due();
    }
    play
}

#[test]
fn every_input_in_every_situation_does_what_the_table_says() {
    let mut rows = RULES.trim().lines();
    let columns: Vec<&str> = rows.next().expect("a head").split_whitespace().collect();
    assert_eq!(columns, SITUATIONS);
    let mut used = std::collections::BTreeSet::new();
    for row in rows {
        let (name, cells) = row.split_at(15);
        let cells: Vec<&str> = cells.split_whitespace().collect();
        assert_eq!(cells.len(), columns.len(), "{name}");
        for (column, cell) in columns.iter().zip(cells) {
            let (_, expected) = OUTCOMES
                .iter()
                .find(|(word, _)| *word == cell)
                .unwrap_or_else(|| panic!("\"{cell}\" means nothing"));
            used.insert(cell);
            let mut play = situation(column);
            let input = input(name.trim(), &mut play);
            let decided = decide(&play.job, input.clone(), play.now);
            let names = decided.map(|events| events.iter().map(Event::name).collect::<Vec<_>>());
            assert_eq!(names, expected.map(<[_]>::to_vec), "{name} at {column}");
            // What is legal also commits, with all that must hold after it; what is not changes nothing.
            match expected {
                Ok(_) => drop(play.bring(input)),
                Err(rejection) => assert_eq!(play.refused(input), *rejection),
            }
        }
    }
    assert_eq!(used.len(), OUTCOMES.len(), "every outcome can come about");
}

#[test]
fn every_situation_shows_the_states_that_clients_know() {
    let shown = |name: &str| {
        let play = situation(name);
        (play.state(), play.step_states()[0])
    };
    assert_eq!(shown("w0"), ("QUEUED", "PENDING"));
    assert_eq!(shown("d"), ("QUEUED", "DISPATCHING"));
    assert_eq!(shown("a"), ("DISPATCHING", "AWAITING_ACK"));
    assert_eq!(shown("wt"), ("DISPATCHING", "FAILED_RETRY"));
    assert_eq!(shown("p"), ("IN_PROGRESS", "IN_PROGRESS"));
    assert_eq!(shown("s"), ("IN_PROGRESS", "IN_PROGRESS"));
    assert_eq!(shown("wr"), ("IN_PROGRESS", "FAILED_RETRY"));
    assert_eq!(shown("ca"), ("CANCELLING", "AWAITING_ACK"));
    assert_eq!(shown("cp"), ("CANCELLING", "IN_PROGRESS"));
    assert_eq!(shown("+s"), ("SUCCEEDED", "SUCCEEDED"));
    assert_eq!(shown("+f"), ("FAILED_FINAL", "FAILED_FINAL"));
    assert_eq!(shown("+c"), ("CANCELLED", "CANCELLED"));
}

#[test]
fn every_job_that_is_not_over_has_one_due_time_and_one_that_is_over_has_none() {
    use lucius_domain::job::DueKind;
    let due = |name: &str| situation(name).job.due().map(|(kind, _)| kind);
    for name in ["w0", "wr", "wt", "s"] {
        assert_eq!(due(name), Some(DueKind::Decision), "{name}");
    }
    assert_eq!(due("d"), Some(DueKind::Dispatch));
    for (waiting, working) in [("a", "p"), ("ca", "cp")] {
        assert_eq!(due(waiting), Some(DueKind::Ack));
        assert_eq!(due(working), Some(DueKind::Lease));
    }
    for name in ["+s", "+f", "+c"] {
        assert_eq!(due(name), None, "{name}");
    }
}

#[test]
fn an_attempt_of_a_higher_number_than_any_is_stale_too() {
    let mut play = situation("p");
    let mut key = play.key();
    key.no = AttemptNo(2);
    let refused = play.refused(Input::Ack { step: 0, key });
    assert_eq!(refused, Rejection::Ignored(IgnoreReason::Stale));
}
