//! What a running host says of itself.

use serde_json::Value;

use super::Finding;
use crate::cli::client::{Client, HostUrl};
use crate::cli::output::text;

/// Signs of life of the sweepers may be this old, in seconds.
const QUIET_S: f64 = 60.0;

pub(super) async fn look(url: &HostUrl) -> Vec<Finding> {
    let client = match Client::new(url) {
        Ok(client) => client,
        Err(error) => {
            return vec![Finding::fail("host", error.to_string(), "see to the --url")];
        }
    };
    let readiness = match client.answer("/readyz").await {
        Ok(readiness) => readiness,
        Err(error) => {
            let advice = "start it, or say --offline if none is meant to run";
            return vec![Finding::fail("host", error.to_string(), advice)];
        }
    };
    let mut findings = vec![ready(&readiness.document)];
    findings.push(clock(readiness.clock_skew_s));
    findings.push(look_at(&client, "/v1/registry", "live registry", registry).await);
    findings.push(look_at(&client, "/v1/dead-letters", "dead letters", dead_letters).await);
    findings.push(match client.text("/metrics").await {
        Ok(metrics) => sweepers(&metrics),
        Err(error) => Finding::warn(
            "sweepers",
            error.to_string(),
            "try a credential that may read /metrics",
        ),
    });
    findings
}

async fn look_at(
    client: &Client,
    path: &str,
    what: &'static str,
    see: fn(&Value) -> Finding,
) -> Finding {
    match client.get(path).await {
        Ok(document) => see(&document),
        Err(error) => Finding::warn(what, error.to_string(), "try a credential that may see it"),
    }
}

fn ready(readiness: &Value) -> Finding {
    let checks = readiness["checks"].as_object();
    let wrong: Vec<String> = checks
        .into_iter()
        .flatten()
        .filter(|(_, state)| *state != "ok")
        .map(|(name, state)| format!("{name} is {}", state.as_str().unwrap_or("unknown")))
        .collect();
    if readiness["status"] == "ready" {
        return Finding::ok("host", "ready");
    }
    let seen = match wrong.is_empty() {
        true => text(readiness, "detail"),
        false => wrong.join(", "),
    };
    Finding::fail(
        "host",
        seen,
        "see the host's log and the runbook, HostNotReady",
    )
}

fn clock(skew_s: Option<i64>) -> Finding {
    match skew_s {
        None => Finding::warn(
            "host clock",
            "the host does not say its time",
            "compare the clocks by hand",
        ),
        Some(skew) if skew.abs() <= 5 => Finding::ok("host clock", "the same as here"),
        Some(skew) => Finding::fail(
            "host clock",
            format!("{skew} s from the clock here"),
            "set both clocks by NTP; hosts that share a ledger must agree",
        ),
    }
}

fn registry(registry: &Value) -> Finding {
    let reload = &registry["last_reload"];
    let generation = text(registry, "generation");
    let errors = reload["errors"].as_array().map_or(0, Vec::len);
    if errors == 0 {
        return Finding::ok("live registry", format!("generation {generation}"));
    }
    Finding::fail(
        "live registry",
        format!(
            "the last reload was refused for {errors} reasons; generation {generation} stays live"
        ),
        "lucius registry status shows the reasons; mend them and lucius registry reload",
    )
}

fn dead_letters(found: &Value) -> Finding {
    let jobs: u64 = found["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|group| group["count"].as_u64())
        .sum();
    let queues = found["queues"].as_array().map_or(0, Vec::len);
    if jobs == 0 && queues == 0 {
        return match found["queues_unknown"].as_str() {
            None => Finding::ok("dead letters", "none"),
            Some(reason) => Finding::warn(
                "dead letters",
                "no job failed for good; the dead-letter queues are not known",
                reason,
            ),
        };
    }
    Finding::warn(
        "dead letters",
        format!("{jobs} jobs failed for good, {queues} dead-letter queues hold messages"),
        "lucius dead-letters shows why; see the runbook, JobsFailing",
    )
}

/// The sweepers move on what nobody else does, so a silent one means stuck jobs.
fn sweepers(metrics: &str) -> Finding {
    let runs = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix("lucius_sweeper_last_run_timestamp_seconds{sweeper=\"")?;
        let (name, value) = rest.split_once("\"} ")?;
        Some((name.to_owned(), value.trim().parse::<f64>().ok()?))
    });
    let runs: Vec<(String, f64)> = runs.collect();
    let newest = runs.iter().map(|(_, at)| *at).fold(0.0, f64::max);
    let silent: Vec<&str> = runs
        .iter()
        .filter(|(_, at)| newest - at > QUIET_S)
        .map(|(name, _)| name.as_str())
        .collect();
    if runs.is_empty() {
        let advice = "wait a moment after the start; if it stays so, restart the host";
        return Finding::fail("sweepers", "none has run yet", advice);
    }
    if silent.is_empty() {
        return Finding::ok("sweepers", format!("{} run", runs.len()));
    }
    Finding::fail(
        "sweepers",
        format!("{} fell silent", silent.join(", ")),
        "restart the host; nothing is lost by it",
    )
}
