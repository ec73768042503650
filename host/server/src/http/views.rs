//! What the API shows. These structs are the interface, and the OpenAPI document is made from them; the domain's own
//! types are not shown, so that a field that is added there does not leave the house by itself.
//!
//! Lease ids and callback tokens are secrets of their attempt: no view has a field for them.

use lucius_domain::contract::Ref;
use lucius_domain::job::Job;
use lucius_domain::time::Timestamp;
use lucius_engine::accept::Accepted;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

mod access;
mod dead_letters;
mod event;
mod gates;
mod host;
mod plan;
mod registry;
mod step;
mod trial;

pub use access::{AuditEntryView, AuditListView, KeyListView, KeyView, NewKeyView, WantedKeyView};
pub use dead_letters::{
    DeadGroupView, DeadLettersView, DeadQueueView, RedriveListView, RedriveView, RefusedView,
};
pub use event::{EventListView, EventView};
pub use gates::{
    GateView, GatesView, MannerView, PauseListView, PauseView, ResumeView, StoreHealthView,
    WantedPauseView,
};
pub use host::{HostListView, HostView};
pub use plan::{
    ActivatedView, ApprovalView, DecisionListView, DecisionView, DifferenceView, MovedView,
    PlanView, PluginChangeView, ProtocolChangeView, ReplayView,
};
pub use registry::{
    EntryErrorView, GenerationView, LimitsView, PluginEntryView, ProtocolStepView, ProtocolView,
    QuarantineView, RegistryView, ReloadView,
};
pub use step::{PinView, ProgressView, StepListView, StepView};
pub use trial::{SampleView, TrialChangeView, TrialView};

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
        Self {
            job_id: job.id.to_string(),
            state,
            duplicate: *duplicate,
        }
    }
}

/// What became of a callback.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CallbackAnswer)]
pub struct CallbackView {
    /// False when it changed nothing, since its attempt was decided or the job is over; a repetition gets the
    /// answer of the first.
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
    /// The registry generation it holds: the one it was accepted under, unless it was moved to another.
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
        let failure = job.failure().cloned();
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
            registry_generation: job.generation().0,
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
    /// A registry generation is live; `degraded` when it is an older one, since what came after it was refused.
    pub registry: &'static str,
    /// The host is not stopping.
    pub draining: &'static str,
}
