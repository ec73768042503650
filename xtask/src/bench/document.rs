//! The measured parts of docs/performance.md and its plots. What people wrote around them stays.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{cases, goals, plot, registry};
use crate::shell;

const THROUGHPUT: &str = "![Throughput by jobs in flight](performance/throughput.svg)";
const COMPLETE: &str = "![Time to complete by jobs in flight](performance/complete.svg)";
const THREADS: &str = "![Processor time by thread](performance/threads.svg)";

/// Writes every measured part anew.
pub(super) fn write(results: &Value) -> Result<()> {
    let parts = [
        ("machine", machine(results)),
        (
            "goals",
            format!("{}\n\n{THROUGHPUT}\n{COMPLETE}", goals::table(results)?),
        ),
        ("stages", stages(results)),
        ("spent", format!("{}\n\n{THREADS}", spent(results))),
        ("pieces", pieces(results)),
        ("registry", registry::table(results)?),
    ];
    put(&parts)?;
    plots(results)
}

/// Writes the part about plugins and changes of the registry anew.
pub(super) fn write_registry(results: &Value) -> Result<()> {
    put(&[("registry", registry::table(results)?)])
}

/// Puts measured parts into the document.
pub(super) fn put(parts: &[(&str, String)]) -> Result<()> {
    let file = shell::root().join("docs/performance.md");
    let mut text = fs::read_to_string(&file)
        .with_context(|| format!("{} cannot be read", shell::short(&file)))?;
    for (name, part) in parts {
        text = replaced(&text, name, part)
            .with_context(|| format!("{} has no part \"{name}\"", shell::short(&file)))?;
    }
    Ok(fs::write(&file, text)?)
}

/// The text with what stands between `<!-- name -->` and `<!-- /name -->` replaced.
fn replaced(text: &str, name: &str, part: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}{part}\n{end}{after}"))
}

fn machine(results: &Value) -> String {
    let of = |name: &str| {
        let value = &results["machine"][name];
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    format!(
        "{} cores of {}, {}, {}; load average {} at the start.",
        of("cores"),
        of("processor"),
        of("memory"),
        of("system"),
        of("load_before")
    )
}

/// Percentiles of every stage, with 64 in flight and at a constant rate.
fn stages(results: &Value) -> String {
    let mut lines = vec![
        "| run | stage | p50 | p90 | p99 | p99.9 | max |".to_owned(),
        "|---|---|---|---|---|---|---|".to_owned(),
    ];
    for case in [
        "closed 1",
        "closed 64",
        "open, half of the best rate",
        "open, ten times the best rate",
    ] {
        for (stage, times) in results["cases"][case]["times_ms"]
            .as_object()
            .into_iter()
            .flatten()
        {
            let at = |name: &str| goals::short(times[name].as_f64().unwrap_or_default());
            let percentiles = ["p50", "p90", "p99", "p999", "max"].map(at);
            lines.push(format!(
                "| {case} | {stage} | {} |",
                percentiles.join(" | ")
            ));
        }
    }
    lines.join("\n")
}

/// What the host spent on a job.
fn spent(results: &Value) -> String {
    let case = &results["cases"]["closed 64"];
    let mut lines = vec![
        "| with 64 in flight | a job |".to_owned(),
        "|---|---|".to_owned(),
    ];
    let counted = case["per_job"].as_object().into_iter().flatten();
    let used = case["host"].as_object().into_iter().flatten();
    let by_thread = case["host_cpu_seconds_per_1000_jobs_by_thread"].as_object();
    let row = |name: &str, value: f64| {
        format!("| {} | {} |", name.replace('_', " "), goals::short(value))
    };
    for (name, value) in counted.chain(used) {
        if let Some(value) = value.as_f64() {
            lines.push(match name.strip_suffix("seconds_per_1000_jobs") {
                Some(what) => row(&format!("{what} time, µs"), value * 1_000.0),
                None => row(name, value),
            });
        }
    }
    for (thread, seconds) in by_thread.into_iter().flatten() {
        let micros = seconds.as_f64().unwrap_or_default() * 1_000.0;
        if micros >= 1.0 {
            lines.push(row(&format!("of it in {thread}, µs"), micros));
        }
    }
    lines.join("\n")
}

fn pieces(results: &Value) -> String {
    let of = |name: &str| -> BTreeMap<String, f64> {
        serde_json::from_value(results[name].clone()).unwrap_or_default()
    };
    let mut lines = vec!["| piece | a round |".to_owned(), "|---|---|".to_owned()];
    for (piece, micros) in of("pieces") {
        lines.push(format!("| {piece} | {} µs |", goals::short(micros)));
    }
    for (piece, count) in of("instructions") {
        lines.push(format!("| {piece} | {} instructions |", grouped(count)));
    }
    lines.join("\n")
}

fn grouped(count: f64) -> String {
    let digits = format!("{count:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn plots(results: &Value) -> Result<()> {
    let folder = shell::root().join("docs/performance");
    fs::create_dir_all(&folder)?;
    let case = |in_flight: u32| &results["cases"][format!("closed {in_flight}")];
    let bars = |of: &dyn Fn(&Value) -> f64| -> Vec<(String, f64)> {
        let bar = |in_flight: u32| (in_flight.to_string(), of(case(in_flight)));
        cases::IN_FLIGHT.into_iter().map(bar).collect()
    };
    let throughput = bars(&|case| case["jobs_per_second"].as_f64().unwrap_or_default());
    let complete = bars(&|case| {
        case["times_ms"]["complete"]["p50"]
            .as_f64()
            .unwrap_or_default()
    });
    let threads =
        results["cases"]["closed 64"]["host_cpu_seconds_per_1000_jobs_by_thread"].as_object();
    let threads = threads.into_iter().flatten();
    let threads: Vec<(String, f64)> = threads
        .map(|(name, seconds)| (name.clone(), seconds.as_f64().unwrap_or_default() * 1_000.0))
        .filter(|(_, micros)| *micros >= 1.0)
        .collect();
    for (name, svg) in [
        (
            "throughput.svg",
            plot::bars(
                "Three-step jobs a second, by jobs in flight",
                "jobs/s",
                &throughput,
            ),
        ),
        (
            "complete.svg",
            plot::bars(
                "Submit to complete, p50, by jobs in flight",
                "ms",
                &complete,
            ),
        ),
        (
            "threads.svg",
            plot::bars(
                "Where a job's processor time goes, 64 in flight",
                "µs",
                &threads,
            ),
        ),
    ] {
        fs::write(folder.join(name), svg)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_replaced_and_what_is_around_it_stays() {
        let text = "before\n<!-- goals -->\nold\n<!-- /goals -->\nafter\n";
        let new = replaced(text, "goals", "new").expect("it is there");
        assert_eq!(new, "before\n<!-- goals -->\nnew\n<!-- /goals -->\nafter\n");
        assert_eq!(replaced(text, "stages", "new"), None);
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!(
            [7.0, 1_000.0, 1_234_567.0].map(grouped),
            ["7", "1,000", "1,234,567"]
        );
    }
}
