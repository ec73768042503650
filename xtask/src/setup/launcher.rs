//! The tools that were brought are called by the names they have anywhere, from `target/tools/bin`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::shell;

/// Where the launcher of a tool stands.
pub(super) fn of(name: &str) -> PathBuf {
    shell::target().join("tools/bin").join(name)
}

/// Takes a launcher away, so that what is half brought does not count as there.
pub(super) fn forget(launcher: &Path) -> Result<()> {
    if launcher.symlink_metadata().is_ok() {
        fs::remove_file(launcher)?;
    }
    Ok(())
}

/// Makes a launcher and starts it once.
pub(super) fn place(
    launcher: &Path,
    make: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<()> {
    forget(launcher)?;
    if let Some(folder) = launcher.parent() {
        fs::create_dir_all(folder)?;
    }
    make(launcher).with_context(|| format!("cannot write {}", launcher.display()))?;
    if shell::quiet(shell::program(launcher).arg("--help")).is_none() {
        bail!("{} does not start", launcher.display());
    }
    Ok(())
}
