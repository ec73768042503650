//! Builds the platform's plugins and places them in the registry by digest.
//!
//! Components are build output, so neither they nor the digests that name them are committed: the registry is
//! rendered from its template each time. A component keeps its name as long as its bytes stay the same, and older
//! ones are left where they are, for a running job may still be pinned to them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{component, registry, shell};

/// The guest crates: the id in the registry, and the package.
const PLUGINS: [(&str, &str); 3] = [
    ("ocr", "lucius-plugin-ocr"),
    ("embedding", "lucius-plugin-embedding"),
    ("sis", "lucius-plugin-sis"),
];
const WASM_TARGET: &str = "wasm32-unknown-unknown";
const PROFILE: &str = "plugin";

/// Builds every plugin and writes the registry.
pub(crate) fn run() -> Result<()> {
    let mut arguments = vec![
        "build",
        "--profile",
        PROFILE,
        "--target",
        WASM_TARGET,
        "--quiet",
        "--lib",
    ];
    for (_, package) in PLUGINS {
        arguments.extend(["-p", package]);
    }
    shell::run(shell::cargo(&arguments).env("CARGO_ENCODED_RUSTFLAGS", placeless_flags()))?;

    let folder = shell::root().join("registry");
    let modules = shell::target().join(WASM_TARGET).join(PROFILE);
    let mut placed = BTreeMap::new();
    for (id, package) in PLUGINS {
        let module = modules.join(format!("{}.wasm", package.replace('-', "_")));
        let built = place(&module, &folder).with_context(|| format!("plugin {id}"))?;
        println!("  {id:<10} {:>4} KB  {}", built.bytes / 1024, built.path);
        placed.insert(id.to_owned(), built);
    }
    let rendered = registry::render(&read(&folder.join("registry.template.json"))?, &placed)?;
    let file = folder.join("registry.json");
    write_changed(&file, rendered.as_bytes())?;
    println!("  registry   {}", shell::short(&file));
    Ok(())
}

/// Compiler flags that keep this machine's folders out of the binary (they would stand in the texts of panics), so
/// that the same source gives the same digest in every clone.
fn placeless_flags() -> String {
    let home = std::env::var_os("HOME").map_or_else(|| "~".into(), PathBuf::from);
    let cargo_home = std::env::var_os("CARGO_HOME").map_or(home.join(".cargo"), PathBuf::from);
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    // Cargo's own separator for flags that may hold blanks.
    [remap(&shell::root(), "lucius"), remap(&cargo_home, "cargo")].join("\u{1f}")
}

/// Makes a component of a module and puts it under `registry` by its digest.
fn place(module: &Path, registry: &Path) -> Result<registry::Placed> {
    let bytes = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let component = component::encode(&bytes)?;
    let path = format!("components/{}.wasm", component.sha256);
    let file = registry.join(&path);
    fs::create_dir_all(registry.join("components"))?;
    write_changed(&file, &component.bytes)?;
    Ok(registry::Placed {
        path,
        sha256: component.sha256,
        bytes: component.bytes.len(),
    })
}

/// Replaces a file as a whole, and only when it would change: a host that watches the registry sees old or new.
fn write_changed(file: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(file).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    let fresh = file.with_extension("new");
    fs::write(&fresh, bytes)
        .and_then(|()| fs::rename(&fresh, file))
        .with_context(|| format!("cannot write {}", file.display()))
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}
