//! Brings what the project needs and the machine lacks, and says each thing it does.
//!
//! What can live in the build folder goes there. The compiler's wasm target goes where rustup keeps it. Only the
//! recognition programs are installed for the whole machine, and only where that is allowed; anywhere else the one
//! command to run by hand is printed. Running it again costs a few file look-ups.

mod azurite;
mod browser;
mod componentize;
mod launcher;
mod model;
mod npm;
mod packages;
mod pypi;
mod schemathesis;

use anyhow::{Result, bail};

use crate::shell;

const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// Brings everything, or says what to do by hand about each thing that could not be brought.
pub(crate) fn run() -> Result<()> {
    let mut missing = Vec::new();
    for (name, bring) in [
        ("wasm target", wasm_target as fn() -> Result<Outcome>),
        ("recognition", packages::bring),
        ("alert rules", packages::bring_promtool),
        ("model", model::bring),
        ("azurite", azurite::bring),
        ("javascript", componentize::javascript),
        ("python", componentize::python),
        ("browser", browser::bring),
        ("api tester", schemathesis::bring),
    ] {
        match bring() {
            Ok(Outcome::There(place)) => say(name, &format!("already there: {place}")),
            Ok(Outcome::Brought(place)) => say(name, &format!("brought: {place}")),
            Err(error) => {
                say(name, &format!("missing: {error:#}"));
                missing.push(name);
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "set-up is not complete ({}); do what is said above, then repeat",
        missing.join(", ")
    )
}

/// How a thing came to be there, and where it is.
enum Outcome {
    There(String),
    Brought(String),
}

fn say(name: &str, what: &str) {
    println!("  {name:<12} {what}");
}

fn wasm_target() -> Result<Outcome> {
    if target_installed() {
        return Ok(Outcome::There(WASM_TARGET.to_owned()));
    }
    let mut command = shell::program("rustup");
    command.args(["target", "add", WASM_TARGET]);
    let added = shell::run(&mut command);
    if added.is_ok() && target_installed() {
        return Ok(Outcome::Brought(WASM_TARGET.to_owned()));
    }
    bail!(
        "run `rustup target add {WASM_TARGET}`; where rustup cannot, Debian's rustc-web, cargo-web, \
         rust-web-src and lld-22 build it with `RUSTC_BOOTSTRAP=1 cargo build -Zbuild-std=std,panic_abort \
         --target {WASM_TARGET}`"
    )
}

fn target_installed() -> bool {
    let Some(output) = shell::quiet(shell::program("rustc").args(["--print", "sysroot"])) else {
        return false;
    };
    let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let libraries = [&sysroot, "lib", "rustlib", WASM_TARGET, "lib"];
    libraries.iter().collect::<std::path::PathBuf>().is_dir()
}
