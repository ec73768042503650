//! Azurite, the emulator of Azure Storage that the tests of the Azure backends run against.
//!
//! It is an npm package. The lock file beside its manifest names every package below it with its digest, and none of
//! their install scripts is run. It stands in the build folder, whole or not at all.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::Outcome;
use crate::shell;

/// Where manifest and lock file are.
const SOURCE: &str = "tests/azurite/npm";
const FILES: [&str; 2] = ["package.json", "package-lock.json"];
/// The oldest Node.js that Azurite runs on.
const NODE_MAJOR: u32 = 20;

pub(super) fn bring() -> Result<Outcome> {
    let folder = shell::target().join("azurite");
    check_node()?;
    if there(&folder) {
        return Ok(Outcome::There(shell::short(&folder)));
    }
    let work = shell::target().join(".azurite.new");
    for old in [&work, &folder] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| format!("cannot replace {}", old.display()))?;
        }
    }
    fs::create_dir_all(&work).with_context(|| format!("cannot write to {}", work.display()))?;
    for file in FILES {
        fs::copy(shell::root().join(SOURCE).join(file), work.join(file))?;
    }
    let mut install = shell::program("npm");
    install.args([
        "ci",
        "--ignore-scripts",
        "--omit=dev",
        "--no-audit",
        "--no-fund",
    ]);
    shell::run(install.current_dir(&work))?;
    fs::rename(&work, &folder)?;
    Ok(Outcome::Brought(shell::short(&folder)))
}

/// The lock file is copied with the packages, so the same one means the same packages.
fn there(folder: &Path) -> bool {
    let same = |file: &&str| {
        let wanted = fs::read(shell::root().join(SOURCE).join(file)).ok();
        wanted.is_some() && wanted == fs::read(folder.join(file)).ok()
    };
    FILES.iter().all(same) && folder.join("node_modules/azurite").is_dir()
}

fn check_node() -> Result<()> {
    let version = shell::quiet(shell::program("node").arg("--version"));
    let text = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let major: Option<u32> = text
        .as_deref()
        .and_then(|text| text.trim_start_matches('v').split('.').next()?.parse().ok());
    match major {
        Some(major) if major >= NODE_MAJOR => Ok(()),
        Some(_) | None => bail!(
            "Node.js {NODE_MAJOR} or later with npm is needed to test against Azurite; found {}",
            text.as_deref().unwrap_or("none")
        ),
    }
}
