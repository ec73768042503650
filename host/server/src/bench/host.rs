//! A host in a process of its own, and what it costs.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// A started host; it is killed when this is dropped.
pub(super) struct Started {
    pub(super) url: String,
    child: Child,
    _data: tempfile::TempDir,
}

impl Started {
    pub(super) async fn new(registry: &Path, in_flight: usize) -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let limit = (in_flight.max(100) * 2).to_string();
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data.path())
            .arg("--registry")
            .arg(registry)
            .env("LUCIUS_LIMITS_TENANT_INFLIGHT", &limit)
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
                let url = url.context("the host did not say where it listens")?;
                return Ok(Self {
                    url,
                    child,
                    _data: data,
                });
            }
        }
        bail!("the host did not start; its own message is above")
    }

    /// Resident memory in MB.
    pub(super) fn resident_mb(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kb: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
        Some(kb / 1_024.0)
    }

    /// Processor time used so far, in seconds. Linux counts it in hundredths.
    pub(super) fn cpu_seconds(&self) -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()?)).ok()?;
        // The second field is the program's name in parentheses; user and system time are fields 14 and 15.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks: f64 =
            fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
        Some(ticks / 100.0)
    }
}
