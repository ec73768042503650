//! What a job is. Each state holds the data that only that state has, so an impossible combination has no variant.
//!
//! ```text
//! job    QUEUED -> DISPATCHING -> IN_PROGRESS -> SUCCEEDED | FAILED_FINAL
//!        any of them -> (CANCELLING ->) CANCELLED;  FAILED_FINAL -> QUEUED by an explicit redrive alone
//! step   PENDING -> DISPATCHING -> AWAITING_ACK -> IN_PROGRESS -> SUCCEEDED | FAILED_FINAL
//!        any of them -> FAILED_RETRY -> DISPATCHING again;  PENDING -> SKIPPED;  any -> CANCELLED
//! ```

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::contract::{EarlierStep, Progress, Ref};
use crate::id::{
    AttemptKey, AttemptNo, Digest, Generation, JobId, ProtocolId, RequestType, ServiceName, StepId,
    StepType, TenantId, Version,
};
use crate::plugin::{Artifact, Context, Pin, Report, StepOutput};
use crate::retry::Timing;
use crate::routing::{Lane, ModeDecision};
use crate::time::Timestamp;

/// Why something ended or has to be tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable code in UPPER_SNAKE_CASE.
    pub code: String,
    /// For a person.
    pub message: String,
}

impl Failure {
    /// The longest message that is kept, in characters.
    pub const MAX_MESSAGE_CHARS: usize = 2_000;

    /// A failure; an overlong message is cut.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        let mut message: String = message.into();
        if let Some((cut, _)) = message.char_indices().nth(Self::MAX_MESSAGE_CHARS) {
            message.truncate(cut);
        }
        Self {
            code: code.into(),
            message,
        }
    }
}

/// What a job was accepted with. Nothing in it ever changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Who it belongs to.
    pub tenant_id: TenantId,
    /// What was asked for.
    pub request_type: RequestType,
    /// The protocol that serves it.
    pub protocol_id: ProtocolId,
    /// The registry generation it was accepted under; see [`Job::generation`] for the one it holds.
    pub generation: Generation,
    /// The client's name for the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc_id: Option<String>,
    /// How it is routed, and who decided.
    pub mode: ModeDecision,
    /// The key that chose the lane.
    pub routing_key: String,
    /// The lane of all its directives.
    pub lane: Lane,
    /// 0 (can wait) to 9 (first).
    pub priority: u8,
    /// The document.
    pub input_ref: Ref,
    /// The folder that gets the results.
    pub output_ref: Ref,
    /// The client's id for a group of requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Its steps, in order.
    pub steps: Vec<StepSpec>,
}

/// What a step was accepted with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepSpec {
    /// Its name within the protocol.
    pub step_id: StepId,
    /// The kind of work.
    pub step_type: StepType,
    /// The service the protocol declares.
    pub service: ServiceName,
    /// The plugin that decides about it; without one it is routed as declared. See [`Job::plugin`] for who does now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<Pin>,
    /// The payload, normalized.
    pub payload: Value,
    /// Waits and budgets.
    pub timing: Timing,
}

/// A job as the ledger has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What it was accepted with.
    pub spec: Arc<JobSpec>,
    /// What became of it.
    pub progress: JobProgress,
}

/// The part of a job that changes.
///
/// What a later version adds to it is refused when it is read, not dropped: this version would write the job back
/// without it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobProgress {
    /// The version in the ledger; 0 before the job is created.
    pub version: Version,
    /// How many events it has; the next one gets the number after.
    pub events: u64,
    /// How many of those only note a callback that did not count.
    pub notes: u32,
    /// Where it stands.
    pub status: Status,
    /// The index of the step whose turn it is; the number of steps once all are done.
    pub current: usize,
    /// Its steps, in the order of the spec.
    pub steps: Vec<Step>,
    /// The registry generation it was moved to, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrated: Option<Migration>,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it became terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
}

/// What a job holds since someone moved it to another registry generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// The generation.
    pub generation: Generation,
    /// Who decides about each step, in the order of the spec.
    pub plugins: Vec<Option<Pin>>,
}

/// Where a job stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Accepted; no directive was sent yet.
    Queued,
    /// A directive was sent; none was acknowledged yet.
    Dispatching,
    /// A service has begun.
    InProgress,
    /// Cancelled as soon as the active attempt ends.
    Cancelling,
    /// All steps are done.
    Succeeded,
    /// A step failed for good.
    FailedFinal {
        /// Why.
        failure: Failure,
    },
    /// Cancelled.
    Cancelled,
}

impl Status {
    /// All public names, in the order of a job's life.
    pub const NAMES: [&'static str; 7] = [
        "QUEUED",
        "DISPATCHING",
        "IN_PROGRESS",
        "CANCELLING",
        "SUCCEEDED",
        "FAILED_FINAL",
        "CANCELLED",
    ];

    /// The public name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Dispatching => "DISPATCHING",
            Self::InProgress => "IN_PROGRESS",
            Self::Cancelling => "CANCELLING",
            Self::Succeeded => "SUCCEEDED",
            Self::FailedFinal { .. } => "FAILED_FINAL",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// True when nothing moves the job any more (but a redrive of a failed one).
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Queued | Self::Dispatching | Self::InProgress | Self::Cancelling => false,
            Self::Succeeded | Self::FailedFinal { .. } | Self::Cancelled => true,
        }
    }
}

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

/// Why a job has a due time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DueKind {
    /// A directive may be published.
    Dispatch,
    /// The wait for an ACK ends.
    Ack,
    /// A lease ends.
    Lease,
    /// A decision is to be made: the next attempt, or what a RESULT means.
    Decision,
}

impl Job {
    /// A job as it is before its first event.
    pub fn new(id: JobId, spec: Arc<JobSpec>) -> Self {
        let steps = spec.steps.iter().map(|_| Step::pending()).collect();
        let updated_at = spec.created_at;
        let progress = JobProgress {
            version: Version(0),
            events: 0,
            notes: 0,
            status: Status::Queued,
            current: 0,
            steps,
            migrated: None,
            updated_at,
            completed_at: None,
        };
        Self { id, spec, progress }
    }

    /// The registry generation it holds: the one it was accepted under, or the one it was moved to since.
    pub fn generation(&self) -> Generation {
        let migrated = self.progress.migrated.as_ref();
        migrated.map_or(self.spec.generation, |migrated| migrated.generation)
    }

    /// Who decides about the step at `index`; without one it is routed as declared.
    pub fn plugin(&self, index: usize) -> Option<&Pin> {
        match &self.progress.migrated {
            Some(migrated) => migrated.plugins.get(index)?.as_ref(),
            None => self.spec.steps.get(index)?.plugin.as_ref(),
        }
    }

    /// The step whose turn it is, with its index; `None` once all are done.
    pub fn current(&self) -> Option<(usize, &StepSpec, &Step)> {
        let index = self.progress.current;
        Some((
            index,
            self.spec.steps.get(index)?,
            self.progress.steps.get(index)?,
        ))
    }

    /// The index of a step.
    pub fn step_index(&self, step_id: &StepId) -> Option<usize> {
        self.spec
            .steps
            .iter()
            .position(|step| step.step_id == *step_id)
    }

    /// The step that failed for good.
    pub fn failed_step(&self) -> Option<usize> {
        let is_failed = |step: &Step| step.phase == Phase::FailedFinal;
        self.progress.steps.iter().position(is_failed)
    }

    /// Why the job failed, when it did.
    pub fn failure(&self) -> Option<&Failure> {
        match &self.progress.status {
            Status::FailedFinal { failure } => Some(failure),
            Status::Queued
            | Status::Dispatching
            | Status::InProgress
            | Status::Cancelling
            | Status::Succeeded
            | Status::Cancelled => None,
        }
    }

    /// The attempt that is under way, if any.
    pub fn active_attempt(&self) -> Option<(usize, &Attempt)> {
        let (index, _, step) = self.current()?;
        match &step.phase {
            Phase::Dispatching { attempt, .. }
            | Phase::AwaitingAck { attempt, .. }
            | Phase::InProgress { attempt, .. }
            | Phase::Settling { attempt, .. } => Some((index, attempt)),
            Phase::Pending
            | Phase::Waiting { .. }
            | Phase::Succeeded
            | Phase::Skipped { .. }
            | Phase::FailedFinal
            | Phase::Cancelled => None,
        }
    }

    /// How many attempts all steps had together.
    pub fn attempts_total(&self) -> u32 {
        self.progress.steps.iter().map(|step| step.attempts.0).sum()
    }

    /// When the job next needs the host, and for what. Every job that is not terminal has exactly one due time.
    pub fn due(&self) -> Option<(DueKind, Timestamp)> {
        if self.progress.status.is_terminal() {
            return None;
        }
        let (_, _, step) = self.current()?;
        match &step.phase {
            Phase::Waiting { due_at, .. } | Phase::Settling { due_at, .. } => {
                Some((DueKind::Decision, *due_at))
            }
            Phase::Dispatching { publish_at, .. } => Some((DueKind::Dispatch, *publish_at)),
            Phase::AwaitingAck { ack_due, .. } => Some((DueKind::Ack, *ack_due)),
            Phase::InProgress {
                lease_expires_at, ..
            } => Some((DueKind::Lease, *lease_expires_at)),
            Phase::Pending
            | Phase::Succeeded
            | Phase::Skipped { .. }
            | Phase::FailedFinal
            | Phase::Cancelled => None,
        }
    }

    /// What the steps before `index` left behind, for a directive.
    pub fn earlier_steps(&self, index: usize) -> Vec<EarlierStep> {
        let steps = self.spec.steps.iter().zip(&self.progress.steps).take(index);
        steps
            .map(|(spec, step)| EarlierStep {
                step_id: spec.step_id.clone(),
                step_type: spec.step_type.clone(),
                skipped: matches!(step.phase, Phase::Skipped { .. }),
                output_ref: step.output_ref.clone(),
                artifact_refs: step.artifact_refs.clone(),
            })
            .collect()
    }

    /// What a plugin may know when it decides about the step at `index`: for a route the attempt to come, for a
    /// settle the one that was reported.
    pub fn plugin_context(
        &self,
        index: usize,
        attempt: AttemptNo,
        config: Value,
    ) -> Option<Context> {
        let spec = self.spec.steps.get(index)?;
        let steps = self.spec.steps.iter().zip(&self.progress.steps).take(index);
        let earlier = steps.map(|(spec, step)| StepOutput {
            step_id: spec.step_id.clone(),
            step_type: spec.step_type.clone(),
            skipped: matches!(step.phase, Phase::Skipped { .. }),
            artifacts: step.artifact_refs.iter().map(Artifact::from).collect(),
        });
        Some(Context {
            step_id: spec.step_id.clone(),
            step_type: spec.step_type.clone(),
            service: spec.service.clone(),
            mode: self.spec.mode.resolved_mode,
            attempt: attempt.0,
            max_attempts: spec.timing.max_attempts,
            input: Artifact::from(&self.spec.input_ref),
            payload: spec.payload.clone(),
            earlier: earlier.collect(),
            config,
        })
    }
}
