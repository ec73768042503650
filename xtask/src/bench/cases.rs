//! The runs of `lucius bench`, each with a host and data of its own unless it says otherwise.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use crate::shell;

/// How many jobs are in flight in the runs that show how throughput and latency go together.
pub(super) const IN_FLIGHT: [u32; 5] = [1, 4, 16, 64, 256];
/// Finished jobs in the ledger that has grown.
const GROWN: u32 = 1_000_000;
/// Jobs that a killed host leaves unfinished.
const UNFINISHED: u32 = 100_000;

/// Everything, by name.
pub(super) fn run() -> Result<Value> {
    let mut cases = Map::new();
    for in_flight in IN_FLIGHT {
        let jobs = if in_flight == 1 { "2000" } else { "20000" };
        let in_flight = in_flight.to_string();
        let result = lucius(&[
            "--in-flight",
            &in_flight,
            "--jobs",
            jobs,
            "--warm-up",
            "1000",
        ])?;
        cases.insert(format!("closed {in_flight}"), result);
    }
    let many = lucius(&["--jobs", "100000", "--warm-up", "1000"])?;
    let best = many["jobs_per_second"].as_f64().unwrap_or(1_000.0);
    cases.insert("100,000 jobs".to_owned(), many);

    let half = format!("{:.0}", best / 2.0);
    cases.insert(
        "open, half of the best rate".to_owned(),
        lucius(&["--rate", &half, "--seconds", "30", "--in-flight", "1000"])?,
    );
    let ten_times = format!("{:.0}", best * 10.0);
    cases.insert(
        "open, ten times the best rate".to_owned(),
        lucius(&["--rate", &ten_times, "--seconds", "60"])?,
    );
    for (name, payload) in [("payload of 1 KiB", "1024"), ("payload of 16 KiB", "16384")] {
        let result = lucius(&["--payload-bytes", payload, "--jobs", "5000"])?;
        cases.insert(name.to_owned(), result);
    }

    let scratch = tempfile::tempdir()?;
    let data = scratch.path().join("starts");
    for name in ["start, cold", "start, warm"] {
        cases.insert(
            name.to_owned(),
            on(&data, &["--jobs", "1", "--warm-up", "0"])?,
        );
    }
    let data = scratch.path().join("recovery");
    let unfinished = UNFINISHED.to_string();
    cases.insert(
        "recovery".to_owned(),
        on(&data, &["--recovery", &unfinished])?,
    );

    let data = scratch.path().join("grown");
    let twenty_thousand = ["--jobs", "20000", "--warm-up", "1000"];
    cases.insert("small ledger".to_owned(), on(&data, &twenty_thousand)?);
    grow(&data)?;
    cases.insert("grown ledger".to_owned(), on(&data, &twenty_thousand)?);
    Ok(Value::Object(cases))
}

/// Multiplies the finished jobs of a ledger.
fn grow(data: &Path) -> Result<()> {
    let program = shell::target().join("release/examples/grow");
    shell::run(shell::program(program).arg(data).arg(GROWN.to_string()))
}

fn on(data: &Path, arguments: &[&str]) -> Result<Value> {
    let data = data
        .to_str()
        .context("the temporary folder has an odd name")?;
    lucius(&[&["--data-dir", data], arguments].concat())
}

pub(super) fn lucius(arguments: &[&str]) -> Result<Value> {
    let mut command = shell::program(shell::lucius());
    measured(command.args(["bench", "--json"]).args(arguments))
}

/// What a `lucius bench --json` says.
pub(super) fn measured(command: &mut Command) -> Result<Value> {
    println!("$ {}", shell::typed(command));
    let output = command.output().context("could not start lucius")?;
    if !output.status.success() {
        bail!(
            "`{}` failed: {}",
            shell::typed(command),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("`{}` gave no JSON", shell::typed(command)))
}
