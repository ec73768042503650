//! Packages from npm, into the build folder.
//!
//! A folder of the project names them: `package.json`, and a lock file that has every package below them with its
//! digest. None of their install scripts is run. They stand whole or not at all, and the lock file is kept beside them,
//! so the same lock file means the same packages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Outcome, packages};
use crate::shell;

const FILES: [&str; 2] = ["package.json", "package-lock.json"];
/// The oldest Node.js that what the project uses runs on.
const NODE_MAJOR: u32 = 20;

/// Brings what the folder `source` of the project names to `folder` of the build folder.
pub(super) fn bring(source: &str, folder: &str) -> Result<Outcome> {
    let (source, folder) = (shell::root().join(source), shell::target().join(folder));
    check_node()?;
    if there(&source, &folder) {
        return Ok(Outcome::There(shell::short(&folder)));
    }
    let work = folder.with_extension("new");
    for old in [&work, &folder] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| format!("cannot replace {}", old.display()))?;
        }
    }
    fs::create_dir_all(&work).with_context(|| format!("cannot write to {}", work.display()))?;
    for file in FILES {
        fs::copy(source.join(file), work.join(file))?;
    }
    let mut install = shell::program("npm");
    install.args([
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
    ]);
    shell::run(install.current_dir(&work)).context("npm did not give them; see to the network")?;
    fs::rename(&work, &folder)?;
    Ok(Outcome::Brought(shell::short(&folder)))
}

/// Where one of the packages that were brought to `folder` is.
pub(super) fn package(folder: &str, name: &str) -> PathBuf {
    shell::target().join(folder).join("node_modules").join(name)
}

fn there(source: &Path, folder: &Path) -> bool {
    let same = |file: &&str| {
        let wanted = fs::read(source.join(file)).ok();
        wanted.is_some() && wanted == fs::read(folder.join(file)).ok()
    };
    FILES.iter().all(same) && folder.join("node_modules").is_dir()
}

fn check_node() -> Result<()> {
    if shell::find("npm").is_none() {
        packages::install(&["npm"])?;
    }
    let version = shell::quiet(shell::program("node").arg("--version"));
    let text = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let major: Option<u32> = text
        .as_deref()
        .and_then(|text| text.trim_start_matches('v').split('.').next()?.parse().ok());
    match major {
        Some(major) if major >= NODE_MAJOR => Ok(()),
        Some(_) | None => bail!(
            "Node.js {NODE_MAJOR} or later with npm is needed; found {}",
            text.as_deref().unwrap_or("none")
        ),
    }
}
