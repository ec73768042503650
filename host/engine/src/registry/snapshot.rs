//! One generation, resolved: every name is followed to what it stands for.

use std::collections::BTreeMap;
use std::sync::Arc;

use lucius_domain::id::{
    Digest, Generation, ProtocolId, RequestType, ServiceName, StepId, StepType, TenantId,
};
use lucius_domain::plugin::Pin;
use lucius_domain::retry::Timing;
use lucius_domain::routing::Mode;
use lucius_domain::time::Timestamp;
use lucius_ports::plugin::Limits;
use serde_json::Value;

use super::manifest::{Denied, Overrides, ProtocolSpec, Tenant};
use super::trial::Trial;
use crate::schema::Compiled;

/// One generation.
pub struct Snapshot {
    /// Its number.
    pub generation: Generation,
    /// When it was activated.
    pub activated_at: Timestamp,
    /// SHA-256 of the manifest it came from.
    pub digest: Digest,
    /// Its protocols, in the manifest's order.
    pub protocols: Vec<Arc<Protocol>>,
    /// Its plugins, in the manifest's order.
    pub plugins: Vec<Arc<PluginEntry>>,
    /// The versions that are tried out.
    pub trials: Vec<Trial>,
    /// Settings by tenant.
    pub tenants: BTreeMap<TenantId, Tenant>,
    /// Components that it refuses.
    pub deny: Vec<Denied>,
}

impl Snapshot {
    /// The protocol that serves a request type.
    pub fn protocol_for(&self, request_type: &RequestType) -> Option<&Arc<Protocol>> {
        self.protocols
            .iter()
            .find(|protocol| protocol.request_types.contains(request_type))
    }

    /// How many jobs a tenant may have in flight, if it has a limit of its own.
    pub fn tenant_limit(&self, tenant: &TenantId) -> Option<u64> {
        self.tenants.get(tenant).and_then(|it| it.inflight)
    }

    /// Every request type that is served.
    pub fn request_types(&self) -> impl Iterator<Item = &RequestType> {
        self.protocols
            .iter()
            .flat_map(|protocol| &protocol.request_types)
    }

    /// A plugin by what a job has pinned.
    pub fn plugin(&self, pin: &Pin) -> Option<&Arc<PluginEntry>> {
        self.plugins.iter().find(|plugin| plugin.pin == *pin)
    }
}

/// A list of steps.
pub struct Protocol {
    /// Its name.
    pub protocol_id: ProtocolId,
    /// What it serves.
    pub request_types: Vec<RequestType>,
    /// Its steps, in order.
    pub steps: Vec<StepEntry>,
    pub(super) declared: ProtocolSpec,
}

/// One step of a protocol.
pub struct StepEntry {
    /// Its name.
    pub step_id: StepId,
    /// The kind of work.
    pub step_type: StepType,
    /// Who does it.
    pub service: ServiceName,
    /// Who decides about it.
    pub plugin: Option<Arc<PluginEntry>>,
    /// What its payload must look like.
    pub payload_schema: Option<Compiled>,
}

/// A plugin that was admitted.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginEntry {
    /// Id, version and digest.
    pub pin: Pin,
    /// What a call may use.
    pub limits: Limits,
    /// The step types that it says it decides about.
    pub step_types: Vec<StepType>,
    /// The services it may route to.
    pub services: Vec<ServiceName>,
    /// Handed to it with every call.
    pub config: Value,
    /// The serial that its signature covers, when it is signed.
    pub serial: Option<u64>,
}

impl PluginEntry {
    /// Why a step of this type is none that it decides about, if it is none.
    pub(super) fn is_not_for(&self, step_type: &StepType) -> Option<String> {
        if self.step_types.contains(step_type) {
            return None;
        }
        let own: Vec<_> = self.step_types.iter().map(StepType::as_str).collect();
        Some(format!(
            "plugin {} decides about {}, not about {step_type}: name a plugin for {step_type}, or mend step_type",
            self.pin,
            own.join(", ")
        ))
    }
}

impl Protocol {
    /// The timing of a step: its own, else the protocol's for the mode, else the host's.
    pub fn timing(&self, step: usize, mode: Mode, host: &Timing) -> Timing {
        let own = self.declared.steps.get(step).map(|step| &step.overrides);
        let of_mode = self.declared.mode_overrides.get(mode.as_str());
        let mut timing = host.clone();
        for overrides in [of_mode, own].into_iter().flatten() {
            apply(overrides, &mut timing);
        }
        timing
    }
}

fn apply(overrides: &Overrides, timing: &mut Timing) {
    let Overrides {
        timeout_overrides,
        retry_overrides,
    } = overrides;
    if let Some(seconds) = timeout_overrides.ack_seconds {
        timing.ack_ms = milliseconds(seconds);
    }
    if let Some(seconds) = timeout_overrides.lease_seconds {
        timing.lease_ms = milliseconds(seconds);
    }
    if let Some(seconds) = timeout_overrides.deadline_seconds {
        timing.deadline_ms = milliseconds(seconds);
    }
    if let Some(max_attempts) = retry_overrides.max_attempts {
        timing.max_attempts = max_attempts;
    }
    if let Some(backoff_ms) = &retry_overrides.backoff_ms {
        timing.retry_backoff_ms.clone_from(backoff_ms);
    }
}

fn milliseconds(seconds: f64) -> u64 {
    // The schema bounds the value below a day; a float's cast saturates.
    #[expect(
        clippy::as_conversions,
        reason = "saturating, and bounded by the schema"
    )]
    let ms = (seconds * 1_000.0) as u64;
    ms.max(1)
}
