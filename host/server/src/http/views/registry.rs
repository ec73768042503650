//! The registry as it is shown.

use lucius_engine::Engine;
use lucius_engine::registry::{EntryError, PluginEntry, Protocol, Quarantine, Reload, StepEntry};
use lucius_ports::ledger::{GenerationRecord, Origin};
use lucius_ports::plugin::Limits;
use serde::Serialize;
use utoipa::ToSchema;

use super::TrialView;

/// The live generation, and how it came to be.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Registry)]
pub struct RegistryView {
    /// The number of the one that this host runs, from 1.
    pub generation: u64,
    /// The newest one that any host activated; a higher number means that this host could not run it.
    pub latest_generation: u64,
    /// How it came to be: `source` (the registry was read), `rollback`, or `quarantine` (a plugin was replaced).
    pub origin: &'static str,
    /// True when the registry is not what is live, since it was refused; see `last_reload`.
    pub degraded: bool,
    /// When it was activated.
    #[schema(format = DateTime)]
    pub activated_at: String,
    /// SHA-256 of the manifest, in hexadecimal digits.
    pub digest: String,
    /// Components that were taken out of service.
    pub quarantined: Vec<QuarantineView>,
    /// Its plugins.
    pub plugins: Vec<PluginEntryView>,
    /// Its protocols.
    pub protocols: Vec<ProtocolView>,
    /// The versions that are tried out.
    pub trials: Vec<TrialView>,
    /// What the last attempt to activate a registry came to.
    pub last_reload: ReloadView,
    /// The latest generations before it, newest first.
    pub previous_generations: Vec<GenerationView>,
}

/// A component that was taken out of service.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Quarantine)]
pub struct QuarantineView {
    /// `<id>@<version>`.
    pub plugin: String,
    /// The SHA-256 of the component, in hexadecimal digits.
    pub digest: String,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// Why.
    pub reason: String,
}

/// A plugin that is admitted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Plugin)]
pub struct PluginEntryView {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// The SHA-256 of the component, in hexadecimal digits.
    pub digest: String,
    /// `active`; `canary` or `shadow` while it is tried out; `quarantined` when it broke down on many payloads and no
    /// other version is there to take over.
    pub state: &'static str,
    /// The services it may route to.
    pub services: Vec<String>,
    /// What one call may use.
    pub limits: LimitsView,
}

/// What one call of a plugin may use.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Limits)]
pub struct LimitsView {
    /// Linear memory, in bytes.
    pub memory_bytes: u64,
    /// Time, in milliseconds.
    pub deadline_ms: u64,
    /// Work, in wasmtime fuel.
    pub fuel: u64,
    /// What it may return, in bytes.
    pub output_bytes: u64,
}

/// A list of steps.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Protocol)]
pub struct ProtocolView {
    /// Its name.
    pub protocol_id: String,
    /// What it serves.
    pub request_types: Vec<String>,
    /// Its steps, in order.
    pub steps: Vec<ProtocolStepView>,
}

/// A step of a protocol.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProtocolStep)]
pub struct ProtocolStepView {
    /// Its name.
    pub step_id: String,
    /// The kind of work.
    pub step_type: String,
    /// Who does it.
    pub service: String,
    /// Who decides about it, `<id>@<version>`; null when it is routed as declared.
    pub plugin: Option<String>,
}

/// What an attempt to activate a registry came to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reload)]
pub struct ReloadView {
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// False when it was refused, and an older generation is live.
    pub ok: bool,
    /// Everything that was wrong.
    pub errors: Vec<EntryErrorView>,
}

/// What is wrong with one entry of a registry.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EntryError)]
pub struct EntryErrorView {
    /// Which entry.
    pub entry: String,
    /// What is wrong with it, and what to do.
    pub reason: String,
}

/// A generation on record.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Generation)]
pub struct GenerationView {
    /// Its number.
    pub generation: u64,
    /// When it was activated.
    #[schema(format = DateTime)]
    pub activated_at: String,
    /// SHA-256 of the manifest, in hexadecimal digits.
    pub digest: String,
}

impl RegistryView {
    /// The live generation with what was before it.
    pub fn new(engine: &Engine, records: &[GenerationRecord]) -> Self {
        let registry = engine.registry();
        let (live, last_reload) = (registry.live(), registry.last_reload());
        let quarantined = registry.quarantined();
        let earlier = records
            .iter()
            .filter(|record| record.generation < live.generation);
        let own = records.iter().find(|it| it.generation == live.generation);
        let plugins = live.plugins.iter().map(|plugin| {
            let mut view = PluginEntryView::from(&**plugin);
            let mut trials = live.trials.iter();
            if let Some(trial) = trials.find(|trial| trial.candidate.pin == plugin.pin) {
                view.state = trial.mode.as_str();
            }
            if quarantined.contains_key(&plugin.pin.digest) {
                view.state = "quarantined";
            }
            view
        });
        Self {
            generation: live.generation.0,
            latest_generation: records.first().map_or(0, |latest| latest.generation.0),
            origin: origin(own),
            degraded: !last_reload.errors.is_empty(),
            activated_at: live.activated_at.to_string(),
            digest: live.digest.to_string(),
            quarantined: quarantined.values().map(Into::into).collect(),
            plugins: plugins.collect(),
            protocols: live
                .protocols
                .iter()
                .map(|protocol| protocol.as_ref().into())
                .collect(),
            trials: live
                .trials
                .iter()
                .map(|trial| TrialView::new(trial, engine.comparison(trial)))
                .collect(),
            last_reload: (&last_reload).into(),
            previous_generations: earlier.map(Into::into).collect(),
        }
    }
}

fn origin(record: Option<&GenerationRecord>) -> &'static str {
    match record.map(|record| record.origin) {
        Some(Origin::Source) | None => "source",
        Some(Origin::Rollback { .. }) => "rollback",
        Some(Origin::Quarantine { .. }) => "quarantine",
    }
}

impl From<&Quarantine> for QuarantineView {
    fn from(Quarantine { plugin, at, reason }: &Quarantine) -> Self {
        Self {
            plugin: plugin.to_string(),
            digest: plugin.digest.to_string(),
            at: at.to_string(),
            reason: reason.clone(),
        }
    }
}

impl From<Limits> for LimitsView {
    fn from(limits: Limits) -> Self {
        let Limits {
            memory_bytes,
            deadline_ms,
            fuel,
            output_bytes,
        } = limits;
        Self {
            memory_bytes,
            deadline_ms,
            fuel,
            output_bytes,
        }
    }
}

impl From<&PluginEntry> for PluginEntryView {
    fn from(
        PluginEntry {
            pin,
            limits,
            step_types: _,
            services,
            config: _,
            serial: _,
        }: &PluginEntry,
    ) -> Self {
        Self {
            id: pin.id.to_string(),
            version: pin.version.to_string(),
            digest: pin.digest.to_string(),
            state: "active",
            services: services.iter().map(ToString::to_string).collect(),
            limits: (*limits).into(),
        }
    }
}

impl From<&Protocol> for ProtocolView {
    fn from(protocol: &Protocol) -> Self {
        Self {
            protocol_id: protocol.protocol_id.to_string(),
            request_types: protocol
                .request_types
                .iter()
                .map(ToString::to_string)
                .collect(),
            steps: protocol.steps.iter().map(Into::into).collect(),
        }
    }
}

impl From<&StepEntry> for ProtocolStepView {
    fn from(step: &StepEntry) -> Self {
        Self {
            step_id: step.step_id.to_string(),
            step_type: step.step_type.to_string(),
            service: step.service.to_string(),
            plugin: step.plugin.as_ref().map(|plugin| plugin.pin.to_string()),
        }
    }
}

impl From<&Reload> for ReloadView {
    fn from(Reload { at, errors }: &Reload) -> Self {
        let ok = errors.is_empty();
        Self {
            at: at.to_string(),
            ok,
            errors: errors.iter().map(Into::into).collect(),
        }
    }
}

impl From<&EntryError> for EntryErrorView {
    fn from(error: &EntryError) -> Self {
        let EntryError { entry, reason } = error.clone();
        Self { entry, reason }
    }
}

impl From<&GenerationRecord> for GenerationView {
    fn from(record: &GenerationRecord) -> Self {
        Self {
            generation: record.generation.0,
            activated_at: record.activated_at.to_string(),
            digest: record.digest.to_string(),
        }
    }
}
