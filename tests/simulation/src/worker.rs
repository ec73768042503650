//! The services, and all that they do wrong: silence, crashes, slowness, repetition, contradiction, late news.

use std::sync::Arc;

use lucius_domain::contract::{CallbackKind, Directive};
use lucius_domain::id::{AttemptKey, LeaseId};
use lucius_domain::time::Timestamp;
use serde_json::{Value, json};

use crate::world::{Happening, State};

/// The longest that a service may still call back about a directive it once received, in milliseconds, before it is
/// repeated or tried again.
pub(crate) const HORIZON_MS: i64 = 30_000;

/// What a RESULT says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    DoneElsewhere,
    Retryable,
    Final,
}

/// A callback to be made.
#[derive(Clone, Debug)]
pub(crate) struct Callback {
    pub(crate) directive: Arc<Directive>,
    pub(crate) kind: CallbackKind,
    pub(crate) outcome: Outcome,
}

impl Callback {
    pub(crate) fn key(&self) -> AttemptKey {
        AttemptKey {
            no: self.directive.attempt_no,
            lease_id: self.directive.lease_id,
        }
    }

    /// The document, as a service of a third party writes it.
    pub(crate) fn body(&self, at: Timestamp) -> Value {
        let Directive {
            job_id,
            step_id,
            attempt_no,
            lease_id: LeaseId(lease),
            ..
        } = &*self.directive;
        let mut body = json!({
            "jobId": job_id.to_string(), "stepId": step_id.as_str(), "attempt_no": attempt_no.0,
            "lease_id": lease.hyphenated().to_string(), "timestamp": at.to_string(),
        });
        match self.kind {
            CallbackKind::Ack => body["status"] = "ACKED".into(),
            CallbackKind::Heartbeat => body["progress"] = json!({ "percent": 50 }),
            CallbackKind::Result => {
                let class = match self.outcome {
                    Outcome::Done | Outcome::DoneElsewhere => {
                        body["status"] = "SUCCEEDED".into();
                        let place = if self.outcome == Outcome::Done {
                            "a"
                        } else {
                            "b"
                        };
                        body["artifact_refs"] =
                            json!([format!("file:///workspace/{place}/{step_id}")]);
                        return body;
                    }
                    Outcome::Retryable => "RETRYABLE",
                    Outcome::Final => "NON_RETRYABLE",
                };
                body["status"] = "FAILED".into();
                body["failure_class"] = class.into();
                body["error"] =
                    json!({ "code": "UNREADABLE", "message": "by plan", "details": {} });
            }
        }
        body
    }

    pub(crate) fn name(&self) -> String {
        let kind = match self.kind {
            CallbackKind::Ack => "ACK".to_owned(),
            CallbackKind::Heartbeat => "heartbeat".to_owned(),
            CallbackKind::Result => format!("RESULT {:?}", self.outcome),
        };
        let Directive {
            step_id,
            attempt_no,
            ..
        } = &*self.directive;
        format!("{kind} of {step_id}:{attempt_no}")
    }
}

/// Nothing is heard of it.
pub(crate) const SILENCE: u64 = 0;
/// It acknowledges, and no more.
pub(crate) const ONLY_ACK: u64 = 3;
/// It fails, and says that another attempt may do better.
pub(crate) const TRY_AGAIN: u64 = 6;
/// It fails for good.
pub(crate) const GIVE_UP: u64 = 9;
/// It does its work.
pub(crate) const USUAL: u64 = 29;

/// What a service says that is at work for ever.
const STUBBORN: &[(i64, CallbackKind, Outcome)] = {
    const fn beat(ms: i64) -> (i64, CallbackKind, Outcome) {
        (ms, CallbackKind::Heartbeat, Outcome::Done)
    }
    &[
        beat(100),
        beat(900),
        beat(2_500),
        beat(5_000),
        beat(9_000),
        beat(13_000),
        beat(17_000),
        beat(21_000),
        beat(HORIZON_MS),
    ]
};

/// A service has received a directive: puts into the queue what it will say.
pub(crate) fn receive(state: &mut State, directive: &Arc<Directive>) {
    use CallbackKind::{Ack, Heartbeat, Result};
    use Outcome::{Done, DoneElsewhere, Final, Retryable};
    let short = state.dice.between(1, 400);
    let long = state.dice.between(short, 3_000);
    let very_long = state.dice.between(long, HORIZON_MS);
    let plan = match (state.story, state.calm) {
        (Some(story), _) => story.plan(directive),
        (None, true) => USUAL,
        (None, false) => state.dice.below(30),
    };
    let words: &[(i64, CallbackKind, Outcome)] = match plan {
        SILENCE..3 => &[],
        ONLY_ACK..5 => &[(short, Ack, Done)],
        5 => &[(short, Ack, Done), (long, Heartbeat, Done)],
        TRY_AGAIN..9 => &[(short, Ack, Done), (long, Result, Retryable)],
        GIVE_UP => &[(short, Ack, Done), (long, Result, Final)],
        10 => &[(short, Result, Done)],
        11 => &[(short, Result, Done), (long, Ack, Done)],
        12 => &[(short, Ack, Done), (very_long, Result, Done)],
        13 => &[
            (short, Ack, Done),
            (long, Result, Done),
            (long + 10, Result, DoneElsewhere),
            (very_long, Result, Retryable),
        ],
        14 => &[
            (short, Ack, Done),
            (short + 1, Ack, Done),
            (very_long, Ack, Done),
        ],
        15 if !state.calm => STUBBORN,
        _ => &[
            (short, Ack, Done),
            (long, Heartbeat, Done),
            (long + 5, Result, Done),
        ],
    };
    for (delay, kind, outcome) in words {
        let (directive, kind, outcome) = (Arc::clone(directive), *kind, *outcome);
        let callback = Callback {
            directive,
            kind,
            outcome,
        };
        if !state.calm && state.dice.permille(100) {
            let again = state.dice.between(*delay, HORIZON_MS);
            state.later(again, Happening::Call(callback.clone()));
        }
        state.later(*delay, Happening::Call(callback));
    }
    let news = format!(
        "{} receives {}:{} (plan {plan})",
        directive.service, directive.step_id, directive.attempt_no
    );
    state.note(Some(directive.job_id), news);
}
