//! A plugin as a registry takes it: its entry, its protocols, and the files that they name.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use lucius_domain::id::Digest;
use lucius_domain::plugin::Description;
use lucius_ports::registry::{Error, Source};
use serde_json::{Value, json};

use super::Candidate;

/// What is placed in a registry.
pub(super) struct Package {
    /// `<id>@<version>`.
    pub(super) name: String,
    /// The entry in `plugins`.
    pub(super) entry: Value,
    /// The entries in `protocols`.
    pub(super) protocols: Vec<Value>,
    /// Files by their place below the registry.
    pub(super) files: BTreeMap<String, Arc<[u8]>>,
}

impl Package {
    /// Puts together what the candidate needs in a registry.
    ///
    /// # Errors
    /// The signature is there and cannot be read.
    pub(super) fn new(candidate: &Candidate, described: &Description) -> anyhow::Result<Self> {
        let Candidate { folder, built, .. } = candidate;
        let name = format!("{}@{}", described.id, described.version);
        let mut files = BTreeMap::from([(built.place(), Arc::clone(&built.bytes))]);
        let mut protocols = folder.manifest.protocols.clone();
        let steps = protocols
            .iter_mut()
            .filter_map(|protocol| protocol["steps"].as_array_mut())
            .flatten();
        for step in steps {
            let ours = described
                .step_types
                .iter()
                .any(|step_type| step["step_type"] == step_type.as_str());
            if ours && step.get("plugin").is_none() {
                step["plugin"] = name.as_str().into();
            }
            let schema = step["payload_schema_ref"].as_str().map(Path::new);
            // What is no file of the folder is a schema that the host has built in, or has to refuse.
            let Some((file, bytes)) = schema
                .and_then(|it| Some((it.file_name()?, std::fs::read(folder.root.join(it)).ok()?)))
            else {
                continue;
            };
            let place = format!(
                "schemas/{}-{}/{}",
                described.id,
                described.version,
                file.display()
            );
            step["payload_schema_ref"] = place.as_str().into();
            files.insert(place, bytes.into());
        }
        let mut entry = folder.entry(built, described);
        if let Some(signature) = folder.signature()? {
            entry["signature"] = signature;
        }
        Ok(Self {
            name,
            entry,
            protocols,
            files,
        })
    }

    /// A registry that holds this plugin alone, unsigned: whom to trust is for the registry that it goes to.
    pub(super) fn alone(&self) -> Value {
        let mut entry = self.entry.clone();
        if let Some(members) = entry.as_object_mut() {
            members.remove("signature");
        }
        json!({ "schema_version": "v1", "protocols": self.protocols, "plugins": [entry] })
    }
}

/// A registry that is not written yet: a manifest, with the package's files in front of those of a folder.
pub(super) struct Prepared<'a> {
    pub(super) manifest: String,
    pub(super) package: &'a Package,
    pub(super) behind: Option<&'a dyn Source>,
}

#[async_trait]
impl Source for Prepared<'_> {
    async fn manifest(&self) -> Result<String, Error> {
        Ok(self.manifest.clone())
    }

    async fn file(&self, path: &str) -> Result<Arc<[u8]>, Error> {
        match (self.package.files.get(path), self.behind) {
            (Some(bytes), _) => Ok(Arc::clone(bytes)),
            (None, Some(behind)) => behind.file(path).await,
            (None, None) => Err(Error::Unreadable(format!(
                "{path}: it is not in the plugin's folder"
            ))),
        }
    }

    async fn keep(&self, _: Digest, _: Arc<[u8]>) -> Result<(), Error> {
        Ok(())
    }

    async fn kept(&self, digest: Digest) -> Result<Arc<[u8]>, Error> {
        Err(Error::Unreadable(format!(
            "component {digest} is not kept here"
        )))
    }

    async fn all_kept(&self) -> Result<Vec<Digest>, Error> {
        Ok(Vec::new())
    }

    async fn forget(&self, _: Digest) -> Result<(), Error> {
        Ok(())
    }
}
