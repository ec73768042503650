//! schemathesis, which asks a host whatever its OpenAPI document allows, and more.

use anyhow::Result;

use super::{Outcome, pypi};

pub(super) fn bring() -> Result<Outcome> {
    pypi::bring(
        "schemathesis",
        "tests/openapi/requirements.txt",
        "from schemathesis.cli import schemathesis; schemathesis()",
    )
}
