//! What a job is. Each state holds the data that only that state has, so an impossible combination has no variant.
//!
//! ```text
//! job    QUEUED -> DISPATCHING -> IN_PROGRESS -> SUCCEEDED | FAILED_FINAL
//!        any of them -> (CANCELLING ->) CANCELLED;  FAILED_FINAL -> QUEUED by an explicit redrive alone
//! step   PENDING -> DISPATCHING -> AWAITING_ACK -> IN_PROGRESS -> SUCCEEDED | FAILED_FINAL
//!        any of them -> FAILED_RETRY -> DISPATCHING again;  PENDING -> SKIPPED;  any -> CANCELLED
//! ```

mod spec;
mod status;
mod step;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::contract::EarlierStep;
use crate::id::{AttemptNo, Generation, JobId, StepId, Version};
use crate::plugin::{Artifact, Context, Pin, StepOutput};
use crate::time::Timestamp;

pub use spec::{JobSpec, StepSpec};
pub use status::{DueKind, Status};
pub use step::{Attempt, Decided, Phase, Step};

/// Why something ended or has to be tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
#[serde(deny_unknown_fields)]
pub struct Migration {
    /// The generation.
    pub generation: Generation,
    /// Who decides about each step, in the order of the spec.
    pub plugins: Vec<Option<Pin>>,
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
