//! `lucius plugin build`: from source to a component.
//!
//! For Rust, cargo builds a core module, which carries its interface as a custom section, and that becomes a component
//! here, so no further tool is needed. A plugin in another language names its own build in `plugin.json`. Whether the
//! component is any good is not asked here: `lucius plugin check` does.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use wit_component::ComponentEncoder;

use super::folder::Folder;
use crate::cli::Failure;
use crate::cli::output;

const TARGET: &str = "wasm32-unknown-unknown";
/// Defined by the plugin's Cargo.toml.
const PROFILE: &str = "plugin";

pub(super) fn run(folder: &Folder, json: bool) -> Result<(), Failure> {
    match &folder.manifest.build {
        Some(command) => by_command(folder, command)?,
        None => by_cargo(folder)?,
    }
    let built = folder.read()?;
    let place = folder.component();
    let bytes = built.bytes.len();
    if json {
        output::json(&json!({ "component": place, "bytes": bytes, "digest": built.digest }));
    } else {
        output::line(format!("built  {}  {bytes} bytes", place.display()));
        output::line(format!("       sha256 {}", built.digest));
    }
    Ok(())
}

fn by_command(folder: &Folder, command: &[String]) -> anyhow::Result<()> {
    let (program, args) = command
        .split_first()
        .context("plugin.json: build: name a program, or leave it out to build with cargo")?;
    let status = quiet(program, &folder.root)
        .args(args)
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("cannot start {program}, which plugin.json builds with"))?;
    if !status.success() {
        bail!(
            "{} ended with {status}; it says above why",
            command.join(" ")
        );
    }
    Ok(())
}

fn by_cargo(folder: &Folder) -> anyhow::Result<()> {
    prepare_target(&folder.root)?;
    let module = std::fs::read(cargo(&folder.root)?)?;
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|encoder| encoder.encode())
        .context("the module is no step plugin: export one with lucius_step_sdk::export!")?;
    let place = folder.component();
    std::fs::write(&place, component).with_context(|| format!("cannot write {}", place.display()))
}

/// Sees to it that the compiler can build for WebAssembly.
fn prepare_target(root: &Path) -> anyhow::Result<()> {
    if has_target(root)? {
        return Ok(());
    }
    let added = quiet("rustup", root)
        .args(["target", "add", TARGET])
        .stdout(std::io::stderr())
        .status();
    if added.is_ok_and(|status| status.success()) && has_target(root)? {
        return Ok(());
    }
    bail!("this compiler cannot build for {TARGET}: run rustup target add {TARGET}")
}

fn has_target(root: &Path) -> anyhow::Result<bool> {
    let output = quiet("rustc", root)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .context("cannot start rustc: install Rust from https://rustup.rs")?;
    let folder = String::from_utf8_lossy(&output.stdout);
    Ok(output.status.success() && Path::new(folder.trim()).is_dir())
}

/// Builds the module and says where it is.
fn cargo(root: &Path) -> anyhow::Result<PathBuf> {
    let output = quiet("cargo", root)
        .args(["build", "--lib", "--profile", PROFILE, "--target", TARGET])
        .arg("--message-format=json-render-diagnostics")
        .env("CARGO_ENCODED_RUSTFLAGS", placeless_flags(root)?)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo: install Rust from https://rustup.rs")?;
    if !output.status.success() {
        bail!(
            "cargo build ended with {}; it says above why",
            output.status
        );
    }
    // The plugin's own crate is built last.
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter_map(|message| module_of(&message))
        .next_back()
        .context(
            "cargo built no module: Cargo.toml needs [lib] crate-type = [\"cdylib\", \"rlib\"]",
        )
}

fn module_of(message: &Value) -> Option<PathBuf> {
    let files = message["filenames"].as_array()?.iter();
    files
        .filter_map(Value::as_str)
        .find(|file| file.ends_with(".wasm"))
        .map(PathBuf::from)
}

/// Compiler flags that keep this machine's folders out of the component (they would stand in the texts of panics), so
/// that the same source and compiler give the same digest everywhere.
fn placeless_flags(root: &Path) -> anyhow::Result<OsString> {
    let home = std::env::var_os("HOME").map_or_else(|| "~".into(), PathBuf::from);
    let cargo_home = std::env::var_os("CARGO_HOME").map_or(home.join(".cargo"), PathBuf::from);
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let root = root
        .canonicalize()
        .with_context(|| format!("cannot find {}", root.display()))?;
    // Cargo's own separator for flags that may hold blanks.
    Ok([remap(&root, "plugin"), remap(&cargo_home, "cargo")]
        .join("\u{1f}")
        .into())
}

fn quiet(program: &str, root: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root).stdin(Stdio::null());
    command
}
