//! The tools that make components of JavaScript and Python, for the plugins in `plugins/examples`.
//!
//! They come through npm and pip in the versions that the examples name.

use std::os::unix::fs::symlink;

use anyhow::Result;

use super::{Outcome, launcher, npm, pypi};

const EXAMPLES: &str = "plugins/examples/redact";

/// componentize-js, with what its lock file names.
pub(super) fn javascript() -> Result<Outcome> {
    const FOLDER: &str = "tools/componentize-js";
    let outcome = npm::bring(&format!("{EXAMPLES}/javascript"), FOLDER)?;
    let launcher = launcher::of("componentize-js");
    let program = npm::package(FOLDER, ".bin/componentize-js");
    if launcher.read_link().ok().as_ref() != Some(&program) {
        launcher::place(&launcher, |launcher| symlink(&program, launcher))?;
    }
    Ok(outcome)
}

/// componentize-py, in the version that the example names.
pub(super) fn python() -> Result<Outcome> {
    pypi::bring(
        "componentize-py",
        &format!("{EXAMPLES}/python/requirements.txt"),
        "from componentize_py import script; script()",
    )
}
