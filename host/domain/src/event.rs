//! What can have happened to a job. The ledger keeps every event; folded in order over the job's spec they give the
//! job as it is ([`crate::evolve`]).

use serde::{Deserialize, Serialize};

use crate::contract::{CallbackKind, Progress};
use crate::id::{AttemptNo, Digest, Generation};
use crate::job::{Attempt, Failure};
use crate::plugin::{Decision, Pin, Report};
use crate::time::Timestamp;

/// Something that happened. `step` is the index of the step in the job's spec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The command was accepted; the first step's turn has come.
    Accepted,
    /// A plugin decided. It changes nothing by itself; the event after it does.
    Decided {
        /// The step.
        step: usize,
        /// What was asked and said.
        decision: Decision,
    },
    /// A plugin could not decide; it is asked again.
    DecisionDeferred {
        /// The step.
        step: usize,
        /// How it went wrong.
        failure: Failure,
        /// How often in a row.
        faults: u32,
        /// When it is asked again.
        due_at: Timestamp,
    },
    /// The step is not needed.
    StepSkipped {
        /// The step.
        step: usize,
        /// Why.
        reason: String,
    },
    /// A new attempt was routed; its directive is in the outbox, PENDING.
    AttemptCreated {
        /// The step.
        step: usize,
        /// The attempt.
        attempt: Attempt,
    },
    /// The bus has the directive; the outbox row is SENT.
    DirectiveSent {
        /// The step.
        step: usize,
        /// The attempt.
        attempt_no: AttemptNo,
        /// When waiting for the ACK ends.
        ack_due: Timestamp,
    },
    /// The bus did not take the directive; it is tried again.
    PublishFailed {
        /// The step.
        step: usize,
        /// The attempt.
        attempt_no: AttemptNo,
        /// Why.
        failure: Failure,
        /// When it is tried again.
        publish_at: Timestamp,
    },
    /// A service has the directive; the lease runs.
    Acked {
        /// The step.
        step: usize,
        /// The attempt.
        attempt_no: AttemptNo,
        /// When the lease ends.
        lease_expires_at: Timestamp,
        /// The end of the last lease that the attempt can get.
        ends_by: Timestamp,
    },
    /// The service is still at work; the lease runs anew.
    LeaseRenewed {
        /// The step.
        step: usize,
        /// The attempt.
        attempt_no: AttemptNo,
        /// When the lease ends.
        lease_expires_at: Timestamp,
        /// How far the work is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        progress: Option<Progress>,
    },
    /// The RESULT of the current attempt. Durable from here on, whatever the plugin says.
    ResultReceived {
        /// The step.
        step: usize,
        /// The attempt.
        attempt_no: AttemptNo,
        /// What was reported.
        report: Report,
        /// The digest of the RESULT.
        digest: Digest,
    },
    /// The step is done.
    StepSucceeded {
        /// The step.
        step: usize,
    },
    /// The attempt failed; another one is due.
    RetryScheduled {
        /// The step.
        step: usize,
        /// The attempt that failed.
        attempt_no: AttemptNo,
        /// Why.
        failure: Failure,
        /// When the next attempt is routed.
        due_at: Timestamp,
    },
    /// The step failed for good.
    StepFailed {
        /// The step.
        step: usize,
        /// Why.
        failure: Failure,
    },
    /// The active step ended because its job is being cancelled.
    StepCancelled {
        /// The step.
        step: usize,
    },
    /// Someone asked to cancel the job while a directive was out.
    CancelRequested,
    /// All steps are done.
    JobSucceeded,
    /// The job failed with its step.
    JobFailed {
        /// Why.
        failure: Failure,
    },
    /// The job is cancelled, and with it every step that was not over.
    JobCancelled,
    /// A failed job starts again at its failed step, with a fresh budget.
    Redriven {
        /// The step.
        step: usize,
    },
    /// Someone moved the job to another registry generation.
    Migrated {
        /// The generation it held before.
        from: Generation,
        /// The generation it holds from now on.
        generation: Generation,
        /// Who decides about each step from now on; the steps that are over keep who did.
        plugins: Vec<Option<Pin>>,
    },
    /// A callback came that does not count. It is on record and changes nothing.
    CallbackIgnored {
        /// The step.
        step: usize,
        /// The attempt it named.
        attempt_no: AttemptNo,
        /// Which callback.
        callback: CallbackKind,
        /// Why it does not count.
        reason: IgnoreReason,
    },
}

/// Why a callback does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IgnoreReason {
    /// It says again what is known.
    Repeated,
    /// An ACK or a heartbeat of an attempt whose RESULT is in.
    Decided,
    /// A RESULT that contradicts the one that decided its attempt.
    Conflicting,
    /// Its attempt is not the current one.
    Stale,
    /// The job is over.
    JobTerminal,
}

/// An event as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// Its number in the job, from 1, no gaps.
    pub seq: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

impl Event {
    /// The name that is stored and shown.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Decided { .. } => "decided",
            Self::DecisionDeferred { .. } => "decision_deferred",
            Self::StepSkipped { .. } => "step_skipped",
            Self::AttemptCreated { .. } => "attempt_created",
            Self::DirectiveSent { .. } => "directive_sent",
            Self::PublishFailed { .. } => "publish_failed",
            Self::Acked { .. } => "acked",
            Self::LeaseRenewed { .. } => "lease_renewed",
            Self::ResultReceived { .. } => "result_received",
            Self::StepSucceeded { .. } => "step_succeeded",
            Self::RetryScheduled { .. } => "retry_scheduled",
            Self::StepFailed { .. } => "step_failed",
            Self::StepCancelled { .. } => "step_cancelled",
            Self::CancelRequested => "cancel_requested",
            Self::JobSucceeded => "job_succeeded",
            Self::JobFailed { .. } => "job_failed",
            Self::JobCancelled => "job_cancelled",
            Self::Redriven { .. } => "redriven",
            Self::Migrated { .. } => "migrated",
            Self::CallbackIgnored { .. } => "callback_ignored",
        }
    }

    /// The step it is about, if it is about one.
    pub fn step(&self) -> Option<usize> {
        match self {
            Self::Decided { step, .. }
            | Self::DecisionDeferred { step, .. }
            | Self::StepSkipped { step, .. }
            | Self::AttemptCreated { step, .. }
            | Self::DirectiveSent { step, .. }
            | Self::PublishFailed { step, .. }
            | Self::Acked { step, .. }
            | Self::LeaseRenewed { step, .. }
            | Self::ResultReceived { step, .. }
            | Self::StepSucceeded { step }
            | Self::RetryScheduled { step, .. }
            | Self::StepFailed { step, .. }
            | Self::StepCancelled { step }
            | Self::Redriven { step }
            | Self::CallbackIgnored { step, .. } => Some(*step),
            Self::Accepted
            | Self::CancelRequested
            | Self::JobSucceeded
            | Self::JobFailed { .. }
            | Self::JobCancelled
            | Self::Migrated { .. } => None,
        }
    }
}
