//! What a service is told to do.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Ref;
use crate::id::{AttemptNo, JobId, LeaseId, ProtocolId, ServiceName, StepId, StepType, TenantId};
use crate::routing::{Lane, Mode};

/// A directive, `directive.v1`: run one attempt of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Directive {
    /// The job.
    #[serde(rename = "jobId")]
    pub job_id: JobId,
    /// Who it belongs to.
    pub tenant_id: TenantId,
    /// The step.
    #[serde(rename = "stepId")]
    pub step_id: StepId,
    /// The protocol the step is part of.
    pub protocol_id: ProtocolId,
    /// The kind of work.
    pub step_type: StepType,
    /// Which attempt this is, from 1.
    pub attempt_no: AttemptNo,
    /// The attempt's fence; every callback repeats it.
    pub lease_id: LeaseId,
    /// The document the job was submitted with.
    pub input_ref: Ref,
    /// The root under which the service writes.
    pub workspace_ref: Ref,
    /// The folder that gets the results.
    pub output_ref: Ref,
    /// What the service needs to know to do the work.
    pub payload: Value,
    /// Where callbacks go.
    pub callback_urls: CallbackUrls,
    /// The bearer token of this very attempt.
    pub callback_token: String,
    /// The service it is for.
    pub service: ServiceName,
    /// The job's mode.
    pub mode: Mode,
    /// The lane it travels in.
    pub lane: Lane,
    /// The key the lane came from.
    pub routing_key_used: String,
    /// What the earlier steps left behind, in order.
    pub inputs: Vec<EarlierStep>,
    /// The client's id for a group of requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// Where callbacks go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallbackUrls {
    /// For the ACK.
    pub ack: String,
    /// For the RESULT.
    pub result: String,
    /// For heartbeats.
    pub heartbeat: String,
}

impl CallbackUrls {
    /// The three below a host's base URL.
    pub fn below(base: &str) -> Self {
        let url = |verb: &str| format!("{}/v1/callbacks/{verb}", base.trim_end_matches('/'));
        Self {
            ack: url("ack"),
            result: url("result"),
            heartbeat: url("heartbeat"),
        }
    }
}

/// What an earlier step left behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EarlierStep {
    /// The step.
    pub step_id: StepId,
    /// Its kind.
    pub step_type: StepType,
    /// True when it was skipped.
    pub skipped: bool,
    /// Where its main artifact was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_ref: Option<Ref>,
    /// What it wrote.
    pub artifact_refs: Vec<Ref>,
}
