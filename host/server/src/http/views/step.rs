//! Steps as they are shown: the same members in every state, null where a state does not know them.

use lucius_domain::contract::{Progress, Ref};
use lucius_domain::job::{Attempt, Job, Phase, Step, StepSpec};
use lucius_domain::plugin::Pin;
use lucius_domain::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// A job's steps, in order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StepList)]
pub struct StepListView {
    /// The steps.
    pub steps: Vec<StepView>,
}

impl From<&Job> for StepListView {
    fn from(job: &Job) -> Self {
        let steps = job.spec.steps.iter().zip(&job.progress.steps).enumerate();
        Self {
            steps: steps
                .map(|(index, (spec, step))| StepView::new(job, index, spec, step))
                .collect(),
        }
    }
}

/// Which plugin decides about a step.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginPin)]
pub struct PinView {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// The SHA-256 of the component, in hexadecimal digits.
    pub digest: String,
}

impl From<&Pin> for PinView {
    fn from(
        Pin {
            id,
            version,
            digest,
        }: &Pin,
    ) -> Self {
        Self {
            id: id.to_string(),
            version: version.to_string(),
            digest: digest.to_string(),
        }
    }
}

/// How far the work is, as the last heartbeat said.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Progress)]
pub struct ProgressView {
    /// 0 to 100.
    pub percent: Option<f64>,
    /// For a person.
    pub message: Option<String>,
}

impl From<&Progress> for ProgressView {
    fn from(Progress { percent, message }: &Progress) -> Self {
        Self {
            percent: *percent,
            message: message.clone(),
        }
    }
}

/// A step of a job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Step)]
pub struct StepView {
    /// Its name within the protocol.
    pub step_id: String,
    /// The kind of work.
    pub step_type: String,
    /// Who does it: where the active attempt went, else what the protocol declares.
    pub service: String,
    /// PENDING, DISPATCHING, AWAITING_ACK, IN_PROGRESS, FAILED_RETRY, SUCCEEDED, SKIPPED, FAILED_FINAL or CANCELLED.
    pub state: &'static str,
    /// The latest attempt; 0 before the first.
    pub attempt_no: u32,
    /// How many attempts one budget has; a redrive gives a fresh one.
    pub max_attempts: u32,
    /// When the lease ends; null but for a service at work.
    #[schema(format = DateTime)]
    pub lease_expires_at: Option<String>,
    /// When the active attempt has failed at the latest, however often it heartbeats.
    #[schema(format = DateTime)]
    pub attempt_ends_by: Option<String>,
    /// What the last heartbeat said.
    pub progress: Option<ProgressView>,
    /// Who decides about it; null when it is routed as declared.
    pub plugin: Option<PinView>,
    /// The bus topic its directives travel in, 0 to 15.
    pub lane: u8,
    /// The key that chose the lane.
    pub routing_key_used: String,
    /// DEFAULT or BURST.
    pub resolved_mode: &'static str,
    /// Who decided the mode.
    pub decision_source: &'static str,
    /// The same for a person.
    pub decision_reason: String,
    /// What it wrote.
    #[schema(value_type = Vec<Value>)]
    pub artifact_refs: Vec<Ref>,
    /// Where its main artifact was delivered.
    #[schema(value_type = Option<Value>)]
    pub output_ref: Option<Ref>,
    /// The latest thing that went wrong, for a program.
    pub last_error_code: Option<String>,
    /// The same for a person.
    pub last_error_message: Option<String>,
    /// Why it was not needed.
    pub skip_reason: Option<String>,
    /// When the next attempt is routed, while it waits for one.
    #[schema(format = DateTime)]
    pub next_attempt_at: Option<String>,
    /// Where the active attempt's directive is: PENDING or SENT.
    pub outbox_state: Option<&'static str>,
}

/// What only some phases know.
#[derive(Default)]
struct PhaseDetails<'a> {
    attempt: Option<&'a Attempt>,
    lease_expires_at: Option<Timestamp>,
    ends_by: Option<Timestamp>,
    progress: Option<&'a Progress>,
    skip_reason: Option<&'a String>,
    next_attempt_at: Option<Timestamp>,
    outbox_state: Option<&'static str>,
}

impl<'a> PhaseDetails<'a> {
    fn of(phase: &'a Phase) -> Self {
        let sent = |attempt: &'a Attempt| Self {
            attempt: Some(attempt),
            outbox_state: Some("SENT"),
            ..Self::default()
        };
        match phase {
            Phase::Waiting { due_at, .. } => Self {
                next_attempt_at: Some(*due_at),
                ..Self::default()
            },
            Phase::Dispatching { attempt, .. } => Self {
                outbox_state: Some("PENDING"),
                ..sent(attempt)
            },
            Phase::AwaitingAck { attempt, .. } | Phase::Settling { attempt, .. } => sent(attempt),
            Phase::InProgress {
                attempt,
                lease_expires_at,
                ends_by,
                progress,
            } => Self {
                lease_expires_at: Some(*lease_expires_at),
                ends_by: Some(*ends_by),
                progress: progress.as_ref(),
                ..sent(attempt)
            },
            Phase::Skipped { reason } => Self {
                skip_reason: Some(reason),
                ..Self::default()
            },
            Phase::Pending | Phase::Succeeded | Phase::FailedFinal | Phase::Cancelled => {
                Self::default()
            }
        }
    }
}

impl StepView {
    fn new(job: &Job, index: usize, spec: &StepSpec, step: &Step) -> Self {
        let JobModeView {
            lane,
            routing_key_used,
            resolved_mode,
            decision_source,
            decision_reason,
        } = JobModeView::from(job);
        let details = PhaseDetails::of(&step.phase);
        let service = details
            .attempt
            .map_or(&spec.service, |attempt| &attempt.service);
        Self {
            step_id: spec.step_id.to_string(),
            step_type: spec.step_type.to_string(),
            service: service.to_string(),
            state: step.state_name(),
            attempt_no: step.attempts.0,
            max_attempts: spec.timing.max_attempts,
            lease_expires_at: details.lease_expires_at.as_ref().map(Timestamp::to_string),
            attempt_ends_by: details.ends_by.as_ref().map(Timestamp::to_string),
            progress: details.progress.map(Into::into),
            plugin: job.plugin(index).map(Into::into),
            lane,
            routing_key_used,
            resolved_mode,
            decision_source,
            decision_reason,
            artifact_refs: step.artifact_refs.clone(),
            output_ref: step.output_ref.clone(),
            last_error_code: step
                .last_failure
                .as_ref()
                .map(|failure| failure.code.clone()),
            last_error_message: step
                .last_failure
                .as_ref()
                .map(|failure| failure.message.clone()),
            skip_reason: details.skip_reason.cloned(),
            next_attempt_at: details.next_attempt_at.as_ref().map(Timestamp::to_string),
            outbox_state: details.outbox_state,
        }
    }
}

/// How a job is routed; each of its steps shows it.
struct JobModeView {
    lane: u8,
    routing_key_used: String,
    resolved_mode: &'static str,
    decision_source: &'static str,
    decision_reason: String,
}

impl From<&Job> for JobModeView {
    fn from(job: &Job) -> Self {
        let spec = &job.spec;
        Self {
            lane: spec.lane.number(),
            routing_key_used: spec.routing_key.clone(),
            resolved_mode: spec.mode.resolved_mode.as_str(),
            decision_source: spec.mode.decision_source.as_str(),
            decision_reason: spec.mode.decision_reason.clone(),
        }
    }
}
