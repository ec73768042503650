//! Workers that do nothing, as quickly as they can.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use lucius_domain::routing::Lane;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::workers::SHIPPED;

/// How long a job may take before the bench gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who waits for which job, and which jobs ended before anyone waited.
#[derive(Clone, Default)]
pub(super) struct Completions(Arc<Mutex<HashMap<String, Waiting>>>);

enum Waiting {
    Client(oneshot::Sender<()>),
    Ended,
}

impl Completions {
    /// Returns once the job has ended.
    pub(super) async fn wait(&self, job: &str) -> anyhow::Result<()> {
        let receiver = {
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(Waiting::Ended) = waiting.remove(job) {
                return Ok(());
            }
            let (sender, receiver) = oneshot::channel();
            waiting.insert(job.to_owned(), Waiting::Client(sender));
            receiver
        };
        let ended = tokio::time::timeout(PATIENCE, receiver).await;
        ended.with_context(|| format!("job {job} did not end within {PATIENCE:?}"))??;
        Ok(())
    }

    fn ended(&self, job: &str) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.remove(job) {
            // A client that gave up has reported so itself.
            Some(Waiting::Client(client)) => drop(client.send(())),
            Some(Waiting::Ended) | None => {
                waiting.insert(job.to_owned(), Waiting::Ended);
            }
        }
    }
}

/// Starts workers for every service in the lanes of these tenants. They end when the set is dropped.
pub(super) fn start(
    http: &reqwest::Client,
    base: &str,
    tenants: &[String],
    in_flight: usize,
    completions: &Completions,
) -> JoinSet<()> {
    let lanes: BTreeSet<Lane> = tenants.iter().map(|tenant| Lane::of(tenant)).collect();
    let each = in_flight.div_ceil(lanes.len()).clamp(1, 16);
    let mut workers = JoinSet::new();
    for lane in lanes {
        for service in SHIPPED {
            let head = format!(
                "{base}/bus/{}/subscriptions/{service}/messages/head?timeout=20",
                lane.topic()
            );
            for _ in 0..each {
                let worker = Worker {
                    http: http.clone(),
                    head: head.clone(),
                    completions: completions.clone(),
                };
                workers.spawn(worker.run());
            }
        }
    }
    workers
}

struct Worker {
    http: reqwest::Client,
    head: String,
    completions: Completions,
}

impl Worker {
    async fn run(self) {
        loop {
            if let Err(error) = self.one_message().await {
                tracing::warn!("a bench worker failed: {error:#}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    async fn one_message(&self) -> anyhow::Result<()> {
        let received = self
            .http
            .post(&self.head)
            .header("content-length", "0")
            .send()
            .await?;
        if received.status() != 201 {
            return Ok(());
        }
        let location = received
            .headers()
            .get("location")
            .context("a message without Location")?;
        let location = location.to_str()?.to_owned();
        let directive: Value = received.json().await?;
        self.call_back(&directive, "ack", json!({ "status": "ACKED" }))
            .await?;
        let done = json!({ "status": "SUCCEEDED", "artifact_refs": ["file:///bench/artifact"] });
        self.call_back(&directive, "result", done).await?;
        // The last step of what was asked for; the host has just made the job's end durable.
        if is_last_step(&directive) {
            self.completions
                .ended(directive["jobId"].as_str().unwrap_or_default());
        }
        self.http.delete(location).send().await?;
        Ok(())
    }

    async fn call_back(
        &self,
        directive: &Value,
        kind: &str,
        mut body: Value,
    ) -> anyhow::Result<()> {
        for member in ["jobId", "stepId", "attempt_no", "lease_id"] {
            body[member] = directive[member].clone();
        }
        body["timestamp"] = "2026-01-01T00:00:00Z".into();
        let url = directive["callback_urls"][kind]
            .as_str()
            .context("a directive without callback_urls")?;
        let token = directive["callback_token"].as_str().unwrap_or_default();
        let answer = self
            .http
            .post(url)
            .bearer_auth(token)
            .json(&body)
            .send()
            .await?;
        anyhow::ensure!(
            answer.status().is_success(),
            "{kind} was answered {}",
            answer.status()
        );
        Ok(())
    }
}

/// Whether the directive's step is the last one of its protocol; shipped protocol ids name their steps in order.
fn is_last_step(directive: &Value) -> bool {
    let step = directive["stepId"].as_str().unwrap_or_default();
    let protocol = directive["protocol_id"].as_str().unwrap_or_default();
    protocol
        .split('.')
        .next()
        .is_some_and(|names| names.ends_with(step))
}
