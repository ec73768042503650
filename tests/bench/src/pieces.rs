//! Pieces that need nothing but memory.

use std::hint::black_box;
use std::sync::Arc;

use lucius_domain::canonical::command_digest;
use lucius_domain::contract::{self, Command};
use lucius_domain::id::{Digest, LeaseId};
use lucius_domain::job::Job;
use lucius_domain::transition::{Change, Transition};
use lucius_engine::schema::Schemas;
use lucius_ports::conformance::ledger::play::{Draft, Move, START, accepted, job_id};
use serde_json::json;
use uuid::Uuid;

/// The moves of a job of three steps, each of them one commit.
pub(crate) const MOVES: [Move; 9] = [
    Move::Dispatch,
    Move::Sent,
    Move::Ack,
    Move::SucceedAndDispatch,
    Move::Sent,
    Move::Ack,
    Move::SucceedAndDispatch,
    Move::Sent,
    Move::Succeed,
];

/// Every decision of a job of three steps; the job at its end.
pub fn decide() -> Arc<Job> {
    let new = accepted(job_id(START, 1), &Draft::default());
    MOVES
        .into_iter()
        .fold(new.job, |job, next| change(&job, next).job)
}

/// What a move makes of a job.
pub(crate) fn change(job: &Job, next: Move) -> Change {
    let mut transition = Transition::of(job, START);
    next.apply(&mut transition, LeaseId(Uuid::from_u128(7)))
        .expect("the moves are in order");
    transition.finish().expect("a move is an event")
}

/// A command with a payload for every step.
pub(crate) fn command() -> Command {
    serde_json::from_value(document()).expect("it fits its contract")
}

fn document() -> serde_json::Value {
    json!({
        "tenant_id": "acme", "request_type": "OCR->EMBEDDING->SIS", "doc_id": "invoice-7",
        "input_ref": "file:///in/invoice.pdf", "output_ref": "file:///out/",
        "payload": { "steps": {
            "ocr": { "page_range": "1-3,5", "output_format": "TEXT" },
            "embedding": { "chunking": { "max_tokens": 256, "overlap_tokens": 32 }, "normalize": true },
            "sis": { "prompt": "What is the total amount due?", "temperature": 0.2 },
        } },
        "schema_version": "v1",
    })
}

/// The digest that tells whether two commands are the same.
pub fn canonical(command: &Command) -> Digest {
    command_digest(black_box(command))
}

/// The schemas that ship with the host.
///
/// # Errors
/// One of them is broken.
pub(crate) fn schemas() -> anyhow::Result<Schemas> {
    Schemas::compile().map_err(anyhow::Error::msg)
}

/// Reads a command and checks it by its schema.
pub fn validate(schemas: &Schemas) {
    let text = black_box(document().to_string());
    let read = serde_json::from_str(&text).expect("it is JSON");
    let wrong = schemas.violations(contract::COMMAND_ENVELOPE, &read);
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// A job as it is stored, to text and back.
pub fn encode(job: &Job) -> (String, String) {
    let (spec, progress) = (&*job.spec, &job.progress);
    let text = (serde_json::to_string(spec), serde_json::to_string(progress));
    let (Ok(spec), Ok(progress)) = text else {
        unreachable!("a job is plain data")
    };
    let back: Result<lucius_domain::job::JobProgress, _> =
        serde_json::from_str(black_box(&progress));
    assert!(back.is_ok());
    (spec, progress)
}
