//! What the host counted, from its own metrics.

use std::collections::BTreeMap;

use anyhow::ensure;
use serde_json::{Value, json};

use super::wire::{Address, Connection, Request};

/// Counters by name, all labels of one added up.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counts(BTreeMap<String, f64>);

/// What is told of a job: a name, and the counters it is the sum of.
const PER_JOB: [(&str, &[&str]); 8] = [
    ("http_requests", &["lucius_http_requests_total"]),
    ("ledger_commits", &["lucius_ledger_commits_total"]),
    ("ledger_rows", &["lucius_ledger_rows_total"]),
    ("ledger_fsyncs", &["lucius_ledger_transactions_total"]),
    ("bus_messages", &["lucius_bus_messages_total"]),
    ("bus_fsyncs", &["lucius_bus_transactions_total"]),
    ("plugin_calls", &["lucius_plugin_calls_total"]),
    (
        "fsyncs",
        &[
            "lucius_ledger_transactions_total",
            "lucius_bus_transactions_total",
        ],
    ),
];

impl Counts {
    /// What the host says now.
    pub(super) async fn of(address: &Address) -> anyhow::Result<Self> {
        let request = Request {
            method: "GET",
            path: "/metrics",
            bearer: None,
            body: &[],
        };
        let answer = Connection::new(address).call(request).await?;
        ensure!(answer.status == 200, "/metrics: {}", answer.status);
        Ok(Self::read(&String::from_utf8_lossy(&answer.body)))
    }

    fn read(text: &str) -> Self {
        let mut counts = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let name = series.split('{').next().unwrap_or(series);
            if let Ok(value) = value.parse::<f64>() {
                *counts.entry(name.to_owned()).or_default() += value;
            }
        }
        Self(counts)
    }

    fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// What was counted since `before`, a job; what this host does not count is left out.
    pub(super) fn per_job(&self, before: &Self, jobs: u64) -> Value {
        let since = |name: &str| Some(self.get(name)? - before.get(name).unwrap_or(0.0));
        let jobs = jobs.max(1) as f64;
        let mut report = serde_json::Map::new();
        for (name, counters) in PER_JOB {
            let all: Option<f64> = counters.iter().map(|counter| since(counter)).sum();
            if let Some(all) = all {
                report.insert(name.to_owned(), json!(all / jobs));
            }
        }
        let commits = since("lucius_ledger_commits_total");
        let fsyncs = since("lucius_ledger_transactions_total").filter(|fsyncs| *fsyncs > 0.0);
        if let Some((commits, fsyncs)) = commits.zip(fsyncs) {
            report.insert("commits_per_fsync".to_owned(), json!(commits / fsyncs));
        }
        Value::Object(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_of_a_counter_are_added_up() {
        let before = Counts::default();
        let text = "# HELP x y\nlucius_http_requests_total{route=\"/a b\",status=\"200\"} 3\n\
             lucius_http_requests_total{route=\"/c\",status=\"202\"} 7\n\
             lucius_ledger_commits_total 20\nlucius_ledger_transactions_total 4\n# EOF\n";
        let report = Counts::read(text).per_job(&before, 5);
        assert_eq!(report["http_requests"], 2.0);
        assert_eq!(report["ledger_commits"], 4.0);
        assert_eq!(report["commits_per_fsync"], 5.0);
        assert!(
            report.get("fsyncs").is_none(),
            "one of its parts is not counted: {report}"
        );
    }
}
