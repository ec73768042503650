//! What a registry would change, and what plugins decided, as they are shown.

use std::collections::BTreeMap;

use lucius_engine::decisions::Asked;
use lucius_engine::registry::{Approval, Difference, Plan, Replay};
use lucius_ports::case::Case;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::trial::word;
use super::{JobView, LimitsView, RegistryView, TrialChangeView};

/// What a registry changes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Plan)]
pub struct PlanView {
    /// The generation that is live before.
    pub generation: u64,
    /// The generation that it is or would be; the same when nothing changes.
    pub next_generation: u64,
    /// Plugins that differ.
    pub plugins: Vec<PluginChangeView>,
    /// Protocols that differ.
    pub protocols: Vec<ProtocolChangeView>,
    /// Trials that differ.
    pub trials: Vec<TrialChangeView>,
    /// True when the settings of tenants differ.
    pub tenants_changed: bool,
    /// What the successors of plugins say to past decisions.
    pub replays: Vec<ReplayView>,
}

/// A plugin that differs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginChange)]
pub struct PluginChangeView {
    /// `<id>@<version>`.
    pub plugin: String,
    /// The SHA-256 of the component; of the live one when it is removed or changed.
    pub digest: String,
    /// `added`, `removed` or `changed`.
    pub change: &'static str,
    /// How many jobs that are not over hold the component. They keep it.
    pub jobs: u64,
}

/// A protocol that differs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProtocolChange)]
pub struct ProtocolChangeView {
    /// Its name.
    pub protocol_id: String,
    /// `added`, `removed` or `changed`.
    pub change: &'static str,
}

/// What the successor of a plugin says to past decisions.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Replay)]
pub struct ReplayView {
    /// Who decided, `<id>@<version>`.
    pub from: String,
    /// Who would decide instead.
    pub to: String,
    /// All of it in one line.
    pub summary: String,
    /// Decisions that were put to the successor.
    pub replayed: u64,
    /// Those on which it agrees.
    pub same: u64,
    /// Those on which it does not, by how.
    pub differ: BTreeMap<String, u64>,
    /// Decisions whose question cannot be made again.
    pub skipped: u64,
    /// A few of the differences.
    pub samples: Vec<DifferenceView>,
}

/// A decision on which two versions do not agree.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Difference)]
pub struct DifferenceView {
    /// Whose.
    #[serde(rename = "jobId")]
    pub job_id: String,
    /// About which step.
    pub step_id: String,
    /// `validate`, `route` or `settle`.
    pub function: &'static str,
    /// How it differs.
    pub kind: String,
    /// What was said.
    pub was: Value,
    /// What the successor says.
    pub now: Value,
}

/// The generation that is live now, and what changed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Activated)]
pub struct ActivatedView {
    /// The generation.
    #[serde(flatten)]
    pub registry: RegistryView,
    /// What changed.
    pub changes: PlanView,
}

/// What an admin approved.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Approval)]
pub struct ApprovalView {
    /// `<id>@<version>`.
    pub plugin: String,
    /// The SHA-256 of the component.
    pub digest: String,
    /// The services that it may route to.
    pub services: Vec<String>,
    /// What one call may use.
    pub limits: LimitsView,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
}

/// What plugins decided about a job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DecisionList)]
pub struct DecisionListView {
    /// The job.
    #[serde(rename = "jobId")]
    pub job_id: String,
    /// The decisions, in order.
    pub decisions: Vec<DecisionView>,
}

/// A decision of a plugin.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Decision)]
pub struct DecisionView {
    /// The number of its event.
    pub seq: u64,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// About which step.
    pub step_id: String,
    /// `validate`, `route` or `settle`.
    pub function: &'static str,
    /// Who decided, `<id>@<version>`.
    pub plugin: String,
    /// The SHA-256 of its component.
    pub digest: String,
    /// The SHA-256 of what it was given, as canonical JSON.
    pub input_digest: String,
    /// How much work it took, in wasmtime fuel.
    pub fuel: u64,
    /// What it said.
    pub answer: Value,
    /// The same as a case that can be run anywhere; null when what was asked cannot be made again.
    pub case: Value,
}

/// A job that was moved to another registry generation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Moved)]
pub struct MovedView {
    /// The job.
    #[serde(flatten)]
    pub job: JobView,
    /// On what the plugins that decide from now on do not agree with those that decided.
    pub differences: Vec<DifferenceView>,
}

impl From<&Plan> for PlanView {
    fn from(plan: &Plan) -> Self {
        let plugins = plan.plugins.iter().map(|it| PluginChangeView {
            plugin: it.plugin.clone(),
            digest: it.digest.to_string(),
            change: word(it.change),
            jobs: it.jobs,
        });
        let protocols = plan.protocols.iter().map(|it| ProtocolChangeView {
            protocol_id: it.protocol.clone(),
            change: word(it.change),
        });
        Self {
            generation: plan.live.0,
            next_generation: plan.next.0,
            plugins: plugins.collect(),
            protocols: protocols.collect(),
            trials: plan.trials.iter().map(Into::into).collect(),
            tenants_changed: plan.tenants,
            replays: plan.replays.iter().map(Into::into).collect(),
        }
    }
}

impl From<&Replay> for ReplayView {
    fn from(replay: &Replay) -> Self {
        Self {
            from: replay.from.clone(),
            to: replay.to.clone(),
            summary: replay.to_string(),
            replayed: replay.replayed,
            same: replay.same,
            differ: replay.differ.clone(),
            skipped: replay.skipped,
            samples: replay.samples.iter().map(Into::into).collect(),
        }
    }
}

impl From<&Difference> for DifferenceView {
    fn from(difference: &Difference) -> Self {
        Self {
            job_id: difference.job.to_string(),
            step_id: difference.step_id.to_string(),
            function: difference.function.as_str(),
            kind: difference.kind.clone(),
            was: difference.was.clone(),
            now: difference.now.clone(),
        }
    }
}

impl From<&Approval> for ApprovalView {
    fn from(approval: &Approval) -> Self {
        Self {
            plugin: approval.plugin.to_string(),
            digest: approval.plugin.digest.to_string(),
            services: approval.services.iter().map(ToString::to_string).collect(),
            limits: approval.limits.into(),
            at: approval.at.to_string(),
        }
    }
}

impl From<&Asked> for DecisionView {
    fn from(asked: &Asked) -> Self {
        let decision = &asked.decision;
        let function = decision.function.as_str();
        let case = asked.call.as_ref().map(|call| Case {
            name: format!("{function} of {}, event {}", asked.step_id, asked.seq),
            plugin: Some(decision.plugin.clone()),
            call: call.clone(),
            expect: asked.answer.clone(),
        });
        Self {
            seq: asked.seq,
            at: asked.at.to_string(),
            step_id: asked.step_id.to_string(),
            function,
            plugin: decision.plugin.to_string(),
            digest: decision.plugin.digest.to_string(),
            input_digest: decision.input_digest.to_string(),
            fuel: decision.fuel,
            answer: asked.answer.clone(),
            // Plain data with text keys always serializes.
            case: serde_json::to_value(&case).unwrap_or(Value::Null),
        }
    }
}
