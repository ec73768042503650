//! `lucius plugin inspect`: what a component is, as far as it can be read.

use anyhow::bail;
use lucius_domain::plugin::Description;
use serde_json::{Value, json};
use wit_component::DecodedWasm;

use super::Candidate;
use crate::cli::Failure;
use crate::cli::output;

/// What a component takes and gives, by the names of the interfaces.
pub(super) struct Anatomy {
    pub(super) imports: Vec<String>,
    pub(super) exports: Vec<String>,
}

impl Anatomy {
    /// Reads it out of the bytes.
    ///
    /// # Errors
    /// They are no component.
    pub(super) fn of(bytes: &[u8]) -> anyhow::Result<Self> {
        let DecodedWasm::Component(resolve, world) = wit_component::decode(bytes)? else {
            bail!("it is a WIT package, not a component");
        };
        let world = &resolve.worlds[world];
        Ok(Self {
            imports: world
                .imports
                .keys()
                .map(|key| resolve.name_world_key(key))
                .collect(),
            exports: world
                .exports
                .keys()
                .map(|key| resolve.name_world_key(key))
                .collect(),
        })
    }

    /// The contract that it is made for, by what it exports.
    fn world(&self) -> Option<String> {
        let export = self
            .exports
            .iter()
            .find(|name| name.starts_with("lucius:step/handler@"))?;
        Some(export.replace("/handler", "/step"))
    }
}

pub(super) async fn run(candidate: &Candidate, json: bool) -> Result<(), Failure> {
    let anatomy = Anatomy::of(&candidate.built.bytes);
    let admitted = candidate.admit(&candidate.sandbox()?).await;
    let (imports, exports, world) = match &anatomy {
        Ok(anatomy) => (
            anatomy.imports.clone(),
            anatomy.exports.clone(),
            anatomy.world(),
        ),
        Err(_) => Default::default(),
    };
    let refusal = admitted.as_ref().err().map(ToString::to_string);
    let limits = limits(candidate);
    if json {
        let limits: serde_json::Map<String, Value> = limits
            .into_iter()
            .map(|(name, asked, granted)| {
                (
                    name.to_owned(),
                    json!({ "asked": asked, "granted": granted }),
                )
            })
            .collect();
        output::json(&json!({
            "component": candidate.folder.component(),
            "bytes": candidate.built.bytes.len(),
            "digest": candidate.built.digest,
            "world": world,
            "imports": imports,
            "exports": exports,
            "plugin": admitted.as_ref().ok(),
            "limits": limits,
            "refusal": refusal,
        }));
    } else {
        let row = |name: &str, text: String| output::line(format!("{name:<11} {text}"));
        row(
            "component",
            candidate.folder.component().display().to_string(),
        );
        row("size", format!("{} bytes", candidate.built.bytes.len()));
        row("digest", candidate.built.digest.to_string());
        row("world", world.unwrap_or_else(|| "-".to_owned()));
        row("imports", listed(&imports));
        row("exports", listed(&exports));
        if let Ok(described) = &admitted {
            let (step_types, services) = names(described);
            row("plugin", format!("{}@{}", described.id, described.version));
            row("step types", step_types);
            row("services", services);
        }
        let rows: Vec<Vec<String>> = limits
            .into_iter()
            .map(|(name, asked, granted)| {
                let asked = asked.map_or_else(|| "-".to_owned(), |asked| asked.to_string());
                vec![name.to_owned(), asked, granted.to_string()]
            })
            .collect();
        output::table(&["limit", "asked", "granted"], &rows);
    }
    match refusal {
        None => Ok(()),
        Some(reason) => Err(Failure::Failed(anyhow::anyhow!(
            "no host would take it: {reason}"
        ))),
    }
}

/// Each limit: what `plugin.json` asks for, and what holds.
pub(super) fn limits(candidate: &Candidate) -> [(&'static str, Option<u64>, u64); 4] {
    let granted = candidate.granted;
    let asked = |name: &str| candidate.folder.manifest.limits.get(name)?.as_u64();
    [
        ("memory_bytes", granted.memory_bytes),
        ("deadline_ms", granted.deadline_ms),
        ("fuel", granted.fuel),
        ("output_bytes", granted.output_bytes),
    ]
    .map(|(name, granted)| (name, asked(name), granted))
}

/// Step types and services as text.
pub(super) fn names(described: &Description) -> (String, String) {
    let step_types: Vec<&str> = described.step_types.iter().map(|it| it.as_str()).collect();
    let services: Vec<&str> = described.services.iter().map(|it| it.as_str()).collect();
    (listed(&step_types), listed(&services))
}

/// Names with commas, or a dash for none.
pub(super) fn listed<S: AsRef<str>>(names: &[S]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    if names.is_empty() {
        "-".to_owned()
    } else {
        names.join(", ")
    }
}
