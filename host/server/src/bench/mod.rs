//! `lucius bench`: how many jobs a second, and how long each takes.
//!
//! A closed loop: a fixed number of jobs is in flight, and each job that ends makes room for the next. The host runs
//! in a process of its own with a fresh data directory (or is named with `--url`); the no-op workers run here, over
//! the same HTTP bus and callbacks as any other worker: receive, ACK, RESULT, complete. A job counts as complete when
//! the RESULT of its last step was answered, which is when its end is durable.

mod host;
mod report;
mod workers;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use self::report::Times;
use self::workers::Completions;

#[derive(Args)]
pub(crate) struct Flags {
    /// How many jobs are measured
    #[arg(long, default_value_t = 5_000)]
    jobs: usize,
    /// How many jobs run first, unmeasured
    #[arg(long, default_value_t = 500)]
    warm_up: usize,
    /// How many jobs are in flight
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// How many tenants they belong to, each with its lane
    #[arg(long, default_value_t = 4)]
    tenants: usize,
    /// What is asked for
    #[arg(long, default_value = "OCR->EMBEDDING->SIS")]
    request_type: String,
    /// A host that runs already; without it one is started with a fresh data directory
    #[arg(long)]
    url: Option<String>,
    /// The registry for the host that is started
    #[arg(long, default_value = "./registry")]
    registry: PathBuf,
}

/// The work of a bench, shared by its clients.
struct Load {
    base: String,
    http: reqwest::Client,
    request_type: String,
    tenants: Vec<String>,
    completions: Completions,
    run: String,
    next: AtomicUsize,
}

pub(crate) async fn run(flags: Flags, json: bool) -> anyhow::Result<()> {
    ensure!(
        flags.in_flight > 0 && flags.jobs > 0 && flags.tenants > 0,
        "--jobs, --in-flight and --tenants must be at least 1"
    );
    let started = match &flags.url {
        Some(_) => None,
        None => Some(host::Started::new(&flags.registry, flags.in_flight).await?),
    };
    let base = match (&flags.url, &started) {
        (Some(url), _) => url.trim_end_matches('/').to_owned(),
        (None, Some(started)) => started.url.clone(),
        (None, None) => anyhow::bail!("there is no host to measure: give one with --url"),
    };
    let http = reqwest::Client::builder()
        .no_proxy()
        .tcp_nodelay(true)
        .build()?;
    let tenants: Vec<String> = (0..flags.tenants).map(|n| format!("bench-{n}")).collect();
    let completions = Completions::default();
    let _workers = workers::start(&http, &base, &tenants, flags.in_flight, &completions);
    let load = Arc::new(Load {
        base,
        http,
        request_type: flags.request_type.clone(),
        tenants,
        completions,
        run: run_id(),
        next: AtomicUsize::new(0),
    });
    let idle_memory = started.as_ref().and_then(host::Started::resident_mb);
    drive(&load, flags.warm_up, flags.in_flight).await?;

    let before = started.as_ref().and_then(host::Started::cpu_seconds);
    let begun = Instant::now();
    let times = drive(&load, flags.jobs, flags.in_flight).await?;
    let elapsed = begun.elapsed();
    let cpu = started.as_ref().and_then(host::Started::cpu_seconds);
    let host = report::HostCost {
        idle_mb: idle_memory,
        resident_mb: started.as_ref().and_then(host::Started::resident_mb),
        cpu_seconds: before.zip(cpu).map(|(before, after)| after - before),
    };
    let shape = report::Shape {
        jobs: flags.jobs,
        in_flight: flags.in_flight,
        request_type: flags.request_type,
        elapsed,
    };
    report::print(&shape, &times, &host, json);
    Ok(())
}

/// Runs `jobs` jobs, `in_flight` at a time.
async fn drive(load: &Arc<Load>, jobs: usize, in_flight: usize) -> anyhow::Result<Times> {
    let left = Arc::new(AtomicUsize::new(jobs));
    let mut clients = JoinSet::new();
    for _ in 0..in_flight.min(jobs.max(1)) {
        let (load, left) = (Arc::clone(load), Arc::clone(&left));
        clients.spawn(async move {
            let mut times = Times::new()?;
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                .is_ok()
            {
                load.one_job(&mut times).await?;
            }
            anyhow::Ok(times)
        });
    }
    let mut all = Times::new()?;
    while let Some(ended) = clients.join_next().await {
        all.add(&ended??)?;
    }
    Ok(all)
}

impl Load {
    async fn one_job(&self, times: &mut Times) -> anyhow::Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let tenant = &self.tenants[number % self.tenants.len()];
        let command = json!({
            "tenant_id": tenant,
            "request_type": self.request_type,
            "input_ref": "file:///bench/in.pdf",
            "output_ref": "file:///bench/out",
            "payload": {},
            "idempotency_key": format!("{}-{number}", self.run),
            "schema_version": "v1",
        });
        let begun = Instant::now();
        let request = self
            .http
            .post(format!("{}/v1/commands", self.base))
            .json(&command);
        let response = request.send().await.context("the host does not answer")?;
        let status = response.status();
        let accepted: Value = response.json().await?;
        ensure!(status == 202, "the host answered {status}: {accepted}");
        times.accepted(begun.elapsed())?;
        let job = accepted["jobId"]
            .as_str()
            .context("an answer without jobId")?;
        self.completions.wait(job).await?;
        times.completed(begun.elapsed())
    }
}

/// Keeps the keys of this run apart from those of another one on the same host.
fn run_id() -> String {
    format!("{:x}", std::process::id())
}
