//! Tools from PyPI, into the build folder.
//!
//! A file of the project names them with their versions. A tool counts as there when its launcher stands, which is made
//! last, and the file has not changed since.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context, Result};

use super::{Outcome, launcher, packages};
use crate::shell;

/// Brings the tool `name`, which `requirements` names and the Python code `start` starts.
pub(super) fn bring(name: &str, requirements: &str, start: &str) -> Result<Outcome> {
    let requirements = shell::root().join(requirements);
    let folder = shell::target().join("tools").join(name);
    let launcher = launcher::of(name);
    let kept = folder.join("requirements.txt");
    let same = fs::read(&kept).ok() == fs::read(&requirements).ok();
    if same && launcher.exists() {
        return Ok(Outcome::There(shell::short(&launcher)));
    }
    let python = packages::python().with_context(|| format!("{name} comes through pip"))?;
    launcher::forget(&launcher)?;
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
    shell::run(&mut command)
        .with_context(|| format!("PyPI did not give {name}; see to the network"))?;
    fs::copy(&requirements, &kept)?;
    let script = format!(
        "#!/bin/sh\nPYTHONPATH='{}' exec {python} -c '{start}' \"$@\"\n",
        folder.display()
    );
    launcher::place(&launcher, |launcher| {
        fs::write(launcher, &script)?;
        fs::set_permissions(launcher, fs::Permissions::from_mode(0o755))
    })?;
    Ok(Outcome::Brought(shell::short(&launcher)))
}
