//! `lucius bench`: how many jobs a second, how long each stage takes, and what the host spends on a job.
//!
//! The host runs in a process of its own with a fresh data directory (or is named with `--url`); the clients and the
//! no-op workers run here, on one thread, over the same HTTP API, bus and callbacks as any others: receive, ACK,
//! RESULT, complete. A job is complete when the RESULT of its last step was answered, which is when its end is
//! durable.

mod counts;
mod host;
mod jobs;
mod load;
mod recovery;
mod report;
mod times;
mod wire;
mod workers;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use lucius_ports::clock::Ids as _;
use serde_json::{Value, json};
use tokio::task::LocalSet;

use self::counts::Counts;
use self::host::{Plan, Started, Usage};
use self::jobs::Jobs;
use self::load::{Commands, Done, Load, Pace};
use self::times::Stage;
use self::wire::Address;
use crate::system::SystemIds;

#[derive(Args, Clone)]
pub(crate) struct Flags {
    /// How many jobs are measured in a closed loop
    #[arg(long, default_value_t = 5_000)]
    jobs: u64,
    /// How many jobs run first, unmeasured
    #[arg(long, default_value_t = 500)]
    warm_up: u64,
    /// How many jobs are in flight; in an open loop, how many of each tenant the host admits
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Open loop: submit this many a second, and count every time from when a command was due
    #[arg(long)]
    rate: Option<f64>,
    /// For how many seconds an open loop submits
    #[arg(long, default_value_t = 30.0, requires = "rate")]
    seconds: f64,
    /// How many tenants the jobs belong to, each with its lane
    #[arg(long, default_value_t = 4)]
    tenants: usize,
    /// What is asked for
    #[arg(long, default_value = "OCR->EMBEDDING->SIS")]
    request_type: String,
    /// Bytes of payload that every step gets
    #[arg(long, default_value_t = 0)]
    payload_bytes: usize,
    /// A host that runs already; without it one is started
    #[arg(long, conflicts_with_all = ["data_dir", "recovery"])]
    url: Option<String>,
    /// An API key with the scopes submit, work and monitor, for a host that asks for one
    #[arg(long, env = "LUCIUS_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// The registry for the host that is started
    #[arg(long, default_value = "./registry")]
    registry: PathBuf,
    /// The data of the host that is started; without it a fresh folder that is removed
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Measure a restart instead: leave this many jobs unfinished, kill the host and start it again
    #[arg(long, conflicts_with = "rate")]
    recovery: Option<u64>,
}

impl Flags {
    fn pace(&self) -> Pace {
        match self.rate {
            Some(rate) => Pace::Open {
                rate,
                duration: Duration::from_secs_f64(self.seconds),
            },
            None => Pace::Closed {
                jobs: self.jobs,
                in_flight: self.in_flight,
            },
        }
    }

    fn tenants(&self) -> Vec<String> {
        (0..self.tenants).map(|n| format!("bench-{n}")).collect()
    }

    fn commands(&self) -> Commands {
        Commands {
            request_type: self.request_type.clone(),
            tenants: self.tenants(),
            payload_bytes: self.payload_bytes,
        }
    }

    /// A closed loop keeps to its own number; in an open one, and for what is left unfinished, the host's limit counts.
    fn tenant_inflight(&self) -> usize {
        match (self.recovery, self.rate) {
            (Some(unfinished), _) => usize::try_from(unfinished).unwrap_or(usize::MAX) + 1,
            (None, Some(_)) => self.in_flight,
            (None, None) => self.in_flight.max(100) * 2,
        }
    }
}

/// Runs a bench on a thread of its own, so that the generator's work is one thread's work.
pub(crate) async fn run(flags: Flags, json: bool) -> anyhow::Result<()> {
    ensure!(
        flags.in_flight > 0 && flags.jobs > 0 && flags.tenants > 0,
        "--jobs, --in-flight and --tenants must be at least 1"
    );
    ensure!(
        flags.rate.is_none_or(|rate| rate > 0.0) && flags.seconds > 0.0,
        "--rate and --seconds must be more than 0"
    );
    let measured = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        LocalSet::new().block_on(&runtime, measure(&flags))
    });
    report::print(&measured.await??, json);
    Ok(())
}

async fn measure(flags: &Flags) -> anyhow::Result<Value> {
    let scratch = host::scratch()?;
    let data_dir = flags.data_dir.as_deref().unwrap_or(scratch.path());
    let plan = Plan {
        registry: flags.registry.clone(),
        data_dir: host::absolute(data_dir)?,
        tenant_inflight: flags.tenant_inflight(),
        global_inflight: flags.tenant_inflight().saturating_mul(flags.tenants),
    };
    if let Some(unfinished) = flags.recovery {
        return recovery::run(flags, &plan, unfinished).await;
    }
    let started = match &flags.url {
        Some(_) => None,
        None => Some(Started::new(&plan).await?),
    };
    let url = started.as_ref().map(|started| &started.url);
    let url = flags.url.as_ref().or(url).context("there is no host")?;
    let address = Address::of(url)?.with_key(flags.api_key.as_deref());
    let idle_mb = started.as_ref().and_then(Started::resident_mb);

    let jobs = Jobs::new()?;
    let _workers = workers::start(&address, &flags.tenants(), flags.in_flight, &jobs);
    let load = Load::new(&address, flags.commands(), &jobs, run_id());
    let warm_up = Pace::Closed {
        jobs: flags.warm_up,
        in_flight: flags.in_flight.min(plan.tenant_inflight),
    };
    load.run(warm_up, true).await?;
    jobs.take_times()?;

    let usage = || started.as_ref().and_then(Started::usage);
    let (counts, before) = (Counts::of(&address).await?, usage());
    let done = load.run(flags.pace(), true).await?;
    let after = usage();
    let per_job = Counts::of(&address).await?.per_job(&counts, done.accepted);
    let mut cost = before
        .zip(after)
        .map(|(before, after)| Usage::per_job(&before, &after, done.accepted));
    let threads = cost.as_mut().map(|cost| cost["threads"].take());
    let times = jobs.take_times()?;
    let rate_after = match flags.pace() {
        Pace::Closed { .. } => None,
        Pace::Open { .. } => Some(rate_after(flags, &load).await?),
    };
    let completed = times.count(Stage::Complete);
    Ok(json!({
        "request_type": flags.request_type,
        "loop": shape(flags, &done),
        "jobs": completed,
        "seconds": done.elapsed.as_secs_f64(),
        "jobs_per_second": completed as f64 / done.elapsed.as_secs_f64(),
        "jobs_per_second_after": rate_after,
        "times_ms": times.report(),
        "per_job": per_job,
        "host": cost,
        "host_cpu_seconds_per_1000_jobs_by_thread": threads,
        "memory": {
            "idle_mb": idle_mb,
            "resident_mb": started.as_ref().and_then(Started::resident_mb),
        },
        "ready_ms": started.as_ref().map(|started| started.ready_after.as_secs_f64() * 1_000.0),
    }))
}

/// What a closed loop reaches on the same host right after an open one, which may have been too much for it.
async fn rate_after(flags: &Flags, load: &Load) -> anyhow::Result<f64> {
    let pace = Pace::Closed {
        jobs: flags.jobs,
        in_flight: flags.in_flight,
    };
    let done = load.run(pace, true).await?;
    Ok(done.accepted as f64 / done.elapsed.as_secs_f64())
}

fn shape(flags: &Flags, done: &Done) -> Value {
    match flags.pace() {
        Pace::Closed { in_flight, .. } => json!({ "kind": "closed", "in_flight": in_flight }),
        Pace::Open { rate, .. } => json!({
            "kind": "open",
            "rate_per_second": rate,
            "admitted_of_each_tenant": flags.in_flight,
            "accepted": done.accepted,
            "refused": done.refused,
            "never_sent": done.unsent,
        }),
    }
}

/// Keeps the keys of this run apart from those of another one on the same host.
fn run_id() -> String {
    SystemIds.lease_id().0.simple().to_string()
}
