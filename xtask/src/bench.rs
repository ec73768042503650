//! Measures the release build with the program's own load generator, and keeps the numbers.
//!
//! Nothing is asserted: a number says something only beside the machine it was taken on, so that is recorded too.

use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{plugins, setup, shell};

/// What is measured: a name, and the arguments of `lucius bench`.
const CASES: [(&str, &[&str]); 2] = [
    (
        "three steps, 1 in flight",
        &["--in-flight", "1", "--jobs", "500"],
    ),
    (
        "three steps, 64 in flight",
        &["--in-flight", "64", "--jobs", "5000"],
    ),
];

pub(crate) fn run() -> Result<()> {
    setup::run()?;
    plugins::run()?;
    shell::run(&mut shell::cargo(&[
        "build",
        "--release",
        "-p",
        "lucius-server",
        "--bin",
        "lucius",
    ]))?;
    let mut results = Vec::new();
    for (name, arguments) in CASES {
        let mut command = shell::program(shell::lucius());
        command.args(["bench", "--json"]).args(arguments);
        println!("$ {}", shell::typed(&command));
        let output = command.output().context("could not start lucius")?;
        if !output.status.success() {
            bail!(
                "`{}` failed: {}",
                shell::typed(&command),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let result: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`{}` gave no JSON", shell::typed(&command)))?;
        results.push(json!({ "case": name, "arguments": arguments, "result": result }));
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let document = json!({ "cores": cores, "system": std::env::consts::OS, "cases": results });
    let folder = shell::target().join("bench");
    fs::create_dir_all(&folder)?;
    let file = folder.join("results.json");
    fs::write(&file, serde_json::to_string_pretty(&document)?)?;
    print_table(&results);
    println!("\n{cores} cores; all numbers in {}", shell::short(&file));
    Ok(())
}

fn print_table(results: &[Value]) {
    println!();
    for result in results {
        println!("{}", result["case"].as_str().unwrap_or_default());
        for (name, value) in result["result"].as_object().into_iter().flatten() {
            println!("  {name:<28} {value}");
        }
    }
}
