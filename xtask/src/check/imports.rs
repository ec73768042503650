//! Imports run one way: domain <- ports <- {engine, backends} <- server.
//!
//! The rule is what makes the parts exchangeable: a backend that saw the engine could depend on its order of calls,
//! and a domain that saw a clock could not be replayed. It is read from the direct dependencies, dev-dependencies
//! included, since a test that reaches around a border hides that the border is in the wrong place.

use super::Finding;
use super::manifests::{Dependency, Package};

/// Where in the house a crate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Domain,
    Ports,
    Engine,
    Backend,
    Server,
    Platform,
    Sdk,
    Plugin,
    Tests,
    Tools,
}

/// Libraries that would bring effects into the pure part.
const EFFECTS: [&str; 14] = [
    "tokio",
    "async-trait",
    "futures-util",
    "rusqlite",
    "wasmtime",
    "axum",
    "hyper",
    "reqwest",
    "rand",
    "getrandom",
    "tracing",
    "object_store",
    "azure_core",
    "azure_messaging_servicebus",
];
/// Libraries that belong to a backend or the server, never to the ports or the engine.
const CONCRETE: [&str; 10] = [
    "rusqlite",
    "wasmtime",
    "axum",
    "hyper",
    "reqwest",
    "object_store",
    "azure_core",
    "azure_storage",
    "azure_data_tables",
    "azure_messaging_servicebus",
];
/// The only folder that may see the engine that runs plugins.
const WASM_BACKEND: &str = "host/backends/wasm/";

/// Checks one crate's direct dependencies; `file` is its manifest, relative to the root.
pub(super) fn check(file: &str, package: &Package) -> Vec<Finding> {
    let Some(layer) = layer_of(file) else {
        return vec![Finding::error(
            file,
            "stands outside the house",
            "move the crate below host, platform, plugins, tests or xtask",
        )];
    };
    package
        .dependencies
        .iter()
        .filter_map(|dependency| forbidden(file, layer, dependency))
        .collect()
}

fn layer_of(manifest: &str) -> Option<Layer> {
    let folder = manifest.strip_suffix("Cargo.toml")?;
    let layer = match folder {
        "host/domain/" => Layer::Domain,
        "host/ports/" => Layer::Ports,
        "host/engine/" => Layer::Engine,
        "host/server/" => Layer::Server,
        "plugins/sdk/" => Layer::Sdk,
        _ if folder.starts_with("tests/") => Layer::Tests,
        "xtask/" => Layer::Tools,
        _ if folder.starts_with("host/backends/") => Layer::Backend,
        _ if folder.starts_with("platform/") => Layer::Platform,
        _ if folder.starts_with("plugins/") => Layer::Plugin,
        _ => return None,
    };
    Some(layer)
}

fn forbidden(file: &str, layer: Layer, dependency: &Dependency) -> Option<Finding> {
    let name = &dependency.name;
    if name.starts_with("wasmtime") && !file.starts_with(WASM_BACKEND) {
        let what = format!("depends on {name}");
        return Some(Finding::error(
            file,
            what,
            "only host/backends/wasm may; go through the plugin port",
        ));
    }
    let dev = dependency.kind.as_deref() == Some("dev");
    if dependency.path.is_some() {
        let allowed = allowed_crates(layer, dev);
        if !allowed.iter().any(|pattern| matches(pattern, name)) {
            let what = format!(
                "depends on {name}{}",
                if dev { " in its tests" } else { "" }
            );
            let remedy = match allowed {
                [] => "this crate depends on no crate of the workspace".to_owned(),
                _ => format!(
                    "it may only see {}; move what is shared down",
                    allowed.join(", ")
                ),
            };
            return Some(Finding::error(file, what, remedy));
        }
        return None;
    }
    let banned: &[&str] = match layer {
        Layer::Domain if !dev => &EFFECTS,
        Layer::Ports | Layer::Engine if !dev => &CONCRETE,
        Layer::Domain | Layer::Ports | Layer::Engine | Layer::Backend | Layer::Server => &[],
        Layer::Platform | Layer::Sdk | Layer::Plugin | Layer::Tests | Layer::Tools => &[],
    };
    banned.contains(&name.as_str()).then(|| {
        let remedy = "it brings effects into a part that must have none; put it behind a port";
        Finding::error(file, format!("depends on {name}"), remedy)
    })
}

/// The crates of the workspace that a layer may see; a `*` stands for any name.
fn allowed_crates(layer: Layer, dev: bool) -> &'static [&'static str] {
    match (layer, dev) {
        (Layer::Domain | Layer::Platform | Layer::Sdk | Layer::Tools, _) => &[],
        (Layer::Ports, false) => &["lucius-domain"],
        (Layer::Ports, true) => &["lucius-domain", "lucius-memory"],
        (Layer::Engine, false) => &["lucius-domain", "lucius-ports"],
        // The memory backend is the reference that the engine is tried against.
        (Layer::Engine, true) => &["lucius-domain", "lucius-ports", "lucius-memory"],
        // A backend runs the conformance suite that stands beside its port.
        (Layer::Backend, false) => &["lucius-domain", "lucius-ports"],
        // The reference that a backend's answers are compared with.
        (Layer::Backend, true) => &["lucius-domain", "lucius-ports", "lucius-memory"],
        (Layer::Plugin, _) => &["lucius-step-sdk"],
        (Layer::Server | Layer::Tests, _) => &["lucius-*"],
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern
        .strip_suffix('*')
        .map_or(pattern == name, |start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crate_with(name: &str, kind: Option<&str>, local: bool) -> Package {
        Package {
            manifest_path: String::new(),
            description: None,
            license: None,
            dependencies: vec![Dependency {
                name: name.to_owned(),
                kind: kind.map(str::to_owned),
                path: local.then(|| "/w/x".to_owned()),
            }],
        }
    }

    fn findings(file: &str, name: &str, kind: Option<&str>) -> usize {
        check(file, &crate_with(name, kind, name.starts_with("lucius-"))).len()
    }

    #[test]
    fn a_backend_sees_domain_and_ports_but_neither_the_engine_nor_another_backend() {
        let file = "host/backends/sqlite/Cargo.toml";
        assert_eq!(findings(file, "lucius-domain", None), 0);
        assert_eq!(findings(file, "lucius-ports", Some("dev")), 0);
        assert_eq!(findings(file, "lucius-engine", None), 1);
        assert_eq!(findings(file, "lucius-memory", None), 1);
        assert_eq!(findings(file, "lucius-memory", Some("dev")), 0);
    }

    #[test]
    fn the_domain_sees_no_effects_and_no_crate_of_ours() {
        let file = "host/domain/Cargo.toml";
        assert_eq!(findings(file, "serde", None), 0);
        assert_eq!(findings(file, "tokio", None), 1);
        assert_eq!(findings(file, "rand", None), 1);
        assert_eq!(findings(file, "lucius-ports", None), 1);
    }

    #[test]
    fn only_the_wasm_backend_sees_wasmtime() {
        assert_eq!(
            findings("host/backends/wasm/Cargo.toml", "wasmtime", None),
            0
        );
        assert_eq!(findings("host/server/Cargo.toml", "wasmtime", None), 1);
        assert_eq!(
            findings("tests/Cargo.toml", "wasmtime-wasi", Some("dev")),
            1
        );
    }

    #[test]
    fn the_engine_sees_a_backend_only_in_its_tests() {
        let file = "host/engine/Cargo.toml";
        assert_eq!(findings(file, "lucius-memory", None), 1);
        assert_eq!(findings(file, "lucius-memory", Some("dev")), 0);
        assert_eq!(findings(file, "lucius-sqlite", Some("dev")), 1);
    }

    #[test]
    fn the_platform_and_the_plugins_see_nothing_of_the_host() {
        assert_eq!(findings("platform/Cargo.toml", "lucius-domain", None), 1);
        assert_eq!(findings("platform/Cargo.toml", "rusqlite", None), 0);
        assert_eq!(
            findings("plugins/ocr/Cargo.toml", "lucius-step-sdk", None),
            0
        );
        assert_eq!(findings("plugins/ocr/Cargo.toml", "lucius-domain", None), 1);
    }

    #[test]
    fn the_server_names_every_backend() {
        assert_eq!(findings("host/server/Cargo.toml", "lucius-sqlite", None), 0);
        assert_eq!(findings("host/server/Cargo.toml", "axum", None), 0);
    }

    #[test]
    fn a_crate_in_no_known_place_is_a_finding() {
        assert_eq!(findings("extras/Cargo.toml", "serde", None), 1);
    }
}
