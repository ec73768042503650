//! `lucius jobs watch`: how far jobs are, as they go.

use std::time::Duration;

use clap::Args;

use crate::cli::client::{Client, query, segment};
use crate::cli::output;
use crate::cli::progress::{Bars, is_over};

/// How often the host is asked.
const INTERVAL: Duration = Duration::from_millis(500);
/// How many jobs are watched when none is named.
const MOST: u32 = 20;

#[derive(Args)]
pub(super) struct Flags {
    /// The jobs; the newest that are under way when none is named
    jobs: Vec<String>,
    /// Only this tenant's, when none is named
    #[arg(long, conflicts_with = "jobs")]
    tenant: Option<String>,
}

pub(super) async fn run(client: &Client, flags: Flags, json: bool) -> anyhow::Result<()> {
    let mut bars = Bars::new();
    let mut watched = flags.jobs.clone();
    loop {
        if flags.jobs.is_empty() {
            add_new(client, flags.tenant.as_deref(), &mut watched).await?;
        }
        let mut under_way = Vec::new();
        for id in &watched {
            let path = format!("/v1/jobs/{}", segment(id));
            let mut job = client.get(&path).await?;
            let steps = client.get(&format!("{path}/steps")).await?;
            if json {
                job["steps"] = steps["steps"].clone();
                output::line(job.to_string());
            } else {
                bars.show(&job, &steps);
            }
            if !is_over(&job) {
                under_way.push(id.clone());
            }
        }
        watched = under_way;
        if watched.is_empty() && !flags.jobs.is_empty() {
            bars.end();
            return Ok(());
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Adds the jobs that have come under way since.
async fn add_new(
    client: &Client,
    tenant: Option<&str>,
    watched: &mut Vec<String>,
) -> anyhow::Result<()> {
    let query = query([
        ("limit", Some(MOST.to_string())),
        ("tenant_id", tenant.map(str::to_owned)),
    ]);
    let page = client.get(&format!("/v1/jobs?{query}")).await?;
    let jobs = page["jobs"].as_array().map(Vec::as_slice);
    for job in jobs.unwrap_or_default() {
        let id = job["jobId"].as_str().map(str::to_owned);
        let is_new = |id: &String| !watched.contains(id) && !is_over(job);
        if let Some(id) = id.filter(is_new) {
            watched.push(id);
        }
    }
    Ok(())
}
