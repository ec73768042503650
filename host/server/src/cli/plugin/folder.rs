//! A plugin as its author keeps it: a folder with `plugin.json`, or just the file of a component.
//!
//! What the component says of itself (id, version, step types, services) stands nowhere else, so the two cannot
//! differ. `plugin.json` holds the rest of what a registry entry needs: the limits that are asked for, the
//! configuration, and the protocols that the plugin comes with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lucius_domain::id::Digest;
use lucius_domain::plugin::Description;
use lucius_ports::plugin::Limits;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::cli::{Failure, usage};

/// The file that makes a folder a plugin's.
const MANIFEST: &str = "plugin.json";
/// Who vouches for the component, once it is signed.
pub(super) const SIGNATURE: &str = "signature.json";

/// `plugin.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// Where the built component is, below the folder.
    pub(super) component: PathBuf,
    /// The program and arguments that build it; cargo when absent.
    #[serde(default)]
    pub(super) build: Option<Vec<String>>,
    /// The limits that are asked for; the operator's cap where absent.
    #[serde(default)]
    pub(super) limits: Map<String, Value>,
    /// The plugin's configuration, until an operator writes another.
    #[serde(default)]
    pub(super) config: Map<String, Value>,
    /// Where the golden cases are.
    #[serde(default = "cases")]
    pub(super) cases: PathBuf,
    /// Protocols that the plugin comes with; a step without a `plugin` is this one's.
    #[serde(default)]
    pub(super) protocols: Vec<Value>,
}

fn cases() -> PathBuf {
    PathBuf::from("cases")
}

/// A plugin's folder.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    pub(super) root: PathBuf,
    pub(super) manifest: Manifest,
}

impl Folder {
    /// Opens a folder, or takes a component's file for a plugin that asks for nothing.
    pub(super) fn open(place: &Path) -> Result<Self, Failure> {
        if place.is_file() {
            let component = place.file_name().map(PathBuf::from).unwrap_or_default();
            return Ok(Self {
                root: place.parent().map(Path::to_owned).unwrap_or_default(),
                manifest: Manifest {
                    component,
                    build: None,
                    limits: Map::new(),
                    config: Map::new(),
                    cases: cases(),
                    protocols: Vec::new(),
                },
            });
        }
        let file = place.join(MANIFEST);
        let text = std::fs::read_to_string(&file).map_err(|error| {
            usage(anyhow::anyhow!(
                "cannot read {}: {error}; name a plugin's folder, or make one with lucius plugin new",
                file.display()
            ))
        })?;
        let manifest = serde_json::from_str(&text)
            .map_err(|error| usage(anyhow::anyhow!("{}: {error}", file.display())))?;
        Ok(Self {
            root: place.to_owned(),
            manifest,
        })
    }

    /// A file of the folder.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        below(&self.root, name)
    }

    /// The signature that was made of a component of this folder; none when nobody signed.
    pub(super) fn signature(&self) -> anyhow::Result<Option<Value>> {
        let file = self.beside(SIGNATURE);
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => anyhow::bail!("cannot read {}: {error}", file.display()),
        };
        let signature = serde_json::from_str(&text)
            .map_err(|error| anyhow::anyhow!("{}: {error}; sign again", file.display()))?;
        Ok(Some(signature))
    }

    /// Where the component is.
    pub(super) fn component(&self) -> PathBuf {
        below(&self.root, &self.manifest.component)
    }

    /// The component as it was built.
    pub(super) fn read(&self) -> anyhow::Result<Built> {
        let file = self.component();
        let bytes = std::fs::read(&file).map_err(|error| {
            anyhow::anyhow!(
                "cannot read the component {}: {error}; build it with lucius plugin build",
                file.display()
            )
        })?;
        Ok(Built {
            digest: Digest::of(&bytes),
            bytes: bytes.into(),
        })
    }

    /// What a call of this plugin may use: what is asked for, within the operator's cap.
    pub(super) fn granted(&self, cap: Limits) -> Result<Limits, Failure> {
        let limits = &self.manifest.limits;
        // Read as the host reads it, by the same code.
        let registry = json!({ "protocols": [], "plugins": [{
            "id": "x", "version": "0.0.0", "component": "x", "sha256": "", "limits": limits,
        }]});
        let registry: lucius_engine::registry::Manifest = serde_json::from_value(registry)
            .map_err(|error| usage(anyhow::anyhow!("{MANIFEST}: limits: {error}")))?;
        Ok(registry
            .plugins
            .first()
            .map_or(cap, |plugin| plugin.limits.capped_by(cap)))
    }

    /// The plugin's entry for a registry.
    pub(super) fn entry(&self, built: &Built, described: &Description) -> Value {
        let mut entry = json!({
            "id": described.id,
            "version": described.version,
            "component": built.place(),
            "sha256": built.digest.to_string(),
            "services": described.services,
        });
        for (name, members) in [
            ("limits", &self.manifest.limits),
            ("config", &self.manifest.config),
        ] {
            if !members.is_empty() {
                entry[name] = Value::Object(members.clone());
            }
        }
        entry
    }
}

/// A place below a folder, as a person writes it: nothing in front for the folder they are in.
pub(super) fn below(folder: &Path, place: impl AsRef<Path>) -> PathBuf {
    match folder == Path::new(".") {
        true => place.as_ref().to_owned(),
        false => folder.join(place),
    }
}

/// A component's bytes.
#[derive(Clone, Debug)]
pub(super) struct Built {
    pub(super) bytes: Arc<[u8]>,
    pub(super) digest: Digest,
}

impl Built {
    /// Where a registry keeps it.
    pub(super) fn place(&self) -> String {
        format!("components/{}.wasm", self.digest)
    }
}
