//! What a job of three steps asks of Table Storage and Service Bus. The black-box test that sets the bounds counts it, on
//! Azurite and on the embedded bus as a namespace, and leaves the counts in a file.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::shell;

const TEST: &str = "azure::a_job_of_three_steps_takes_at_most_25_table_requests_and_12_of_the_bus";

/// Requests and entities a job, by name.
pub(super) fn run() -> Result<Value> {
    let mut test = shell::cargo(&[
        "test",
        "--release",
        "--workspace",
        "--test",
        "blackbox",
        "--",
    ]);
    shell::run(test.args(["--exact", TEST]))?;
    let file = shell::target().join("bench/azure.json");
    let text = fs::read_to_string(&file)
        .with_context(|| format!("{} was to be left by {TEST}", shell::short(&file)))?;
    Ok(serde_json::from_str(&text)?)
}
