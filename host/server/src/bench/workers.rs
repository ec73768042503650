//! Workers that do nothing, as quickly as they can, over the same HTTP bus and callbacks as any other worker.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use lucius_domain::routing::Lane;
use serde::Deserialize;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::jobs::Jobs;
use super::times::Stage;
use super::wire::{Address, Connection, Request, path_of};
use crate::workers::SHIPPED;

/// How long a receive waits on the host's side.
const WAIT_SECONDS: u64 = 20;
/// Workers of one service in one lane; more would only wait.
const MAX_A_LANE: usize = 16;

/// Starts workers for every service in the lanes of these tenants, on this thread. They end when the set is dropped.
pub(super) fn start(
    address: &Address,
    tenants: &[String],
    in_flight: usize,
    jobs: &Jobs,
) -> JoinSet<()> {
    let lanes: BTreeSet<Lane> = tenants.iter().map(|tenant| Lane::of(tenant)).collect();
    let each = in_flight.div_ceil(lanes.len()).clamp(1, MAX_A_LANE);
    let mut workers = JoinSet::new();
    for lane in lanes {
        for service in SHIPPED {
            for _ in 0..each {
                let worker = Worker {
                    host: Connection::new(address),
                    head: format!(
                        "/bus/{}/subscriptions/{service}/messages/head?timeout={WAIT_SECONDS}",
                        lane.topic()
                    ),
                    jobs: jobs.clone(),
                };
                workers.spawn_local(worker.run());
            }
        }
    }
    workers
}

struct Worker {
    host: Connection,
    head: String,
    jobs: Jobs,
}

/// What a worker needs of a directive.
#[derive(Deserialize)]
struct Directive<'a> {
    #[serde(rename = "jobId")]
    job_id: Uuid,
    #[serde(rename = "stepId", borrow)]
    step_id: Cow<'a, str>,
    #[serde(borrow)]
    protocol_id: Cow<'a, str>,
    attempt_no: u32,
    lease_id: Uuid,
    #[serde(borrow)]
    callback_token: Cow<'a, str>,
    #[serde(borrow)]
    callback_urls: Urls<'a>,
}

#[derive(Deserialize)]
struct Urls<'a> {
    #[serde(borrow)]
    ack: Cow<'a, str>,
    #[serde(borrow)]
    result: Cow<'a, str>,
}

impl Worker {
    async fn run(mut self) {
        loop {
            if let Err(error) = self.one_message().await {
                tracing::warn!("a bench worker failed: {error:#}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    async fn one_message(&mut self) -> anyhow::Result<()> {
        let received = call(&mut self.host, "POST", &self.head).await?;
        if received.status != 201 {
            ensure!(received.status == 204, "a receive: {}", received.status);
            return Ok(());
        }
        let location = received.location.context("a message without Location")?;
        let directive: Directive<'_> = serde_json::from_slice(&received.body)?;
        self.jobs.directive(directive.job_id);
        let done = r#""SUCCEEDED","artifact_refs":["file:///bench/artifact"]"#;
        self.call_back(
            &directive,
            &directive.callback_urls.ack,
            r#""ACKED""#,
            Stage::Ack,
        )
        .await?;
        self.call_back(
            &directive,
            &directive.callback_urls.result,
            done,
            Stage::Result,
        )
        .await?;
        self.jobs
            .stepped(directive.job_id, is_last_step(&directive));
        let completed = call(&mut self.host, "DELETE", &location).await?;
        ensure!(completed.status == 200, "a complete: {}", completed.status);
        Ok(())
    }

    async fn call_back(
        &mut self,
        directive: &Directive<'_>,
        url: &str,
        status: &str,
        stage: Stage,
    ) -> anyhow::Result<()> {
        let Directive {
            job_id,
            step_id,
            attempt_no,
            lease_id,
            ..
        } = directive;
        let body = format!(
            r#"{{"jobId":"{job_id}","stepId":"{step_id}","attempt_no":{attempt_no},"lease_id":"{lease_id}","timestamp":"2026-01-01T00:00:00Z","status":{status}}}"#
        );
        let begun = Instant::now();
        let request = Request {
            method: "POST",
            path: path_of(url),
            bearer: Some(&directive.callback_token),
            body: body.as_bytes(),
        };
        let answer = self.host.call(request).await?;
        self.jobs.record(stage, begun.elapsed());
        ensure!(
            answer.status == 200,
            "{} was answered {}: {}",
            path_of(url),
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        Ok(())
    }
}

async fn call(
    host: &mut Connection,
    method: &'static str,
    path: &str,
) -> anyhow::Result<super::wire::Answer> {
    host.call(Request {
        method,
        path,
        bearer: None,
        body: &[],
    })
    .await
}

/// Whether the directive's step is the last one of its protocol; shipped protocol ids name their steps in order.
fn is_last_step(directive: &Directive<'_>) -> bool {
    let names = directive.protocol_id.split('.').next();
    names.is_some_and(|names| names.ends_with(&*directive.step_id))
}
