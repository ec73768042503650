//! A step and its attempts: where it stands, and what only that state knows.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Failure;
use crate::contract::{Progress, Ref};
use crate::id::{AttemptKey, AttemptNo, Digest, ServiceName};
use crate::plugin::Report;
use crate::time::Timestamp;

/// A step as the ledger has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Where it stands.
    pub phase: Phase,
    /// The number of the latest attempt; 0 before the first.
    pub attempts: AttemptNo,
    /// The attempt number before the present budget began; a redrive moves it.
    pub budget_from: AttemptNo,
    /// The attempts that a RESULT decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decided: Vec<Decided>,
    /// What the step wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifact_refs: Vec<Ref>,
    /// Where its main artifact was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_ref: Option<Ref>,
    /// The latest thing that went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
}

impl Step {
    /// A step whose turn has not come.
    pub fn pending() -> Self {
        Self {
            phase: Phase::Pending,
            attempts: AttemptNo(0),
            budget_from: AttemptNo(0),
            decided: Vec::new(),
            artifact_refs: Vec::new(),
            output_ref: None,
            last_failure: None,
        }
    }

    /// The public name of where it stands.
    pub fn state_name(&self) -> &'static str {
        match &self.phase {
            Phase::Pending => "PENDING",
            Phase::Waiting { .. } if self.attempts == AttemptNo(0) => "PENDING",
            Phase::Waiting { .. } => "FAILED_RETRY",
            Phase::Dispatching { .. } => "DISPATCHING",
            Phase::AwaitingAck { .. } => "AWAITING_ACK",
            Phase::InProgress { .. } | Phase::Settling { .. } => "IN_PROGRESS",
            Phase::Succeeded => "SUCCEEDED",
            Phase::Skipped { .. } => "SKIPPED",
            Phase::FailedFinal => "FAILED_FINAL",
            Phase::Cancelled => "CANCELLED",
        }
    }

    /// How many attempts the present budget has used.
    pub fn attempts_in_budget(&self) -> u32 {
        self.attempts.0.saturating_sub(self.budget_from.0)
    }
}

/// Where a step stands. The public names are fewer, see [`Step::state_name`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case", deny_unknown_fields)]
pub enum Phase {
    /// Its turn has not come.
    Pending,
    /// Its turn has come: the next attempt is routed at `due_at`. At once for the first; later after a failed
    /// attempt, or when the plugin could not say where.
    Waiting {
        /// When.
        due_at: Timestamp,
        /// How often in a row the plugin could not say.
        faults: u32,
    },
    /// The directive waits in the outbox, PENDING.
    Dispatching {
        /// The attempt.
        attempt: Attempt,
        /// How often publishing failed.
        publish_failures: u32,
        /// When it may be published.
        publish_at: Timestamp,
    },
    /// The directive was sent.
    AwaitingAck {
        /// The attempt.
        attempt: Attempt,
        /// When waiting ends.
        ack_due: Timestamp,
    },
    /// A service works on it.
    InProgress {
        /// The attempt.
        attempt: Attempt,
        /// When the lease ends.
        lease_expires_at: Timestamp,
        /// No heartbeat moves the end of the lease beyond this.
        ends_by: Timestamp,
        /// What the last heartbeat said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        progress: Option<Progress>,
    },
    /// The RESULT is in the ledger; the plugin has yet to say what it means.
    Settling {
        /// The attempt.
        attempt: Attempt,
        /// What the worker reported.
        report: Report,
        /// How often in a row the plugin could not say.
        faults: u32,
        /// When it is asked.
        due_at: Timestamp,
    },
    /// Done.
    Succeeded,
    /// Not needed.
    Skipped {
        /// Why.
        reason: String,
    },
    /// Failed for good; the reason is the step's `last_failure`.
    FailedFinal,
    /// Cancelled with its job.
    Cancelled,
}

/// One attempt of a step, as it was routed; never recomputed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// Number and fence.
    pub key: AttemptKey,
    /// The service it goes to.
    pub service: ServiceName,
    /// The payload for the worker; the step's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// How long to wait for the ACK, in milliseconds.
    pub ack_ms: u64,
    /// How long the lease lasts, in milliseconds.
    pub lease_ms: u64,
}

/// An attempt that a RESULT decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decided {
    /// Which attempt.
    pub key: AttemptKey,
    /// The digest of the RESULT, which tells a repetition from a contradiction.
    pub digest: Digest,
}
