//! What a plugin is built against, carried by this program: the contract and the SDK's sources.
//!
//! An author has the `lucius` program and perhaps nothing else of this project. So `lucius plugin new` writes the
//! contract beside the scaffold, and for Rust the SDK as a path dependency, in the layout that they have here. The
//! manifest that is written stands alone: what it takes from the workspace here is filled in, so it cannot drift.

use anyhow::Context as _;
use toml::{Table, Value};

/// The contract, and where it stands below the folder of all that is embedded.
pub(super) const CONTRACT: (&str, &str) = (
    "wit/step-1.0.0/step.wit",
    include_str!("../../../../../wit/step-1.0.0/step.wit"),
);

/// The versions that this program was built and tested with.
pub(super) const LOCK: &str = include_str!("../../../../../Cargo.lock");

const SDK: &str = "plugins/sdk";
const SDK_MANIFEST: &str = include_str!("../../../../../plugins/sdk/Cargo.toml");
const WORKSPACE_MANIFEST: &str = include_str!("../../../../../Cargo.toml");

macro_rules! sdk_sources {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../../../../plugins/sdk/src/", $name)))),*]
    };
}

const SDK_SOURCES: [(&str, &str); 9] = sdk_sources![
    "bindings.rs",
    "context.rs",
    "decision.rs",
    "document.rs",
    "exported.rs",
    "lib.rs",
    "log.rs",
    "testing.rs",
    "violation.rs",
];

/// The SDK as files below the folder of all that is embedded.
///
/// # Errors
/// The manifests that were embedded do not fit each other, which a test rules out.
pub(super) fn sdk() -> anyhow::Result<Vec<(String, String)>> {
    let mut files: Vec<(String, String)> = SDK_SOURCES
        .iter()
        .map(|(name, text)| (format!("{SDK}/src/{name}"), (*text).to_owned()))
        .collect();
    files.push((format!("{SDK}/Cargo.toml"), standalone_manifest()?));
    Ok(files)
}

fn standalone_manifest() -> anyhow::Result<String> {
    let workspace: Table = WORKSPACE_MANIFEST.parse()?;
    let workspace = table(&workspace, "workspace")?;
    let mut manifest: Table = SDK_MANIFEST.parse()?;
    for (section, source) in [("package", "package"), ("dependencies", "dependencies")] {
        let shared = table(workspace, source)?;
        let own = manifest.get_mut(section).and_then(Value::as_table_mut);
        for (name, value) in own.with_context(|| format!("the SDK has no [{section}]"))? {
            if value.get("workspace").and_then(Value::as_bool) == Some(true) {
                let here = shared.get(name);
                *value = here
                    .with_context(|| format!("the workspace has no {section}.{name}"))?
                    .clone();
            }
        }
    }
    Ok(manifest.to_string())
}

fn table<'a>(of: &'a Table, name: &str) -> anyhow::Result<&'a Table> {
    of.get(name)
        .and_then(Value::as_table)
        .with_context(|| format!("the manifest has no [{name}]"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_source_file_of_the_sdk_is_embedded() {
        let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/sdk/src");
        let there: BTreeSet<String> = std::fs::read_dir(sources)
            .expect("the SDK is part of this checkout")
            .map(|entry| entry.expect("an entry").file_name().display().to_string())
            .collect();
        let embedded = SDK_SOURCES.iter().map(|(name, _)| (*name).to_owned());
        assert_eq!(embedded.collect::<BTreeSet<_>>(), there);
    }

    #[test]
    fn the_sdks_manifest_stands_without_this_workspace() {
        let manifest = standalone_manifest().expect("the manifests fit");
        assert!(!manifest.contains("workspace"), "{manifest}");
        let parsed: Table = manifest.parse().expect("TOML");
        assert_eq!(parsed["package"]["edition"].as_str(), Some("2024"));
        assert!(parsed["dependencies"]["wit-bindgen"]["version"].is_str());
    }
}
