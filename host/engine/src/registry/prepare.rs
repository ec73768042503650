//! From the text of a manifest to a generation that could go live, or to everything that is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lucius_domain::contract;
use lucius_domain::id::{Digest, Generation};
use lucius_domain::plugin::Pin;
use lucius_domain::time::Timestamp;
use lucius_ports::plugin::{Limits, Runtime};
use lucius_ports::registry::Source;
use serde_json::Value;

use super::manifest::{Manifest, PluginSpec, ProtocolSpec, StepDeclaration};
use super::{EntryError, PluginEntry, Protocol, Snapshot, StepEntry};
use crate::schema::{Compiled, Schemas};

/// What preparing needs.
pub(super) struct Workshop<'a> {
    pub(super) runtime: &'a dyn Runtime,
    pub(super) source: &'a dyn Source,
    pub(super) schemas: &'a Schemas,
    pub(super) cap: Limits,
}

/// Where component bytes come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Bytes {
    /// The registry, by the path the entry names; they are kept from then on.
    Registry,
    /// What was kept when the generation first went live.
    Kept,
    /// The same for jobs that are under way: their payloads were checked when they were accepted, so the schemas,
    /// which may be gone from the registry since, are not needed. Such a generation accepts nothing.
    KeptForJobs,
}

impl Workshop<'_> {
    /// Checks everything and reports everything.
    pub(super) async fn prepare(
        &self,
        manifest_text: &str,
        from: Bytes,
        generation: Generation,
        activated_at: Timestamp,
    ) -> Result<Snapshot, Vec<EntryError>> {
        let manifest = self.parse(manifest_text)?;
        let mut errors = duplicates(&manifest);
        if manifest.trust.require_signature {
            errors.push(EntryError::new(
                "trust",
                "require_signature is set, and this version cannot verify signatures: nothing is admitted",
            ));
        }
        let mut plugins = BTreeMap::new();
        for spec in &manifest.plugins {
            match self.admit(spec, from).await {
                Ok(entry) => {
                    plugins.insert(format!("{}@{}", spec.id, spec.version), Arc::new(entry));
                }
                Err(reason) => {
                    let entry = format!("plugin {}@{}", spec.id, spec.version);
                    errors.push(EntryError::new(entry, reason));
                }
            }
        }
        let mut protocols = Vec::new();
        for spec in &manifest.protocols {
            match self.protocol(spec, &manifest, &plugins, from).await {
                Ok(protocol) => protocols.push(Arc::new(protocol)),
                Err(found) => errors.extend(found),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let in_order = manifest.plugins.iter();
        let plugins = in_order
            .filter_map(|spec| {
                plugins
                    .get(&format!("{}@{}", spec.id, spec.version))
                    .cloned()
            })
            .collect();
        let digest = Digest::of(manifest_text.as_bytes());
        let tenants = manifest.tenants;
        Ok(Snapshot {
            generation,
            activated_at,
            digest,
            protocols,
            plugins,
            tenants,
        })
    }

    fn parse(&self, text: &str) -> Result<Manifest, Vec<EntryError>> {
        const FILE: &str = "registry.json";
        let one = |reason: String| vec![EntryError::new(FILE, reason)];
        let document: Value =
            serde_json::from_str(text).map_err(|error| one(format!("is not JSON: {error}")))?;
        let violations = self
            .schemas
            .violations(contract::PROTOCOL_REGISTRY, &document);
        if !violations.is_empty() {
            let errors = violations.into_iter().map(|violation| {
                let place = format!("{FILE}{}", violation.pointer);
                EntryError::new(
                    place,
                    format!("{}; see protocol-registry.v1", violation.message),
                )
            });
            return Err(errors.collect());
        }
        serde_json::from_value(document).map_err(|error| one(error.to_string()))
    }

    async fn admit(&self, spec: &PluginSpec, from: Bytes) -> Result<PluginEntry, String> {
        let declared = Digest::parse(&spec.sha256)
            .ok_or("sha256 is not 64 hexadecimal digits: run cargo xtask plugins")?;
        let bytes = match from {
            Bytes::Registry => self.source.file(&spec.component).await,
            Bytes::Kept | Bytes::KeptForJobs => self.source.kept(declared).await,
        }
        .map_err(|error| format!("component cannot be read: {error}"))?;
        let actual = Digest::of(&bytes);
        if actual != declared {
            return Err(format!(
                "the component's SHA-256 is {actual}, the registry says {declared}: restore the \
                 component, or register the new one as a new version"
            ));
        }
        let limits = spec.limits.capped_by(self.cap);
        let description = self
            .runtime
            .admit(Arc::clone(&bytes), limits)
            .await
            .map_err(|error| error.to_string())?;
        if (&description.id, &description.version) != (&spec.id, &spec.version) {
            return Err(format!(
                "the component says it is {}@{}: name it so in the registry, or use the right component",
                description.id, description.version
            ));
        }
        if let Some(service) = description
            .services
            .iter()
            .find(|service| !spec.services.contains(service))
        {
            return Err(format!(
                "it may route to service \"{service}\", which is not granted: add it to the entry's services"
            ));
        }
        if from == Bytes::Registry {
            self.source
                .keep(actual, bytes)
                .await
                .map_err(|error| error.to_string())?;
        }
        let pin = Pin {
            id: spec.id.clone(),
            version: spec.version.clone(),
            digest: actual,
        };
        let services = spec.services.clone();
        Ok(PluginEntry {
            pin,
            limits,
            services,
            config: spec.config.clone(),
        })
    }

    async fn protocol(
        &self,
        spec: &ProtocolSpec,
        manifest: &Manifest,
        plugins: &BTreeMap<String, Arc<PluginEntry>>,
        from: Bytes,
    ) -> Result<Protocol, Vec<EntryError>> {
        let mut errors = Vec::new();
        let mut steps = Vec::new();
        for step in &spec.steps {
            match self.step(step, manifest, plugins, from).await {
                Ok(entry) => steps.push(entry),
                Err(reason) => errors.push(EntryError::new(
                    format!("protocol {} step {}", spec.protocol_id, step.step_id),
                    reason,
                )),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Protocol {
            protocol_id: spec.protocol_id.clone(),
            request_types: spec.request_types.clone(),
            steps,
            declared: spec.clone(),
        })
    }

    async fn step(
        &self,
        step: &StepDeclaration,
        manifest: &Manifest,
        plugins: &BTreeMap<String, Arc<PluginEntry>>,
        from: Bytes,
    ) -> Result<StepEntry, String> {
        let is_declared = |name: &str| {
            manifest
                .plugins
                .iter()
                .any(|plugin| format!("{}@{}", plugin.id, plugin.version) == name)
        };
        let plugin = match &step.plugin {
            None => None,
            Some(name) => match plugins.get(name) {
                Some(plugin) => Some(Arc::clone(plugin)),
                None if is_declared(name) => {
                    return Err(format!("plugin {name} was refused, see its own entry"));
                }
                None => {
                    return Err(format!(
                        "plugin {name} is not in plugins: add it, or name another"
                    ));
                }
            },
        };
        let payload_schema = match &step.payload_schema_ref {
            None => None,
            Some(_) if from == Bytes::KeptForJobs => None,
            Some(name) => Some(self.payload_schema(name).await?),
        };
        Ok(StepEntry {
            step_id: step.step_id.clone(),
            step_type: step.step_type.clone(),
            service: step.service.clone(),
            plugin,
            payload_schema,
        })
    }

    async fn payload_schema(&self, name: &str) -> Result<Compiled, String> {
        if let Some(built_in) = self.schemas.get(name) {
            return Ok(built_in.clone());
        }
        let bytes = self
            .source
            .file(name)
            .await
            .map_err(|error| format!("payload schema \"{name}\" cannot be read: {error}"))?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| format!("payload schema \"{name}\" is not UTF-8 text"))?;
        Compiled::new(text).map_err(|error| format!("payload schema \"{name}\" is {error}"))
    }
}

/// Names that must be unique and are not.
fn duplicates(manifest: &Manifest) -> Vec<EntryError> {
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    let mut once = |kind: &str, name: String, remedy: &str| {
        if !seen.insert(format!("{kind} {name}")) {
            errors.push(EntryError::new(
                format!("{kind} {name}"),
                format!("appears twice: {remedy}"),
            ));
        }
    };
    for plugin in &manifest.plugins {
        let name = format!("{}@{}", plugin.id, plugin.version);
        once(
            "plugin",
            name,
            "a version is one component; give the other a new version",
        );
    }
    for protocol in &manifest.protocols {
        once(
            "protocol",
            protocol.protocol_id.to_string(),
            "give the other a new id",
        );
        for request_type in &protocol.request_types {
            once(
                "request_type",
                request_type.to_string(),
                "one protocol serves a request type",
            );
        }
        for step in &protocol.steps {
            let name = format!("{}/{}", protocol.protocol_id, step.step_id);
            once("step", name, "step ids are unique in a protocol");
        }
    }
    errors
}
