//! Runs the simulator: any number of seeds, each a life of hosts, bus, services and clients with faults of every kind.

use anyhow::Result;

use crate::shell;

/// Runs `seeds` seeds from `from`; with `mutation`, with that deliberate defect.
pub(crate) fn run(seeds: u64, from: u64, mutation: Option<&str>) -> Result<()> {
    let (seeds, from) = (seeds.to_string(), from.to_string());
    let mut arguments = vec![
        "run",
        "--release",
        "-q",
        "-p",
        "lucius-simulation",
        "--",
        "--seeds",
        &seeds,
        "--from",
        &from,
    ];
    arguments.extend(mutation.iter().flat_map(|name| ["--mutation", name]));
    shell::run(&mut shell::cargo(&arguments))
}
