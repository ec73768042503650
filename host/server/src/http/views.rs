//! What the API shows. These structs are the interface, and the OpenAPI document is made from them; the domain's own
//! types are not shown, so that a field that is added there does not leave the house by itself.
//!
//! Lease ids and callback tokens are secrets of their attempt: no view has a field for them.

use lucius_domain::contract::{Progress, Ref};
use lucius_domain::job::{Attempt, Job, Phase, Status, Step, StepSpec};
use lucius_domain::plugin::Pin;
use lucius_domain::time::Timestamp;
use lucius_engine::accept::Accepted;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

mod event;
mod registry;

pub use event::{EventListView, EventView};
pub use registry::{
    EntryErrorView, GenerationView, LimitsView, PluginEntryView, ProtocolStepView, ProtocolView,
    RegistryView, ReloadView,
};

/// An error, RFC 9457.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemView {
    /// A URI that names the kind of problem, made from the code.
    #[serde(rename = "type")]
    pub problem_type: String,
    /// The kind of problem for a person; the same for every problem with this code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong this time, and what to do.
    pub detail: String,
    /// The kind of problem for a program.
    pub code: &'static str,
    /// The request, as in the header X-Request-Id and in the host's log.
    pub request_id: String,
    /// Everything that is wrong with a document.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<ViolationView>,
    /// More, depending on the code.
    #[serde(flatten)]
    #[schema(ignore)]
    pub more: Map<String, Value>,
}

/// One thing that is wrong with a document.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Violation)]
pub struct ViolationView {
    /// JSON Pointer into the document as it was sent.
    pub pointer: String,
    /// A stable code.
    pub code: String,
    /// What is wrong and what to do.
    pub message: String,
    /// Who says so: `schema`, or `plugin:<id>@<version>`.
    pub source: String,
}

/// A command was accepted, now or before.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Accepted)]
pub struct AcceptedView {
    /// The job that carries it out.
    #[serde(rename = "jobId")]
    pub job_id: String,
    /// Where the job stands.
    pub state: &'static str,
    /// True when the same command was accepted before, as this job.
    pub duplicate: bool,
}

impl From<&Accepted> for AcceptedView {
    fn from(Accepted { job, duplicate }: &Accepted) -> Self {
        let state = job.progress.status.name();
        Self { job_id: job.id.to_string(), state, duplicate: *duplicate }
    }
}

/// What became of a callback.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CallbackAnswer)]
pub struct CallbackView {
    /// False when it changed nothing: it was known, or the job is over.
    pub applied: bool,
}

/// A job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobView {
    /// Its id; newer jobs have greater ids.
    #[serde(rename = "jobId")]
    pub job_id: String,
    /// Who it belongs to.
    pub tenant_id: String,
    /// What was asked for.
    pub request_type: String,
    /// The protocol that serves it.
    pub protocol_id: String,
    /// DEFAULT or BURST.
    pub mode: &'static str,
    /// Who decided the mode: REQUEST, TENANT_CONFIG or GLOBAL_CONFIG.
    pub decision_source: &'static str,
    /// The same for a person.
    pub decision_reason: String,
    /// Where it stands.
    pub state: &'static str,
    /// The step whose turn it is; null once the job is over.
    pub current_step_id: Option<String>,
    /// Its index; the number of steps once all are done.
    pub current_step_index: usize,
    /// How many attempts all steps had together.
    pub attempts_total: u32,
    /// The registry generation it was accepted under, and keeps.
    pub registry_generation: u64,
    /// The client's name for the document.
    pub doc_id: Option<String>,
    /// 0 (can wait) to 9 (first).
    pub priority: u8,
    /// The bus topic its directives travel in, 0 to 15.
    pub lane: u8,
    /// When it was accepted.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it last changed.
    #[schema(format = DateTime)]
    pub updated_at: String,
    /// When it ended.
    #[schema(format = DateTime)]
    pub completed_at: Option<String>,
    /// Why it failed, for a program.
    pub error_code: Option<String>,
    /// Why it failed, for a person.
    pub error_message: Option<String>,
    /// The client's id for a group of requests.
    pub correlation_id: Option<String>,
    /// The document.
    #[schema(value_type = Value)]
    pub input_ref: Ref,
    /// The folder that gets the results.
    #[schema(value_type = Value)]
    pub output_ref: Ref,
}

impl From<&Job> for JobView {
    fn from(job: &Job) -> Self {
        let (spec, progress) = (&*job.spec, &job.progress);
        let failure = match &progress.status {
            Status::FailedFinal { failure } => Some(failure.clone()),
            Status::Queued
            | Status::Dispatching
            | Status::InProgress
            | Status::Cancelling
            | Status::Succeeded
            | Status::Cancelled => None,
        };
        let current = job.current().filter(|_| !progress.status.is_terminal());
        Self {
            job_id: job.id.to_string(),
            tenant_id: spec.tenant_id.to_string(),
            request_type: spec.request_type.to_string(),
            protocol_id: spec.protocol_id.to_string(),
            mode: spec.mode.resolved_mode.as_str(),
            decision_source: spec.mode.decision_source.as_str(),
            decision_reason: spec.mode.decision_reason.clone(),
            state: progress.status.name(),
            current_step_id: current.map(|(_, step, _)| step.step_id.to_string()),
            current_step_index: progress.current,
            attempts_total: job.attempts_total(),
            registry_generation: spec.generation.0,
            doc_id: spec.doc_id.clone(),
            priority: spec.priority,
            lane: spec.lane.number(),
            created_at: spec.created_at.to_string(),
            updated_at: progress.updated_at.to_string(),
            completed_at: progress.completed_at.as_ref().map(Timestamp::to_string),
            error_code: failure.as_ref().map(|failure| failure.code.clone()),
            error_message: failure.map(|failure| failure.message),
            correlation_id: spec.correlation_id.clone(),
            input_ref: spec.input_ref.clone(),
            output_ref: spec.output_ref.clone(),
        }
    }
}

/// Jobs, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobList)]
pub struct JobListView {
    /// The jobs.
    pub jobs: Vec<JobView>,
    /// Give it as `cursor`, with the same filter, to get the next ones; null at the end.
    pub next_cursor: Option<String>,
}

/// A job's steps, in order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StepList)]
pub struct StepListView {
    /// The steps.
    pub steps: Vec<StepView>,
}

impl From<&Job> for StepListView {
    fn from(job: &Job) -> Self {
        let steps = job.spec.steps.iter().zip(&job.progress.steps);
        Self { steps: steps.map(|(spec, step)| StepView::new(job, spec, step)).collect() }
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
    fn from(Pin { id, version, digest }: &Pin) -> Self {
        Self { id: id.to_string(), version: version.to_string(), digest: digest.to_string() }
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
        Self { percent: *percent, message: message.clone() }
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
            Phase::Waiting { due_at, .. } => {
                Self { next_attempt_at: Some(*due_at), ..Self::default() }
            }
            Phase::Dispatching { attempt, .. } => {
                Self { outbox_state: Some("PENDING"), ..sent(attempt) }
            }
            Phase::AwaitingAck { attempt, .. } | Phase::Settling { attempt, .. } => sent(attempt),
            Phase::InProgress { attempt, lease_expires_at, progress } => Self {
                lease_expires_at: Some(*lease_expires_at),
                progress: progress.as_ref(),
                ..sent(attempt)
            },
            Phase::Skipped { reason } => {
                Self { skip_reason: Some(reason), ..Self::default() }
            }
            Phase::Pending | Phase::Succeeded | Phase::FailedFinal | Phase::Cancelled => {
                Self::default()
            }
        }
    }
}

impl StepView {
    fn new(job: &Job, spec: &StepSpec, step: &Step) -> Self {
        let JobModeView { lane, routing_key_used, resolved_mode, decision_source, decision_reason } =
            JobModeView::from(job);
        let details = PhaseDetails::of(&step.phase);
        let service = details.attempt.map_or(&spec.service, |attempt| &attempt.service);
        Self {
            step_id: spec.step_id.to_string(),
            step_type: spec.step_type.to_string(),
            service: service.to_string(),
            state: step.state_name(),
            attempt_no: step.attempts.0,
            max_attempts: spec.timing.max_attempts,
            lease_expires_at: details.lease_expires_at.as_ref().map(Timestamp::to_string),
            progress: details.progress.map(Into::into),
            plugin: spec.plugin.as_ref().map(Into::into),
            lane,
            routing_key_used,
            resolved_mode,
            decision_source,
            decision_reason,
            artifact_refs: step.artifact_refs.clone(),
            output_ref: step.output_ref.clone(),
            last_error_code: step.last_failure.as_ref().map(|failure| failure.code.clone()),
            last_error_message: step.last_failure.as_ref().map(|failure| failure.message.clone()),
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

/// The host is alive.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
pub struct HealthView {
    /// `ok`.
    pub status: &'static str,
}

/// The host can do its work.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Readiness)]
pub struct ReadinessView {
    /// `ready`.
    pub status: &'static str,
    /// Each thing that was looked at.
    pub checks: ChecksView,
}

/// Each is `ok`, or says in a word what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Checks)]
pub struct ChecksView {
    /// Jobs can be read.
    pub ledger: &'static str,
    /// Directives can be published.
    pub bus: &'static str,
    /// A registry generation is live.
    pub registry: &'static str,
    /// The host is not stopping.
    pub draining: &'static str,
}
