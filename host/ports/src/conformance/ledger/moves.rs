//! The moves that drive a job: each is what a plugin, the bus, a worker, a clock or a person would do.

use lucius_domain::contract::{CallbackKind, Ref};
use lucius_domain::decide::{Input, Rejection};
use lucius_domain::event::{Event, IgnoreReason};
use lucius_domain::id::{AttemptKey, AttemptNo, Digest, LeaseId};
use lucius_domain::job::Failure;
use lucius_domain::plugin::{Dispatch, Function, Report, Route, Settle};
use lucius_domain::transition::{Question, Transition};
use serde_json::json;

use super::draft::decision;

/// One thing that a plugin, the bus, a worker, a clock or a person does to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// The plugin sends the step that is due to its service.
    Dispatch,
    /// The plugin says that the step is not needed.
    Skip,
    /// The plugin says that the step cannot be run.
    RejectRoute,
    /// The plugin cannot say where the step goes.
    RouteFault,
    /// The bus takes the directive.
    Sent,
    /// The bus does not take the directive this time.
    PublishFails,
    /// The bus will never take the directive.
    PublishRefused,
    /// The worker has the directive.
    Ack,
    /// The worker is still at it.
    Heartbeat,
    /// The worker reports success; the plugin has yet to say what it means.
    Report,
    /// The worker reports success and the plugin accepts.
    Succeed,
    /// As [`Move::Succeed`], and the next step is dispatched in the same commit.
    SucceedAndDispatch,
    /// The worker reports a failure that another attempt may mend.
    Fail,
    /// The worker reports a failure for good.
    FailFinally,
    /// The plugin cannot say what the report means.
    SettleFault,
    /// The wait for the ACK may be over.
    AckOverdue,
    /// The lease may be over.
    LeaseOverdue,
    /// Someone cancels.
    Cancel,
    /// Someone redrives.
    Redrive,
    /// A callback that does not count is noted.
    Note,
}

impl Move {
    /// Every move.
    pub const ALL: [Self; 20] = [
        Self::Dispatch,
        Self::Skip,
        Self::RejectRoute,
        Self::RouteFault,
        Self::Sent,
        Self::PublishFails,
        Self::PublishRefused,
        Self::Ack,
        Self::Heartbeat,
        Self::Report,
        Self::Succeed,
        Self::SucceedAndDispatch,
        Self::Fail,
        Self::FailFinally,
        Self::SettleFault,
        Self::AckOverdue,
        Self::LeaseOverdue,
        Self::Cancel,
        Self::Redrive,
        Self::Note,
    ];

    /// Makes the move.
    ///
    /// # Errors
    /// The rejection, when the job does not stand so that the move is possible.
    pub fn apply(self, to: &mut Transition, lease: LeaseId) -> Result<(), Rejection> {
        match self {
            Self::Dispatch => dispatch(to, lease),
            Self::Skip => route(
                to,
                lease,
                Ok(Route::Skip {
                    reason: "nothing to do".to_owned(),
                }),
            ),
            Self::RejectRoute => route(
                to,
                lease,
                Ok(Route::Fail {
                    failure: failure("NO_ROUTE"),
                }),
            ),
            Self::RouteFault => route(to, lease, Err(failure("PLUGIN_TRAP"))),
            Self::Sent => {
                let (step, key) = active(to)?;
                to.apply(Input::Sent { step, key })
            }
            Self::PublishFails => publish_failed(to, true),
            Self::PublishRefused => publish_failed(to, false),
            Self::Ack => {
                let (step, key) = active(to)?;
                to.apply(Input::Ack { step, key })
            }
            Self::Heartbeat => {
                let (step, key) = active(to)?;
                let progress =
                    serde_json::from_value(json!({ "percent": 50, "message": "½" })).ok();
                to.apply(Input::Heartbeat {
                    step,
                    key,
                    progress,
                })
            }
            Self::Report => report(to, success()),
            Self::Succeed => {
                report(to, success())?;
                settle(to, Ok(Settle::Accept))
            }
            Self::SucceedAndDispatch => {
                Self::Succeed.apply(to, lease)?;
                if matches!(to.question(), Some(Question::Route { .. })) {
                    dispatch(to, lease)?;
                }
                Ok(())
            }
            Self::Fail => {
                report(to, failed(true))?;
                settle(to, Ok(Settle::by_default(&failed(true))))
            }
            Self::FailFinally => {
                report(to, failed(false))?;
                settle(to, Ok(Settle::by_default(&failed(false))))
            }
            Self::SettleFault => settle(to, Err(failure("PLUGIN_TRAP"))),
            Self::AckOverdue => to.apply(Input::AckOverdue),
            Self::LeaseOverdue => to.apply(Input::LeaseOverdue),
            Self::Cancel => to.apply(Input::Cancel),
            Self::Redrive => to.apply(Input::Redrive),
            Self::Note => to.apply(Input::Note { event: note() }),
        }
    }
}

fn active(of: &Transition) -> Result<(usize, AttemptKey), Rejection> {
    of.job()
        .active_attempt()
        .map(|(step, attempt)| (step, attempt.key))
        .ok_or(Rejection::NotWaiting)
}

fn dispatch(to: &mut Transition, lease: LeaseId) -> Result<(), Rejection> {
    let (_, spec, _) = to.job().current().ok_or(Rejection::NotWaiting)?;
    let dispatch = Dispatch {
        service: spec.service.clone(),
        payload: Some(json!({ "page_range": "1-3", "chosen": 1.5 })),
        ack_ms: Some(1_000),
        lease_ms: Some(60_000),
    };
    route(to, lease, Ok(Route::Dispatch(dispatch)))
}

fn route(
    to: &mut Transition,
    lease_id: LeaseId,
    outcome: Result<Route, Failure>,
) -> Result<(), Rejection> {
    let decision = outcome.is_ok().then(|| decision(Function::Route));
    to.apply(Input::Route {
        lease_id,
        decision,
        outcome,
    })
}

fn settle(to: &mut Transition, outcome: Result<Settle, Failure>) -> Result<(), Rejection> {
    if to.job().progress.status.is_terminal() {
        return Ok(()); // a cancelled job asks nobody what its last RESULT means
    }
    let decision = outcome.is_ok().then(|| decision(Function::Settle));
    to.apply(Input::Settle { decision, outcome })
}

fn report(to: &mut Transition, report: Report) -> Result<(), Rejection> {
    let (step, key) = active(to)?;
    to.apply(Input::Result {
        step,
        key,
        report,
        digest: Digest::of(b"a RESULT"),
    })
}

fn publish_failed(to: &mut Transition, retryable: bool) -> Result<(), Rejection> {
    let (step, key) = active(to)?;
    to.apply(Input::PublishFailed {
        step,
        key,
        failure: failure("BUS_DOWN"),
        retryable,
    })
}

fn success() -> Report {
    let artifact = json!({ "uri": "file:///out/text.json", "metadata": { "score": 0.25 } });
    let artifact: Ref = serde_json::from_value(artifact).expect("a full reference is a reference");
    let output_ref = Some(Ref::Uri("file:///out/text.txt".to_owned()));
    Report::Succeeded {
        artifact_refs: vec![artifact],
        output_ref,
    }
}

fn failed(retryable: bool) -> Report {
    Report::Failed {
        retryable,
        failure: failure("MODEL_OVERLOADED"),
        details: json!({ "queue": 12 }),
    }
}

fn failure(code: &str) -> Failure {
    Failure::new(code, "it did not work: try \"later\"")
}

fn note() -> Event {
    Event::CallbackIgnored {
        step: 0,
        attempt_no: AttemptNo(1),
        callback: CallbackKind::Ack,
        reason: IgnoreReason::Stale,
    }
}
