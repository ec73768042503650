//! Copies of the registry, to be changed and broken.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::places;

/// The registry in a folder of its own.
#[derive(Debug)]
pub struct Copied {
    folder: TempDir,
    /// What registry.json says, once it is written.
    pub manifest: Value,
}

/// A registry without plugins: a step is routed as its protocol declares, and a host starts at once.
///
/// Each protocol is its request type and the names of its steps.
///
/// # Panics
/// There is no room for it.
pub fn plain(protocols: &[(&str, &[&str])]) -> TempDir {
    let protocols: Vec<Value> = protocols
        .iter()
        .map(|(request_type, steps)| {
            let steps = steps.iter().map(|id| {
                serde_json::json!({ "step_id": id, "step_type": id.to_uppercase(), "service": format!("plain-{id}") })
            });
            serde_json::json!({
                "protocol_id": format!("{}.v1", request_type.to_lowercase()),
                "request_types": [request_type],
                "steps": steps.collect::<Vec<_>>(),
            })
        })
        .collect();
    let manifest =
        serde_json::json!({ "schema_version": "v1", "protocols": protocols, "plugins": [] });
    let write = || {
        let folder = TempDir::new()?;
        fs::write(folder.path().join("registry.json"), manifest.to_string())?;
        std::io::Result::Ok(folder)
    };
    write().unwrap_or_else(|error| panic!("no registry: {error}"))
}

impl Copied {
    /// A copy of the registry as it was built.
    ///
    /// # Errors
    /// A file cannot be copied.
    pub fn new() -> anyhow::Result<Self> {
        let built = places::registry();
        let folder = TempDir::new()?;
        let manifest: Value =
            serde_json::from_str(&fs::read_to_string(built.join("registry.json"))?)?;
        let copy = Self { folder, manifest };
        fs::create_dir(copy.path().join("components"))?;
        for plugin in copy.manifest["plugins"].as_array().into_iter().flatten() {
            let component = plugin["component"].as_str().unwrap_or_default();
            fs::copy(built.join(component), copy.path().join(component))?;
        }
        copy.write()?;
        Ok(copy)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the manifest as it is now.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self) -> anyhow::Result<()> {
        Ok(fs::write(
            self.path().join("registry.json"),
            self.manifest.to_string(),
        )?)
    }

    /// The component of a plugin.
    pub fn component(&mut self, id: &str) -> PathBuf {
        let component = self.plugin(id)["component"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        self.path().join(component)
    }

    /// Puts other bytes in a component's place, under their own digest, and writes the manifest.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn replace(&mut self, id: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let digest = hex(bytes);
        let component = format!("components/{digest}.wasm");
        fs::write(self.path().join(&component), bytes)?;
        let plugin = self.plugin(id);
        plugin["sha256"] = digest.into();
        plugin["component"] = component.into();
        self.write()
    }

    /// Keeps one plugin and the protocols that need no other, and writes the manifest; a host starts sooner with it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn only(&mut self, id: &str) -> anyhow::Result<()> {
        let own = format!("{id}@");
        let decided_by_it = |step: &Value| {
            step["plugin"]
                .as_str()
                .is_some_and(|it| it.starts_with(&own))
        };
        if let Some(plugins) = self.manifest["plugins"].as_array_mut() {
            plugins.retain(|plugin| plugin["id"] == id);
        }
        if let Some(protocols) = self.manifest["protocols"].as_array_mut() {
            protocols.retain(|it| {
                it["steps"]
                    .as_array()
                    .is_some_and(|steps| steps.iter().all(decided_by_it))
            });
        }
        self.write()
    }

    /// A component that decides as the plugin's does and is another one for each note, and writes the manifest; its
    /// digest.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn release(&mut self, id: &str, note: &str) -> anyhow::Result<String> {
        let mut bytes = fs::read(self.component(id))?;
        bytes.extend(section(note)?);
        self.replace(id, &bytes)?;
        Ok(self.plugin(id)["sha256"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    /// The entry of a plugin under another version, with a component that says so of itself; it is in the folder, and
    /// not yet in the manifest. Plugins are built with the version `1.0.0`, and versions here are as long.
    ///
    /// # Errors
    /// A file cannot be read or written, or the component does not hold its version.
    pub fn as_version(&mut self, id: &str, version: &str) -> anyhow::Result<Value> {
        let mut bytes = fs::read(self.component(id))?;
        let built = format!("{id}1.0.0");
        let at = bytes
            .windows(built.len())
            .position(|it| it == built.as_bytes());
        let at = at.ok_or_else(|| anyhow::anyhow!("the component does not hold {built}"))?;
        let says = format!("{id}{version}");
        bytes
            .splice(at..at + built.len(), says.bytes())
            .for_each(drop);
        let digest = hex(&bytes);
        let component = format!("components/{digest}.wasm");
        fs::write(self.path().join(&component), bytes)?;
        let mut entry = self.plugin(id).clone();
        entry["version"] = version.into();
        entry["sha256"] = digest.into();
        entry["component"] = component.into();
        Ok(entry)
    }

    /// Lets every step that another version of this plugin decides about be decided about by this one, and writes the
    /// manifest.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn decide_by(&mut self, id: &str, version: &str) -> anyhow::Result<()> {
        let own = format!("{id}@");
        let protocols = self.manifest["protocols"].as_array_mut();
        for protocol in protocols.into_iter().flatten() {
            for step in protocol["steps"].as_array_mut().into_iter().flatten() {
                if step["plugin"]
                    .as_str()
                    .is_some_and(|it| it.starts_with(&own))
                {
                    step["plugin"] = format!("{own}{version}").into();
                }
            }
        }
        self.write()
    }

    /// The entry of a plugin.
    ///
    /// # Panics
    /// There is none.
    pub fn plugin(&mut self, id: &str) -> &mut Value {
        let plugins = self.manifest["plugins"].as_array_mut();
        let entry = plugins.and_then(|list| list.iter_mut().find(|plugin| plugin["id"] == id));
        entry.unwrap_or_else(|| panic!("the registry has no plugin {id}"))
    }

    /// Adds a protocol of one step that no plugin decides about, and writes the manifest.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add_plain_step(&mut self, request_type: &str, service: &str) -> anyhow::Result<()> {
        let step_id = request_type.to_lowercase();
        if let Some(protocols) = self.manifest["protocols"].as_array_mut() {
            protocols.push(serde_json::json!({
                "protocol_id": format!("{step_id}.v1"),
                "request_types": [request_type],
                "steps": [{ "step_id": step_id, "step_type": request_type, "service": service }],
            }));
        }
        self.write()
    }
}

/// A custom section of WebAssembly, which means nothing to a host.
fn section(note: &str) -> anyhow::Result<Vec<u8>> {
    let length = u8::try_from(note.len())?;
    anyhow::ensure!(length < 0x7f, "one byte has to do for each length");
    let mut section = vec![0, length + 1, length];
    section.extend_from_slice(note.as_bytes());
    Ok(section)
}

/// The SHA-256 of some bytes, as registries write it.
pub fn hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
