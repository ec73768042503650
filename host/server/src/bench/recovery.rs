//! How long it takes until work goes on after a host was killed with many jobs unfinished.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::Flags;
use super::host::{Plan, Started};
use super::jobs::Jobs;
use super::load::{Load, Pace};
use super::wire::{Address, Connection, Request};
use crate::workers::SHIPPED;

/// Submits without any worker, kills the host, starts it again and takes the first directive.
pub(super) async fn run(flags: &Flags, plan: &Plan, unfinished: u64) -> anyhow::Result<Value> {
    let host = Started::new(plan).await?;
    let address = Address::of(&host.url)?;
    let load = Load::new(&address, flags.commands(), &Jobs::new()?, super::run_id());
    let pace = Pace::Closed {
        jobs: unfinished,
        in_flight: flags.in_flight,
    };
    let submitted = load.run(pace, false).await?;
    let before_mb = host.resident_mb();
    host.kill().await?;

    let begun = Instant::now();
    let host = Started::new(plan).await?;
    let ready = host.ready_after;
    let mut worker = Connection::new(&Address::of(&host.url)?);
    let lane = lucius_domain::routing::Lane::of(&flags.tenants()[0]);
    let path = format!(
        "/bus/{}/subscriptions/{}/messages/head?timeout=30",
        lane.topic(),
        SHIPPED[0]
    );
    let answer = worker
        .call(Request {
            method: "POST",
            path: &path,
            bearer: None,
            body: &[],
        })
        .await?;
    let dispatched = begun.elapsed();
    ensure!(answer.status == 201, "no directive came: {}", answer.status);
    // The first accept after a start shows that the gates are open again.
    let jobs = Jobs::new()?;
    let again = Load::new(
        &Address::of(&host.url)?,
        flags.commands(),
        &jobs,
        format!("{}-again", super::run_id()),
    );
    let one = Pace::Closed {
        jobs: 1,
        in_flight: 1,
    };
    again
        .run(one, false)
        .await
        .context("after the restart a command was not accepted")?;
    Ok(json!({
        "unfinished_jobs": submitted.accepted,
        "ready_ms": ready.as_secs_f64() * 1_000.0,
        "first_dispatch_ms": dispatched.as_secs_f64() * 1_000.0,
        "resident_mb_before": before_mb,
        "resident_mb_after": host.resident_mb(),
    }))
}
