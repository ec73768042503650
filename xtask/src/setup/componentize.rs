//! The tools that make components of JavaScript and Python, for the plugins in `plugins/examples`.
//!
//! They come through npm and pip into the build folder, in the versions that the examples name, and are called by the
//! names they have anywhere, from `target/tools/bin`. A folder counts as complete when its launcher stands, which is
//! made last.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Outcome, npm, packages};
use crate::shell;

const EXAMPLES: &str = "plugins/examples/redact";

/// componentize-js, with what its lock file names.
pub(super) fn javascript() -> Result<Outcome> {
    const FOLDER: &str = "tools/componentize-js";
    let outcome = npm::bring(&format!("{EXAMPLES}/javascript"), FOLDER)?;
    let launcher = launcher("componentize-js");
    let program = npm::package(FOLDER, ".bin/componentize-js");
    if launcher.read_link().ok().as_ref() != Some(&program) {
        place(&launcher, |launcher| symlink(&program, launcher))?;
    }
    Ok(outcome)
}

/// componentize-py, in the version that the example names.
pub(super) fn python() -> Result<Outcome> {
    let requirements = shell::root().join(EXAMPLES).join("python/requirements.txt");
    let folder = shell::target().join("tools/componentize-py");
    let launcher = launcher("componentize-py");
    let kept = folder.join("requirements.txt");
    let same = fs::read(&kept).ok() == fs::read(&requirements).ok();
    if same && launcher.exists() {
        return Ok(Outcome::There(shell::short(&launcher)));
    }
    let python = packages::python().context("componentize-py comes through pip")?;
    forget(&launcher)?;
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let mut command = shell::program(&python);
    command
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args(["--root-user-action", "ignore", "--only-binary", ":all:"])
        .arg("--target")
        .arg(&folder)
        .arg("--requirement")
        .arg(&requirements);
    shell::run(&mut command).context("PyPI did not give componentize-py; see to the network")?;
    fs::copy(&requirements, &kept)?;
    let script = format!(
        "#!/bin/sh\nPYTHONPATH='{}' exec {python} -c 'from componentize_py import script; script()' \"$@\"\n",
        folder.display()
    );
    place(&launcher, |launcher| {
        fs::write(launcher, &script)?;
        fs::set_permissions(launcher, fs::Permissions::from_mode(0o755))
    })?;
    Ok(Outcome::Brought(shell::short(&launcher)))
}

fn launcher(name: &str) -> PathBuf {
    shell::target().join("tools/bin").join(name)
}

/// Takes the launcher away, so that what is half brought does not count as there.
fn forget(launcher: &Path) -> Result<()> {
    if launcher.symlink_metadata().is_ok() {
        fs::remove_file(launcher)?;
    }
    Ok(())
}

fn place(launcher: &Path, make: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    if let Some(folder) = launcher.parent() {
        fs::create_dir_all(folder)?;
    }
    make(launcher).with_context(|| format!("cannot write {}", launcher.display()))?;
    if shell::quiet(shell::program(launcher).arg("--help")).is_none() {
        bail!("{} does not start", launcher.display());
    }
    Ok(())
}
