//! What drives the console in a test: Debian's Chromium, and playwright-core and axe-core, as `tests/browser` names
//! them.

use anyhow::{Result, bail};

use super::{Outcome, npm, packages};
use crate::shell;

const BROWSER: &str = "chromium";

pub(super) fn bring() -> Result<Outcome> {
    let modules = npm::bring("tests/browser", "tools/browser")?;
    if shell::find(BROWSER).is_some() {
        return Ok(modules);
    }
    packages::install(&[BROWSER])?;
    if shell::find(BROWSER).is_none() {
        bail!("the package {BROWSER} is installed, but {BROWSER} is not on PATH; add its folder");
    }
    Ok(Outcome::Brought(BROWSER.to_owned()))
}
