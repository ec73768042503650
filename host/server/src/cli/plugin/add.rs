//! `lucius plugin add`: places a plugin in a registry folder, so that an operator's next reload activates it.
//!
//! The registry as it would be is checked first, as a host would check it; nothing is written unless it passes. Files
//! are written before `registry.json` names them, and each is replaced as a whole, so a host that reads meanwhile
//! sees the old registry or the new one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use lucius_registry_dir::RegistryDir;
use serde_json::{Value, json};

use super::Judged;
use super::package::{Package, Prepared};
use crate::cli::Failure;
use crate::cli::output;

#[derive(Args)]
pub(in crate::cli) struct Flags {
    #[command(flatten)]
    judged: Judged,
    /// The registry folder
    #[arg(long, default_value = "./registry")]
    registry: PathBuf,
}

pub(super) async fn run(flags: Flags, json: bool) -> Result<(), Failure> {
    let candidate = flags.judged.open()?;
    let sandbox = candidate.sandbox()?;
    let described = candidate
        .admit(&sandbox)
        .await
        .map_err(|error| anyhow::anyhow!("no host would take it: {error}"))?;
    let package = Package::new(&candidate, &described)?;
    let file = flags.registry.join("registry.json");
    let text = fs::read_to_string(&file).with_context(|| {
        format!(
            "cannot read {}: name the folder with --registry",
            file.display()
        )
    })?;
    let mut registry: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))?;
    merge(&mut registry, &package)?;
    let manifest = format!("{registry:#}\n");
    let behind = RegistryDir::new(&flags.registry, flags.registry.join("kept"));
    let source = Prepared {
        manifest: manifest.clone(),
        package: &package,
        behind: Some(&behind),
    };
    if let Err(errors) =
        lucius_engine::registry::check(&source, &sandbox, candidate.settings.cap()).await
    {
        let reasons: Vec<String> = errors.iter().map(ToString::to_string).collect();
        return Err(Failure::Failed(anyhow::anyhow!(
            "nothing is written, since no host would take the registry: {}",
            reasons.join("; ")
        )));
    }
    for (place, bytes) in &package.files {
        write(&flags.registry.join(place), bytes)?;
    }
    write(&file, manifest.as_bytes())?;
    if json {
        let protocols: Vec<&Value> = package
            .protocols
            .iter()
            .map(|it| &it["protocol_id"])
            .collect();
        output::json(&json!({
            "plugin": package.name,
            "digest": candidate.built.digest,
            "registry": file,
            "protocols": protocols,
        }));
    } else {
        output::line(format!("added  {}  to {}", package.name, file.display()));
        output::line("       make it live with lucius registry reload");
    }
    Ok(())
}

/// Puts the package's entries in; those of the same name are replaced.
fn merge(registry: &mut Value, package: &Package) -> anyhow::Result<()> {
    let plugins = list(registry, "plugins")?;
    let same = |entry: &Value| {
        entry["id"] == package.entry["id"] && entry["version"] == package.entry["version"]
    };
    match plugins.iter_mut().find(|entry| same(entry)) {
        Some(entry) if entry["sha256"] != package.entry["sha256"] => bail!(
            "{} is in the registry with another component: a version is one component, so raise the plugin's version",
            package.name
        ),
        Some(entry) => *entry = package.entry.clone(),
        None => plugins.push(package.entry.clone()),
    }
    let protocols = list(registry, "protocols")?;
    for protocol in &package.protocols {
        let same = |there: &Value| there["protocol_id"] == protocol["protocol_id"];
        match protocols.iter_mut().find(|there| same(there)) {
            Some(there) => *there = protocol.clone(),
            None => protocols.push(protocol.clone()),
        }
    }
    Ok(())
}

fn list<'a>(registry: &'a mut Value, name: &str) -> anyhow::Result<&'a mut Vec<Value>> {
    let members = registry
        .as_object_mut()
        .context("registry.json is not an object")?;
    members
        .entry(name)
        .or_insert_with(|| json!([]))
        .as_array_mut()
        .with_context(|| format!("registry.json: {name} is not a list"))
}

/// Replaces a file as a whole.
fn write(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let place = || -> std::io::Result<()> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let fresh = file.with_extension("new");
        fs::write(&fresh, bytes)?;
        fs::rename(&fresh, file)
    };
    place().with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn package(version: &str, sha256: &str) -> Package {
        Package {
            name: format!("a@{version}"),
            entry: json!({ "id": "a", "version": version, "sha256": sha256 }),
            protocols: vec![json!({ "protocol_id": "a.v1", "note": version })],
            files: BTreeMap::new(),
        }
    }

    #[test]
    fn a_version_keeps_its_component_and_a_protocol_moves_on() {
        let mut registry = json!({ "protocols": [{ "protocol_id": "b.v1" }] });
        for wanted in [
            package("1.0.0", "x"),
            package("1.0.0", "x"),
            package("1.1.0", "y"),
        ] {
            merge(&mut registry, &wanted).expect("merged");
        }
        let versions: Vec<&Value> = registry["plugins"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|entry| &entry["version"])
            .collect();
        assert_eq!(versions, ["1.0.0", "1.1.0"]);
        assert_eq!(
            registry["protocols"],
            json!([{ "protocol_id": "b.v1" }, { "protocol_id": "a.v1", "note": "1.1.0" }])
        );
        let refused = merge(&mut registry, &package("1.0.0", "z")).expect_err("another component");
        assert!(refused.to_string().contains("raise the plugin's version"));
    }

    #[test]
    fn a_registry_that_is_none_is_refused() {
        for wrong in [json!([]), json!({ "plugins": {} })] {
            assert!(
                merge(&mut wrong.clone(), &package("1.0.0", "x")).is_err(),
                "{wrong}"
            );
        }
    }
}
