//! From the text of a manifest to a generation that could go live, or to everything that is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use futures_util::StreamExt as _;
use lucius_domain::contract;
use lucius_domain::id::{Digest, Generation};
use lucius_domain::plugin::Pin;
use lucius_domain::time::Timestamp;
use lucius_ports::plugin::{Limits, Runtime};
use lucius_ports::registry::Source;
use serde_json::Value;

use super::activate::lock;
use super::manifest::{Manifest, PluginSpec, ProtocolSpec, StepDeclaration};
use super::standing::Standing;
use super::trust::Guard;
use super::{EntryError, PluginEntry, Protocol, Snapshot, StepEntry, trial};
use crate::schema::{Compiled, Schemas};

/// How many components are admitted at once. The runtime bounds how many of them are compiled; this bounds the rest.
const ADMITTED_AT_ONCE: usize = 8;

/// What preparing needs.
pub(super) struct Workshop<'a> {
    pub(super) runtime: &'a dyn Runtime,
    pub(super) source: &'a dyn Source,
    pub(super) schemas: &'a Schemas,
    pub(super) cap: Limits,
    /// Where it is noted what the runtime was given, so that it is dropped even if the registry is refused.
    pub(super) loaded: &'a Mutex<BTreeSet<Digest>>,
}

/// Where the bytes of components and schemas come from.
#[derive(Clone, Copy)]
pub(super) enum Bytes<'a> {
    /// The registry, by the path that the entry names. Only these have to be let in: see [`Guard`].
    Registry(&'a Standing),
    /// What was kept when the generation first went live; payload schemas are found by these digests.
    Kept(&'a BTreeMap<String, Digest>),
    /// The same for jobs that are under way: their payloads were checked when they were accepted, so the schemas,
    /// which may be gone from the registry since, are not needed. Such a generation accepts nothing.
    KeptForJobs,
}

impl Bytes<'_> {
    /// What helps when a file that `member` names cannot be had.
    fn remedy(self, member: &str) -> String {
        match self {
            Self::Registry(_) => format!("put it there, or mend the path in {member}"),
            Self::Kept(_) | Self::KeptForJobs => "choose a later generation".to_owned(),
        }
    }
}

/// A generation that could go live, and what has to be kept for it before it does.
pub(super) struct Prepared {
    pub(super) snapshot: Snapshot,
    pub(super) materials: Materials,
}

/// What a generation was made of.
#[derive(Default)]
pub(super) struct Materials {
    /// Every component and every schema that came from the registry.
    pub(super) files: BTreeMap<Digest, Arc<[u8]>>,
    /// The schemas among them, by the name that the manifest gives them.
    pub(super) schemas: BTreeMap<String, Digest>,
}

/// A name, what it was admitted as, and where bytes come from: what the parts of a manifest are checked against.
struct Parts<'a> {
    manifest: &'a Manifest,
    plugins: BTreeMap<String, Arc<PluginEntry>>,
    from: Bytes<'a>,
}

impl Workshop<'_> {
    /// Checks everything and reports everything. Nothing is written; components that are admitted stay loaded until
    /// the runtime is told to drop them.
    pub(super) async fn prepare(
        &self,
        manifest_text: &str,
        from: Bytes<'_>,
        generation: Generation,
        activated_at: Timestamp,
    ) -> Result<Prepared, Vec<EntryError>> {
        let manifest = self.parse(manifest_text)?;
        let mut errors = duplicates(&manifest);
        let guard = match from {
            Bytes::Registry(standing) => {
                let (guard, found) = Guard::read(&manifest.trust, standing);
                errors.extend(found);
                Some(guard)
            }
            Bytes::Kept(_) | Bytes::KeptForJobs => None,
        };
        let mut materials = Materials::default();
        let mut plugins = BTreeMap::new();
        let guard = guard.as_ref();
        let admissions: Vec<_> = manifest
            .plugins
            .iter()
            .map(|spec| self.admit(spec, from, guard))
            .collect();
        // One after the other, compiling them would leave all processors but one without work.
        let admitted: Vec<_> = futures_util::stream::iter(admissions)
            .buffered(ADMITTED_AT_ONCE)
            .collect()
            .await;
        for (spec, outcome) in manifest.plugins.iter().zip(admitted) {
            let name = format!("{}@{}", spec.id, spec.version);
            match outcome {
                Ok((entry, bytes)) => {
                    materials.files.insert(entry.pin.digest, bytes);
                    plugins.insert(name, Arc::new(entry));
                }
                Err(reason) => errors.push(EntryError::new(format!("plugin {name}"), reason)),
            }
        }
        let mut protocols = Vec::new();
        let parts = Parts {
            manifest: &manifest,
            plugins,
            from,
        };
        for spec in &manifest.protocols {
            match self.protocol(spec, &parts, &mut materials).await {
                Ok(protocol) => protocols.push(Arc::new(protocol)),
                Err(found) => errors.extend(found),
            }
        }
        let (trials, found) = trial::resolve(&manifest, &parts.plugins);
        errors.extend(found);
        if !errors.is_empty() {
            return Err(errors);
        }
        let in_order = manifest.plugins.iter();
        let plugins = in_order
            .filter_map(|spec| {
                parts
                    .plugins
                    .get(&format!("{}@{}", spec.id, spec.version))
                    .cloned()
            })
            .collect();
        let snapshot = Snapshot {
            generation,
            activated_at,
            digest: Digest::of(manifest_text.as_bytes()),
            protocols,
            plugins,
            trials,
            tenants: manifest.tenants,
            deny: manifest.trust.deny,
        };
        Ok(Prepared {
            snapshot,
            materials,
        })
    }

    fn parse(&self, text: &str) -> Result<Manifest, Vec<EntryError>> {
        const FILE: &str = "registry.json";
        let one = |reason: String| vec![EntryError::new(FILE, reason)];
        let document: Value = serde_json::from_str(text)
            .map_err(|error| one(format!("is not JSON: {error}; mend it there")))?;
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

    async fn admit(
        &self,
        spec: &PluginSpec,
        from: Bytes<'_>,
        guard: Option<&Guard<'_>>,
    ) -> Result<(PluginEntry, Arc<[u8]>), String> {
        let declared = Digest::parse(&spec.sha256)
            .ok_or("sha256 is not 64 hexadecimal digits: run cargo xtask plugins")?;
        let bytes = match from {
            Bytes::Registry(_) => self.source.file(&spec.component).await,
            Bytes::Kept(_) | Bytes::KeptForJobs => self.source.kept(declared).await,
        }
        .map_err(|error| {
            format!(
                "component cannot be read: {error}; {}",
                from.remedy("component")
            )
        })?;
        let actual = Digest::of(&bytes);
        if actual != declared {
            return Err(format!(
                "the component's SHA-256 is {actual}, the registry says {declared}: restore the \
                 component, or register the new one as a new version"
            ));
        }
        // Before anything is compiled: what nobody vouches for is not looked into.
        let serial = match guard {
            Some(guard) => guard.check(spec, actual)?,
            None => spec.signature.as_ref().map(|it| it.serial),
        };
        let limits = spec.limits.capped_by(self.cap);
        let description = self
            .runtime
            .admit(Arc::clone(&bytes), limits)
            .await
            .map_err(|error| error.to_string())?;
        lock(self.loaded).insert(actual);
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
        let pin = Pin {
            id: spec.id.clone(),
            version: spec.version.clone(),
            digest: actual,
        };
        let services = spec.services.clone();
        let entry = PluginEntry {
            pin,
            limits,
            step_types: description.step_types,
            services,
            config: spec.config.clone(),
            serial,
        };
        Ok((entry, bytes))
    }

    async fn protocol(
        &self,
        spec: &ProtocolSpec,
        parts: &Parts<'_>,
        materials: &mut Materials,
    ) -> Result<Protocol, Vec<EntryError>> {
        let mut errors = Vec::new();
        let mut steps = Vec::new();
        for step in &spec.steps {
            match self.step(step, parts, materials).await {
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
        parts: &Parts<'_>,
        materials: &mut Materials,
    ) -> Result<StepEntry, String> {
        let is_declared = |name: &str| {
            parts
                .manifest
                .plugins
                .iter()
                .any(|plugin| format!("{}@{}", plugin.id, plugin.version) == name)
        };
        let plugin = match &step.plugin {
            None => None,
            Some(name) => match parts.plugins.get(name) {
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
        if let (Some(plugin), Bytes::Registry(_)) = (&plugin, parts.from)
            && let Some(reason) = plugin.is_not_for(&step.step_type)
        {
            return Err(reason);
        }
        let payload_schema = match &step.payload_schema_ref {
            None => None,
            Some(name) => self.payload_schema(name, parts.from, materials).await?,
        };
        Ok(StepEntry {
            step_id: step.step_id.clone(),
            step_type: step.step_type.clone(),
            service: step.service.clone(),
            plugin,
            payload_schema,
        })
    }

    async fn payload_schema(
        &self,
        name: &str,
        from: Bytes<'_>,
        materials: &mut Materials,
    ) -> Result<Option<Compiled>, String> {
        if let Some(built_in) = self.schemas.get(name) {
            return Ok(Some(built_in.clone()));
        }
        let bytes = match from {
            Bytes::KeptForJobs => return Ok(None),
            Bytes::Registry(_) => self.source.file(name).await,
            Bytes::Kept(schemas) => {
                let digest = schemas
                    .get(name)
                    .ok_or_else(|| format!("payload schema \"{name}\" was not kept"))?;
                self.source.kept(*digest).await
            }
        }
        .map_err(|error| {
            let remedy = from.remedy("payload_schema_ref");
            format!("payload schema \"{name}\" cannot be read: {error}; {remedy}")
        })?;
        let digest = Digest::of(&bytes);
        materials.schemas.insert(name.to_owned(), digest);
        materials.files.insert(digest, Arc::clone(&bytes));
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| format!("payload schema \"{name}\" is not UTF-8 text"))?;
        Compiled::new(text)
            .map(Some)
            .map_err(|error| format!("payload schema \"{name}\" is {error}"))
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
