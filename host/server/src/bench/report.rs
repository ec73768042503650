//! What a bench found.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Times of jobs, in microseconds.
pub(super) struct Times {
    accepted: Histogram<u64>,
    completed: Histogram<u64>,
}

/// What was measured.
pub(super) struct Shape {
    pub(super) jobs: usize,
    pub(super) in_flight: usize,
    pub(super) request_type: String,
    pub(super) elapsed: Duration,
}

/// What the host cost, where it was started by the bench.
pub(super) struct HostCost {
    pub(super) idle_mb: Option<f64>,
    pub(super) resident_mb: Option<f64>,
    pub(super) cpu_seconds: Option<f64>,
}

impl Times {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            accepted: Histogram::new(3)?,
            completed: Histogram::new(3)?,
        })
    }

    pub(super) fn accepted(&mut self, time: Duration) -> anyhow::Result<()> {
        Ok(self.accepted.record(microseconds(time))?)
    }

    pub(super) fn completed(&mut self, time: Duration) -> anyhow::Result<()> {
        Ok(self.completed.record(microseconds(time))?)
    }

    pub(super) fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.accepted.add(&other.accepted)?;
        self.completed.add(&other.completed)?;
        Ok(())
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}

/// Prints the report.
#[expect(
    clippy::print_stdout,
    reason = "the report is what this command is for"
)]
pub(super) fn print(shape: &Shape, times: &Times, host: &HostCost, as_json: bool) {
    let Shape {
        jobs,
        in_flight,
        request_type,
        elapsed,
    } = shape;
    let per_second = *jobs as f64 / elapsed.as_secs_f64();
    let cpu_per_1000 = host
        .cpu_seconds
        .map(|seconds| seconds * 1_000.0 / *jobs as f64);
    let report = json!({
        "request_type": request_type,
        "jobs": jobs,
        "in_flight": in_flight,
        "seconds": elapsed.as_secs_f64(),
        "jobs_per_second": per_second,
        "accepted_ms": percentiles(&times.accepted),
        "completed_ms": percentiles(&times.completed),
        "host": {
            "idle_mb": host.idle_mb,
            "resident_mb": host.resident_mb,
            "cpu_seconds_per_1000_jobs": cpu_per_1000,
        },
    });
    if as_json {
        println!("{report:#}");
        return;
    }
    let row = |name: &str, value: &Value| {
        let ms = |p: &str| value[p].as_f64().unwrap_or_default();
        println!(
            "{name:<12}p50 {:>9.2} ms   p99 {:>9.2} ms   max {:>9.2} ms",
            ms("p50"),
            ms("p99"),
            ms("max")
        );
    };
    println!("{request_type}, {jobs} jobs, {in_flight} in flight");
    println!("{:<12}{per_second:.0} jobs/s", "throughput");
    row("accepted", &report["accepted_ms"]);
    row("completed", &report["completed_ms"]);
    if let (Some(idle), Some(resident), Some(cpu)) = (host.idle_mb, host.resident_mb, cpu_per_1000)
    {
        println!(
            "{:<12}{idle:.0} MB idle, {resident:.0} MB after, {cpu:.2} CPU s per 1,000 jobs",
            "host"
        );
    }
}

fn percentiles(times: &Histogram<u64>) -> Value {
    let ms = |micros: u64| micros as f64 / 1_000.0;
    json!({
        "p50": ms(times.value_at_quantile(0.5)),
        "p90": ms(times.value_at_quantile(0.9)),
        "p99": ms(times.value_at_quantile(0.99)),
        "max": ms(times.max()),
    })
}
