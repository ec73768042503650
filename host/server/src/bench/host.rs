//! A host in a process of its own, and what it costs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// How to start one.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) registry: PathBuf,
    /// Where its data is; it stays.
    pub(super) data_dir: PathBuf,
    /// How many jobs a tenant may have in flight.
    pub(super) tenant_inflight: usize,
    /// How many all tenants may have together.
    pub(super) global_inflight: usize,
}

/// A started host; it is killed when this is dropped.
pub(super) struct Started {
    pub(super) url: String,
    /// From the start of the process until it was ready.
    pub(super) ready_after: Duration,
    child: Child,
}

/// What the process has used so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage {
    /// In the program and in the kernel, in seconds.
    user: f64,
    system: f64,
    /// Both together by what its threads are called, without their numbers.
    threads: BTreeMap<String, f64>,
    /// How often its threads gave way to others, by themselves and not.
    waits: u64,
    preemptions: u64,
    written_bytes: u64,
}

impl Started {
    pub(super) async fn new(plan: &Plan) -> anyhow::Result<Self> {
        let limit = plan.tenant_inflight.to_string();
        let begun = Instant::now();
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(&plan.data_dir)
            .arg("--registry")
            .arg(&plan.registry)
            .env("LUCIUS_LIMITS_TENANT_INFLIGHT", &limit)
            .env("LUCIUS_LIMITS_OUTBOX_BACKLOG", &limit)
            .env(
                "LUCIUS_LIMITS_GLOBAL_INFLIGHT",
                plan.global_inflight.to_string(),
            )
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the host cannot be started")?;
        let output = child.stdout.take().context("the host has no output")?;
        let mut lines = BufReader::new(output).lines();
        let mut url = None;
        while let Some(line) = lines.next_line().await? {
            if let Some(address) = line.strip_prefix("api ") {
                url = Some(address.trim().to_owned());
            }
            if line == "ready" {
                return Ok(Self {
                    url: url.context("the host did not say where it listens")?,
                    ready_after: begun.elapsed(),
                    child,
                });
            }
        }
        bail!("the host did not start; its own message is above")
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub(super) async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Resident memory in MB.
    pub(super) fn resident_mb(&self) -> Option<f64> {
        let kb = field(&self.proc("status")?, "VmRSS:")?;
        Some(kb as f64 / 1_024.0)
    }

    /// What it has used; Linux counts processor time in hundredths of a second.
    pub(super) fn usage(&self) -> Option<Usage> {
        let (_, user, system) = times(&self.proc("stat")?)?;
        let mut usage = Usage {
            user,
            system,
            written_bytes: field(&self.proc("io")?, "write_bytes:")?,
            ..Usage::default()
        };
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id()?)).ok()?;
        for task in tasks.flatten() {
            // A thread may have ended since.
            let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
            usage.waits += field(&status, "voluntary_ctxt_switches:").unwrap_or(0);
            usage.preemptions += field(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0);
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            if let Some((name, user, system)) = times(&stat) {
                *usage.threads.entry(name).or_default() += user + system;
            }
        }
        Some(usage)
    }

    fn proc(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id()?)).ok()
    }
}

/// The name in a `stat` file, and the seconds in the program and in the kernel.
fn times(stat: &str) -> Option<(String, f64, f64)> {
    // The second field is the name in parentheses; user and system time are fields 14 and 15.
    let (begin, rest) = stat.rsplit_once(')')?;
    let (_, name) = begin.split_once('(')?;
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let seconds = |index: usize| Some(fields.get(index)?.parse::<f64>().ok()? / 100.0);
    Some((name.to_owned(), seconds(11)?, seconds(12)?))
}

/// The number after a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

impl Usage {
    /// What was used between two moments, for so many jobs.
    pub(super) fn per_job(before: &Self, after: &Self, jobs: u64) -> Value {
        let jobs = jobs.max(1) as f64;
        let of_thread = |name: &String| before.threads.get(name).copied().unwrap_or(0.0);
        let thousand = |before: f64, after: f64| (after - before) * 1_000.0 / jobs;
        let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / jobs;
        let threads = after.threads.iter().map(|(name, after)| {
            let seconds = thousand(of_thread(name), *after);
            (name.clone(), json!(seconds))
        });
        let threads: serde_json::Map<_, _> = threads.collect();
        json!({
            "cpu_seconds_per_1000_jobs":
                thousand(before.user + before.system, after.user + after.system),
            "user_seconds_per_1000_jobs": thousand(before.user, after.user),
            "system_seconds_per_1000_jobs": thousand(before.system, after.system),
            "waits_per_job": each(before.waits, after.waits),
            "preemptions_per_job": each(before.preemptions, after.preemptions),
            "written_bytes_per_job": each(before.written_bytes, after.written_bytes),
            "threads": threads,
        })
    }
}

/// A folder for the data of one bench.
pub(super) fn scratch() -> anyhow::Result<tempfile::TempDir> {
    Ok(tempfile::tempdir()?)
}

/// Makes the folder's name absolute, so that the host finds it too.
pub(super) fn absolute(folder: &Path) -> anyhow::Result<PathBuf> {
    Ok(std::path::absolute(folder)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let status =
            "VmRSS:\t   51200 kB\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t9\n";
        assert_eq!(field(status, "VmRSS:"), Some(51_200));
        assert_eq!(field(status, "voluntary_ctxt_switches:"), Some(7));
        assert_eq!(field(status, "nonvoluntary_ctxt_switches:"), Some(9));
        assert_eq!(field(status, "VmSwap:"), None);
    }

    #[test]
    fn the_times_of_a_thread_are_found_behind_its_name() {
        let stat = "22 (bus (x)-12) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20\n";
        assert_eq!(times(stat), Some(("bus (x)".to_owned(), 1.5, 0.25)));
    }
}
