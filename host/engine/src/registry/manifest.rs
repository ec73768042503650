//! `registry.json` as types. The schema has been checked before; unknown members are its business.

use std::collections::BTreeMap;

use lucius_domain::id::{
    Digest, PluginId, PluginVersion, ProtocolId, RequestType, ServiceName, StepId, StepType,
    TenantId,
};
use lucius_domain::routing::Mode;
use lucius_ports::plugin::Limits;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::signature::Signature;
use super::trial;

/// The whole registry.
#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    /// What jobs can run.
    pub protocols: Vec<ProtocolSpec>,
    /// The plugins that steps name.
    #[serde(default)]
    pub plugins: Vec<PluginSpec>,
    /// Versions that are tried out.
    #[serde(default)]
    pub trials: Vec<trial::Spec>,
    /// Settings by tenant.
    #[serde(default)]
    pub tenants: BTreeMap<TenantId, Tenant>,
    /// Whose plugins are admitted.
    #[serde(default)]
    pub trust: Trust,
}

/// A list of steps.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ProtocolSpec {
    /// Its name.
    pub protocol_id: ProtocolId,
    /// What it serves.
    pub request_types: Vec<RequestType>,
    /// Its steps, in order.
    pub steps: Vec<StepDeclaration>,
    /// Timings by mode, below a step's own.
    #[serde(default)]
    pub mode_overrides: BTreeMap<String, Overrides>,
}

/// One step of a protocol.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct StepDeclaration {
    /// Its name.
    pub step_id: StepId,
    /// The kind of work.
    pub step_type: StepType,
    /// Who does it.
    pub service: ServiceName,
    /// `<id>@<version>`.
    #[serde(default)]
    pub plugin: Option<String>,
    /// A built-in schema by name, or a file below the registry.
    #[serde(default)]
    pub payload_schema_ref: Option<String>,
    /// Its own timings.
    #[serde(flatten)]
    pub overrides: Overrides,
}

/// Timings that replace the host's.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Overrides {
    /// How long to wait.
    #[serde(default)]
    pub timeout_overrides: Timeouts,
    /// How often to try.
    #[serde(default)]
    pub retry_overrides: Retries,
}

/// How long to wait.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Timeouts {
    /// For the ACK, in seconds.
    #[serde(default)]
    pub ack_seconds: Option<f64>,
    /// The lease, in seconds.
    #[serde(default)]
    pub lease_seconds: Option<f64>,
    /// How long one attempt may run, in seconds.
    #[serde(default)]
    pub deadline_seconds: Option<f64>,
}

/// How often to try.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Retries {
    /// Attempts a step may have.
    #[serde(default)]
    pub max_attempts: Option<u32>,
    /// The waits before attempts 2, 3, 4 ..., in milliseconds.
    #[serde(default)]
    pub backoff_ms: Option<Vec<u64>>,
}

/// A plugin.
#[derive(Clone, Debug, Deserialize)]
pub struct PluginSpec {
    /// Its id.
    pub id: PluginId,
    /// Its version.
    pub version: PluginVersion,
    /// The component's path below the registry.
    pub component: String,
    /// The component's SHA-256.
    pub sha256: String,
    /// What a call may use; the host's cap where absent.
    #[serde(default)]
    pub limits: PartialLimits,
    /// The services it may route to.
    #[serde(default)]
    pub services: Vec<ServiceName>,
    /// Handed to it with every call.
    #[serde(default = "empty_object")]
    pub config: Value,
    /// Who vouches for it.
    #[serde(default)]
    pub signature: Option<Signature>,
}

/// Limits of which some may be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartialLimits {
    /// Linear memory, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Time of a call, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// Work of a call, in wasmtime fuel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// What a call may return, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
}

impl PartialLimits {
    /// The smaller of what is asked for and the cap.
    pub fn capped_by(self, cap: Limits) -> Limits {
        let asked = Limits {
            memory_bytes: self.memory_bytes.unwrap_or(cap.memory_bytes),
            deadline_ms: self.deadline_ms.unwrap_or(cap.deadline_ms),
            fuel: self.fuel.unwrap_or(cap.fuel),
            output_bytes: self.output_bytes.unwrap_or(cap.output_bytes),
        };
        asked.capped_by(cap)
    }
}

/// A tenant's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Tenant {
    /// The mode of jobs that do not ask for one.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// Jobs in flight.
    #[serde(default)]
    pub inflight: Option<u64>,
}

/// Whose plugins are admitted.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Trust {
    /// True when every plugin must be signed.
    #[serde(default)]
    pub require_signature: bool,
    /// The keys that may sign.
    #[serde(default)]
    pub keys: Vec<TrustedKey>,
    /// Components that are refused, whoever signed them.
    #[serde(default)]
    pub deny: Vec<Denied>,
}

/// A key that may sign.
#[derive(Clone, Debug, Deserialize)]
pub struct TrustedKey {
    /// Its name.
    pub key_id: String,
    /// The key in Base64.
    pub public_key: String,
    /// The plugins that it may sign; any when absent.
    #[serde(default)]
    pub plugins: Option<Vec<PluginId>>,
}

/// A component that is refused.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Denied {
    /// Its SHA-256.
    pub sha256: Digest,
    /// Why, for whoever reads the refusal.
    pub reason: String,
}

fn empty_object() -> Value {
    Value::Object(serde_json::Map::new())
}
