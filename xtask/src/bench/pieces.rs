//! The pieces of a job by themselves, timed by criterion.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::shell;

/// Microseconds a round, by piece.
pub(super) fn run() -> Result<BTreeMap<String, f64>> {
    shell::run(&mut shell::cargo(&[
        "bench",
        "--workspace",
        "--bench",
        "hot_paths",
        "--",
        "--quiet",
        "--warm-up-time",
        "1",
        "--measurement-time",
        "3",
    ]))?;
    let folder = shell::target().join("criterion");
    let mut times = BTreeMap::new();
    for piece in fs::read_dir(&folder)
        .with_context(|| format!("criterion left nothing in {}", shell::short(&folder)))?
    {
        let newest = piece?.path().join("new");
        let Ok(text) = fs::read_to_string(newest.join("estimates.json")) else {
            continue; // reports of several pieces have no numbers of their own
        };
        let of: Value = serde_json::from_str(&fs::read_to_string(newest.join("benchmark.json"))?)?;
        let estimates: Value = serde_json::from_str(&text)?;
        let name = of["title"].as_str().unwrap_or_default().to_owned();
        let nanoseconds = estimates["median"]["point_estimate"].as_f64();
        times.insert(name, nanoseconds.unwrap_or_default() / 1_000.0);
    }
    Ok(times)
}
