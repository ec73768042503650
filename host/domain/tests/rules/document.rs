//! docs/ledger-state-model.md names what the code names: no state, event or code more, none less.

use std::collections::BTreeSet;

use lucius_domain::decide::MAX_NOTES;
use lucius_domain::event::{Event, IgnoreReason};
use lucius_domain::job::Status;

use crate::stage::{Play, Says, skip};

const DOCUMENT: &str = include_str!("../../../../docs/ledger-state-model.md");

/// The words in backticks that begin the rows of the table under a heading.
fn rows_under(heading: &str) -> BTreeSet<String> {
    let (_, section) = DOCUMENT
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("the document has no \"{heading}\""));
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split('`').next());
    names.map(str::to_owned).collect()
}

/// All names of an enum, which serde lists when it is given one that is not there.
fn names_of<T: serde::de::DeserializeOwned>(unknown: &str) -> BTreeSet<String> {
    let Err(error) = serde_json::from_str::<T>(unknown) else {
        panic!("{unknown} is known")
    };
    let text = error.to_string();
    let listed = text.split("expected").nth(1).expect("a list of names");
    listed
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// The names of all events.
pub(crate) fn event_names() -> BTreeSet<String> {
    names_of::<Event>(r#"{"type":"?"}"#)
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

#[test]
fn the_document_lists_every_state_of_a_job() {
    assert_eq!(rows_under("## Job states"), set(Status::NAMES));
}

#[test]
fn the_document_lists_every_event() {
    assert_eq!(
        rows_under("## Events"),
        names_of::<Event>(r#"{"type":"?"}"#)
    );
}

#[test]
fn the_document_lists_every_reason_why_a_callback_does_not_count() {
    let reasons = rows_under("## Callbacks that do not count");
    assert_eq!(reasons, names_of::<IgnoreReason>("\"?\""));
    assert!(DOCUMENT.contains(&format!("at most {MAX_NOTES} of them")));
}

#[test]
fn the_document_lists_every_state_of_a_step_that_a_job_goes_through() {
    let mut seen = BTreeSet::new();
    let mut look = |play: &Play| seen.extend(play.step_states().into_iter().map(str::to_owned));
    let mut play = Play::new(3);
    look(&play);
    let route = play.routed();
    play.bring(route);
    look(&play);
    play.bring(play.sent());
    look(&play);
    play.bring(play.ack());
    look(&play);
    play.end_work(Says::TryAgain);
    look(&play);
    play.until_due();
    play.begin_work();
    play.end_work(Says::Done);
    let route = play.route(skip());
    play.bring(route);
    look(&play);
    play.begin_work();
    play.end_work(Says::GiveUp);
    look(&play);
    let mut play = Play::new(1);
    play.bring(lucius_domain::decide::Input::Cancel);
    look(&play);
    assert_eq!(rows_under("## Step states"), seen);
}

#[test]
fn the_document_lists_every_state_of_an_outbox_row_and_every_code_of_the_host() {
    let rows = set(["PENDING", "SENT", "FAILED_FINAL", "CANCELLED"]);
    assert_eq!(rows_under("## Outbox states"), rows);
    let codes = [
        "ACK_TIMEOUT",
        "LEASE_EXPIRED",
        "ATTEMPT_DEADLINE",
        "DISPATCH_EXHAUSTED",
        "DISPATCH_REFUSED",
        "PLUGIN_FAULT",
    ];
    assert_eq!(rows_under("## Failure codes of the host"), set(codes));
}
