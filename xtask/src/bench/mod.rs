//! Measures the release build: the whole table of goals in one go, one results file, and the document made of it.
//!
//! Nothing is asserted about time: a number says something only beside the machine it was taken on, so that is
//! recorded too. What does not depend on the machine, instructions a piece of work, can be checked; see [`counts`].

mod azure;
mod cases;
mod counts;
mod document;
mod goals;
mod neighbours;
mod pieces;
mod plot;
mod registry;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::{plugins, setup, shell};

/// What `cargo xtask bench` is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Measure everything and write it down.
    Measure,
    /// Measure plugin calls and changes of the registry alone, and write that down.
    Registry,
    /// Compare the instruction counts with the ones that are kept.
    Check,
    /// Keep the instruction counts as they are now.
    Keep,
    /// Measure what a crowd of bad clients costs the others.
    Neighbours,
}

pub(crate) fn run(aim: Aim) -> Result<()> {
    setup::run()?;
    plugins::run()?;
    build()?;
    match aim {
        Aim::Check => counts::check(),
        Aim::Keep => counts::keep(),
        Aim::Neighbours => neighbours::write(&neighbours::run()?),
        Aim::Measure => measure(),
        Aim::Registry => measure_registry(),
    }
}

/// All targets, as the tests build them, so that no library is compiled twice.
fn build() -> Result<()> {
    shell::run(&mut shell::cargo(&[
        "build",
        "--release",
        "--workspace",
        "--all-targets",
    ]))
}

fn measure() -> Result<()> {
    let file = shell::target().join("bench/results.json");
    let mut results = json!({ "machine": machine() });
    let mut keep = |name: &str, part: Value| {
        results[name] = part;
        write(&file, &results)
    };
    let cases = cases::run()?;
    keep("cases", cases.clone())?;
    keep("neighbours", neighbours::run()?)?;
    let pieces = pieces::run()?;
    keep("plugin_share", json!(plugin_share(&cases, &pieces)))?;
    keep("pieces", json!(pieces))?;
    keep("azure", azure::run()?)?;
    keep("registry", registry::run()?)?;
    keep("instructions", json!(counts::take()?))?;
    document::write(&results)?;
    neighbours::write(&results["neighbours"])?;
    println!("\n{}", goals::table(&results)?);
    println!(
        "\nall numbers are in {}, the document is docs/performance.md",
        shell::short(&file)
    );
    Ok(())
}

/// Keeps what is measured so far, also when a later part breaks down.
fn write(file: &Path, results: &Value) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    Ok(fs::write(file, serde_json::to_string_pretty(results)?)?)
}

fn measure_registry() -> Result<()> {
    let results = json!({ "pieces": pieces::run()?, "registry": registry::run()? });
    document::write_registry(&results)?;
    println!("\n{}", registry::table(&results)?);
    Ok(())
}

/// What part of the host's processor time plugin calls take: how many a job makes, by what one takes by itself. Inside
/// the host they run on the threads that do everything else.
fn plugin_share(cases: &Value, pieces: &BTreeMap<String, f64>) -> Option<f64> {
    let job = &cases["closed 64"];
    let all_micros = job["host"]["cpu_seconds_per_1000_jobs"].as_f64()? * 1_000.0;
    let one_micros = pieces.get("plugin call, fresh instance, on this thread")?;
    Some(job["per_job"]["plugin_calls"].as_f64()? * one_micros / all_micros)
}

/// What the numbers were taken on.
fn machine() -> Value {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':'));
        value.map(|(_, value)| value.trim().to_owned())
    };
    json!({
        "cores": cores,
        "processor": field(&read("/proc/cpuinfo"), "model name"),
        "memory": field(&read("/proc/meminfo"), "MemTotal"),
        "system": format!("{} {}", std::env::consts::OS, read("/proc/sys/kernel/osrelease").trim()),
        "load_before": read("/proc/loadavg").split(' ').next(),
    })
}
