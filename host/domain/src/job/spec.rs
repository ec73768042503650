//! What a job is accepted with, and never changes again.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::contract::Ref;
use crate::id::{Generation, ProtocolId, RequestType, ServiceName, StepId, StepType, TenantId};
use crate::plugin::Pin;
use crate::retry::Timing;
use crate::routing::{Lane, ModeDecision};
use crate::time::Timestamp;

/// What a job was accepted with. Nothing in it ever changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Who it belongs to.
    pub tenant_id: TenantId,
    /// What was asked for.
    pub request_type: RequestType,
    /// The protocol that serves it.
    pub protocol_id: ProtocolId,
    /// The registry generation it was accepted under; see [`super::Job::generation`] for the one it holds.
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
    /// The plugin that decides about it; without one it is routed as declared. See [`super::Job::plugin`] for who does now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<Pin>,
    /// The payload, normalized.
    pub payload: Value,
    /// Waits and budgets.
    pub timing: Timing,
}
