//! The transition tables and diagrams of docs/ledger-state-model.md, drawn from what `decide` really does.
//!
//! A part of the document between two marks belongs to this file. `cargo xtask docs` writes it; a document that says
//! otherwise than the code fails here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use lucius_domain::decide::Rejection;
use lucius_domain::event::{Event, IgnoreReason};
use lucius_domain::id::AttemptNo;
use lucius_domain::job::{Job, Phase, Status};

use crate::explore::{Taken, everything};

const DOCUMENT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../docs/ledger-state-model.md"
);

/// The places of a step, in the order of its life. Two public states are two places each.
const PLACES: [&str; 12] = [
    "PENDING",
    "PENDING, its turn",
    "DISPATCHING",
    "AWAITING_ACK",
    "IN_PROGRESS",
    "IN_PROGRESS, RESULT in",
    "FAILED_RETRY",
    "SUCCEEDED",
    "SKIPPED",
    "FAILED_FINAL",
    "CANCELLED",
    "-",
];

fn place(job: &Job, step: usize) -> &'static str {
    let Some(state) = job.progress.steps.get(step) else {
        return "-";
    };
    match &state.phase {
        Phase::Pending => "PENDING",
        Phase::Waiting { .. } if state.attempts == AttemptNo(0) => "PENDING, its turn",
        Phase::Waiting { .. } => "FAILED_RETRY",
        Phase::Dispatching { .. } => "DISPATCHING",
        Phase::AwaitingAck { .. } => "AWAITING_ACK",
        Phase::InProgress { .. } => "IN_PROGRESS",
        Phase::Settling { .. } => "IN_PROGRESS, RESULT in",
        Phase::Succeeded => "SUCCEEDED",
        Phase::Skipped { .. } => "SKIPPED",
        Phase::FailedFinal => "FAILED_FINAL",
        Phase::Cancelled => "CANCELLED",
    }
}

/// What moves something, from where, to where.
#[derive(Default)]
struct Moves(BTreeMap<(String, &'static str), BTreeSet<&'static str>>);

impl Moves {
    fn add(&mut self, from: &'static str, on: String, to: &'static str) {
        self.0.entry((on, to)).or_default().insert(from);
    }

    /// One row for each cause and end, in the order of `states`.
    fn table(&self, states: &[&str]) -> String {
        let rank = |state: &str| states.iter().position(|it| *it == state);
        let mut rows: Vec<_> = self.0.iter().collect();
        rows.sort_by_key(|((on, to), from)| {
            let first = from.iter().map(|from| rank(from)).min();
            (first, rank(to), on.clone())
        });
        let mut text = "| from | on | to |\n|---|---|---|\n".to_owned();
        for ((on, to), from) in rows {
            let mut from: Vec<_> = from.iter().copied().collect();
            from.sort_by_key(|state| rank(state));
            let from: Vec<String> = from.into_iter().map(code).collect();
            let _always = writeln!(text, "| {} | {on} | {} |", from.join(", "), code(to));
        }
        text
    }

    /// One arrow for each pair of states that differ.
    fn diagram(&self, states: &[&str], start: &str, ends: &[&str]) -> String {
        let mut arrows: BTreeMap<(usize, usize), BTreeSet<&str>> = BTreeMap::new();
        let rank = |state: &str| states.iter().position(|it| *it == state).unwrap_or(0);
        for ((on, to), from) in &self.0 {
            for from in from.iter().filter(|from| *from != to) {
                arrows.entry((rank(from), rank(to))).or_default().insert(on);
            }
        }
        let mut text = "```mermaid\nstateDiagram-v2\n".to_owned();
        let name = |state: &str| state.replace([',', ' '], "_");
        for state in states.iter().filter(|state| state.contains(',')) {
            let _always = writeln!(text, "    state \"{state}\" as {}", name(state));
        }
        let _always = writeln!(text, "    [*] --> {}", name(start));
        for ((from, to), on) in arrows {
            let on: Vec<String> = on.into_iter().map(|on| on.replace('`', "")).collect();
            let (from, to) = (name(states[from]), name(states[to]));
            let _always = writeln!(text, "    {from} --> {to}: {}", on.join(" / "));
        }
        for end in ends {
            let _always = writeln!(text, "    {} --> [*]", name(end));
        }
        text + "```\n"
    }
}

fn code(state: &str) -> String {
    match state.split_once(", ") {
        Some((state, detail)) => format!("`{state}` ({detail})"),
        None if state == "-" => state.to_owned(),
        None => format!("`{state}`"),
    }
}

/// The cause, and for a job that is being cancelled, that it is.
fn cause(taken: &Taken) -> String {
    let cancelling = taken.before.progress.status == Status::Cancelling;
    let while_cancelling = if cancelling {
        ", while `CANCELLING`"
    } else {
        ""
    };
    format!("{}{while_cancelling}", taken.on)
}

fn job_moves(all: &[Taken]) -> Moves {
    let mut moves = Moves::default();
    for taken in all {
        if let Ok((_, after)) = &taken.outcome {
            let (from, to) = (
                taken.before.progress.status.name(),
                after.progress.status.name(),
            );
            if from != to {
                moves.add(from, taken.on.to_owned(), to);
            }
        }
    }
    moves
}

fn step_moves(all: &[Taken]) -> Moves {
    let mut moves = Moves::default();
    for taken in all {
        let Ok((_, after)) = &taken.outcome else {
            continue;
        };
        let before = &taken.before;
        for step in 0..before.progress.steps.len() {
            let (from, to) = (place(before, step), place(after, step));
            if step == before.progress.current {
                moves.add(from, cause(taken), to);
            } else if to == "CANCELLED" && from != to {
                moves.add(from, "its job is cancelled".to_owned(), to);
            } else if from != to {
                moves.add(from, "the step before it is done or skipped".to_owned(), to);
            }
        }
    }
    moves
}

/// What each input does in each place of the step whose turn it is: the events, or why it is rejected.
fn every_pair(all: &[Taken]) -> String {
    let mut cells: BTreeMap<(&str, String), BTreeSet<String>> = BTreeMap::new();
    let mut order: Vec<&str> = Vec::new();
    for taken in all {
        if !order.contains(&taken.on) {
            order.push(taken.on);
        }
        let step = taken
            .before
            .progress
            .current
            .min(taken.before.progress.steps.len() - 1);
        let place = match taken.before.progress.status {
            Status::Cancelling => {
                format!("{} while `CANCELLING`", code(place(&taken.before, step)))
            }
            Status::Succeeded | Status::Cancelled => {
                format!("job `{}`", taken.before.progress.status.name())
            }
            Status::FailedFinal { .. } => "job `FAILED_FINAL`".to_owned(),
            Status::Queued | Status::Dispatching | Status::InProgress => {
                code(place(&taken.before, step))
            }
        };
        let does = match &taken.outcome {
            Ok((events, _)) => events
                .iter()
                .map(Event::name)
                .collect::<Vec<_>>()
                .join(" + "),
            Err(rejection) => reason(*rejection).to_owned(),
        };
        let place = match taken.outcome {
            Err(Rejection::NotWaiting) => "everywhere else".to_owned(),
            Ok(_) | Err(_) => place,
        };
        cells.entry((taken.on, does)).or_default().insert(place);
    }
    let mut text = "| input | does | where |\n|---|---|---|\n".to_owned();
    for on in order {
        for ((input, does), places) in cells.range((on, String::new())..) {
            if *input != on {
                break;
            }
            let places: Vec<&str> = places.iter().map(String::as_str).collect();
            let _always = writeln!(text, "| {on} | {does} | {} |", places.join(", "));
        }
    }
    text
}

fn reason(rejection: Rejection) -> &'static str {
    match rejection {
        Rejection::Ignored(IgnoreReason::Repeated) => "*ignored: repeated*",
        Rejection::Ignored(IgnoreReason::Decided) => "*ignored: decided*",
        Rejection::Ignored(IgnoreReason::Conflicting) => "*ignored: conflicting*",
        Rejection::Ignored(IgnoreReason::Stale) => "*ignored: stale*",
        Rejection::Ignored(IgnoreReason::JobTerminal) => "*ignored: the job is over*",
        Rejection::Terminal => "*rejected: the job is over*",
        Rejection::NotFailed => "*rejected: the job has not failed*",
        Rejection::Cancelling => "*rejected: the job is being cancelled*",
        Rejection::NotWaiting => "*rejected: not waiting for this*",
        Rejection::SameGeneration => "*rejected: the job has that generation*",
        Rejection::NotesFull => "*rejected: the record is full*",
    }
}

/// What stands between the marks of each part.
fn parts() -> [(&'static str, String); 3] {
    let all = everything();
    let (job, step) = (job_moves(&all), step_moves(&all));
    let ends = ["SUCCEEDED", "FAILED_FINAL", "CANCELLED"];
    let job_text = job.diagram(&Status::NAMES, "QUEUED", &ends) + "\n" + &job.table(&Status::NAMES);
    let step_ends = ["SUCCEEDED", "SKIPPED", "FAILED_FINAL", "CANCELLED"];
    let step_text = step.diagram(&PLACES, "PENDING", &step_ends) + "\n" + &step.table(&PLACES);
    [
        ("job", job_text),
        ("step", step_text),
        ("pairs", every_pair(&all)),
    ]
}

/// The document with its parts put in.
fn drawn(document: &str) -> String {
    let mut document = document.to_owned();
    for (name, text) in parts() {
        let (begin, end) = (
            format!("<!-- drawn from the code: {name} -->\n"),
            "<!-- end -->",
        );
        let (before, rest) = document
            .split_once(&begin)
            .unwrap_or_else(|| panic!("no mark: {begin}"));
        let (_, after) = rest
            .split_once(end)
            .unwrap_or_else(|| panic!("{name} has no end"));
        document = format!("{before}{begin}\n{text}\n{end}{after}");
    }
    document
}

#[test]
fn the_document_draws_what_the_code_does() {
    let read = || std::fs::read_to_string(DOCUMENT).expect("the document is there");
    if std::env::var_os("LUCIUS_BLESS").is_some() {
        std::fs::write(DOCUMENT, drawn(&read())).expect("the document can be written");
    }
    let kept = read();
    assert!(
        kept == drawn(&kept),
        "docs/ledger-state-model.md is not what the code does: run cargo xtask docs"
    );
}
