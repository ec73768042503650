//! Azurite, the emulator of Azure Storage that the tests of the Azure backends run against.

use anyhow::Result;

use super::{Outcome, npm};

pub(super) fn bring() -> Result<Outcome> {
    npm::bring("tests/azurite/npm", "azurite")
}
