//! One job of two steps with its client and its worker, who both try again until they have an answer.

use lucius_tests::client::Client;
use lucius_tests::history::History;
use lucius_tests::host::{Host, Setup};
use lucius_tests::lane;
use lucius_tests::orders::{order, with};
use lucius_tests::registry;
use lucius_tests::worker::{Delivery, Worker};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The protocol of these tests.
pub(crate) const TYPE: &str = "TWO";
pub(crate) const STEPS: [&str; 2] = ["first", "second"];

/// A registry whose protocols no plugin decides about, so that a host starts at once.
pub(crate) fn registry() -> TempDir {
    registry::plain(&[(TYPE, &STEPS)])
}

/// Waits of milliseconds, but for an ACK and a lease that nothing here misses.
pub(crate) fn setup(registry: &TempDir) -> Setup {
    Setup::quick().registry(registry.path())
}

/// Someone for whom the host may be gone at any moment.
pub(crate) struct Visitor<'a> {
    pub(crate) client: Client,
    /// The base URL of the host that serves the bus.
    pub(crate) bus: String,
    pub(crate) history: &'a History,
}

/// The host is gone.
#[derive(Debug)]
pub(crate) struct Gone;

impl<'a> Visitor<'a> {
    pub(crate) fn of(host: &Host, history: &'a History) -> Self {
        Self {
            client: host.client(),
            bus: host.namespace().to_owned(),
            history,
        }
    }

    /// Submits a command, and goes on with its job until it is over or the host is gone.
    pub(crate) async fn live(&self, key: &str) -> Result<String, Gone> {
        let job = self.submit(key).await?;
        for step in STEPS {
            self.work(step, key, &job).await?;
        }
        Ok(job)
    }

    pub(crate) async fn submit(&self, key: &str) -> Result<String, Gone> {
        let command = command(key);
        let answer = self
            .call(Method::POST, "/v1/commands", Some(&command))
            .await?;
        if answer.status == 503 {
            return Err(Gone); // it is about to end
        }
        assert_eq!(answer.status, 202, "{}", answer.text);
        let job = answer.body["jobId"].as_str().unwrap_or_default().to_owned();
        self.history.accepted(&command, &job);
        Ok(job)
    }

    /// Takes directives of a step until the one of this job is done, or is known to be.
    pub(crate) async fn work(&self, step: &str, key: &str, job: &str) -> Result<(), Gone> {
        let worker = Worker::new(&self.client, &format!("plain-{step}")).on(&self.bus);
        let topic = lane::topic(&lane::norm(key));
        loop {
            if self.is_done(job, step).await? {
                return Ok(());
            }
            let Some(delivery) = worker.try_peek(&topic, 1).await.map_err(|_| Gone)? else {
                continue;
            };
            self.history.received(&delivery);
            self.report(&delivery).await?;
            let path = delivery.location.clone();
            self.call(Method::DELETE, &path, None).await?;
        }
    }

    async fn is_done(&self, job: &str, step: &str) -> Result<bool, Gone> {
        let path = format!("/v1/jobs/{job}/steps");
        let shown = self.call(Method::GET, &path, None).await?.body;
        let steps = shown["steps"].as_array().cloned().unwrap_or_default();
        Ok(steps
            .iter()
            .any(|it| it["step_id"] == step && it["state"] == "SUCCEEDED"))
    }

    async fn report(&self, delivery: &Delivery) -> Result<(), Gone> {
        if self.tell(delivery, "ack", &delivery.ack()).await? {
            self.history.acknowledged(delivery);
        }
        let done = delivery.success(&[json!("https://documents.example/made")]);
        if self.tell(delivery, "result", &done).await? {
            self.history.decided(delivery, true);
        }
        Ok(())
    }

    /// True when the callback counts. A stale one is a directive of before, which came again.
    async fn tell(&self, delivery: &Delivery, which: &str, body: &Value) -> Result<bool, Gone> {
        let url = delivery.directive["callback_urls"][which].as_str();
        let request = self
            .client
            .request(Method::POST, url.unwrap_or_default())
            .bearer_auth(delivery.token())
            .json(body);
        let answer = self.client.try_send(request).await.map_err(|_| Gone)?;
        if answer.status == 503 {
            return Err(Gone); // it is about to end
        }
        assert!(matches!(answer.status, 200 | 409), "{}", answer.text);
        Ok(answer.body["applied"] == true)
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<lucius_tests::answer::Answer, Gone> {
        let request = self.client.request(method, path);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        self.client.try_send(request).await.map_err(|_| Gone)
    }
}

/// A command of its own tenant, named after its key, so that it has its lane and its limits to itself.
pub(crate) fn command(key: &str) -> Value {
    with(order(key, TYPE), json!({ "idempotency_key": key }))
}
