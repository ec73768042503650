//! A client of the host's HTTP API.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use crate::answer::Answer;
use crate::wait;

/// No call takes longer than this, the longest wait on the server included.
const CALL: Duration = Duration::from_secs(70);

/// A client of one host.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    http: reqwest::Client,
}

impl Client {
    /// A client of the host at this base URL.
    ///
    /// # Panics
    /// There is no TLS library to be had, which every client of this library needs.
    pub fn new(base: impl Into<String>) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(CALL).build();
        let http = http.unwrap_or_else(|error| panic!("no HTTP client: {error}"));
        Self {
            base: base.into(),
            http,
        }
    }

    /// The host's base URL.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A request to be completed; a whole URL stays as it is.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}{path}", self.base)
        };
        self.http.request(method, url)
    }

    /// Sends a request.
    ///
    /// # Panics
    /// Nobody answers.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        self.try_send(request)
            .await
            .unwrap_or_else(|error| panic!("no answer: {error:?}"))
    }

    /// Sends a request that may find nobody there.
    ///
    /// # Errors
    /// Nobody answers, or the answer broke off: what became of the request is not known.
    pub async fn try_send(&self, request: RequestBuilder) -> reqwest::Result<Answer> {
        Answer::read(request.send().await?).await
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// POST of any text that claims to be JSON.
    pub async fn post_text(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self
            .request(Method::POST, path)
            .header("content-type", "application/json");
        self.send(request.body(body)).await
    }

    /// POST without a body.
    pub async fn post_nothing(&self, path: &str) -> Answer {
        self.send(self.request(Method::POST, path)).await
    }

    /// A callback with a token, or without one.
    pub async fn callback(&self, url: &str, body: &Value, token: Option<&str>) -> Answer {
        let request = self.request(Method::POST, url).json(body);
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        self.send(request).await
    }

    /// Submits a command that is accepted; the job's id.
    ///
    /// # Panics
    /// It is not accepted.
    pub async fn submit(&self, order: &Value) -> String {
        let accepted = self.post("/v1/commands", order).await.expect(202);
        accepted.body["jobId"]
            .as_str()
            .unwrap_or_else(|| panic!("{}", accepted.text))
            .to_owned()
    }

    /// A job.
    pub async fn job(&self, id: &str) -> Value {
        self.get(&format!("/v1/jobs/{id}")).await.expect(200).body
    }

    /// A step of a job.
    ///
    /// # Panics
    /// The job has no such step.
    pub async fn step(&self, id: &str, step_id: &str) -> Value {
        let steps = self.steps(id).await;
        let step = steps.iter().find(|step| step["step_id"] == step_id);
        step.unwrap_or_else(|| panic!("no step {step_id} in {steps:?}"))
            .clone()
    }

    /// A job's steps.
    pub async fn steps(&self, id: &str) -> Vec<Value> {
        let answer = self.get(&format!("/v1/jobs/{id}/steps")).await.expect(200);
        answer.body["steps"].as_array().cloned().unwrap_or_default()
    }

    /// A job's events.
    pub async fn events(&self, id: &str) -> Vec<Value> {
        let answer = self.get(&format!("/v1/jobs/{id}/events")).await.expect(200);
        answer.body["events"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    }

    /// A job's events of one type.
    pub async fn events_of(&self, id: &str, kind: &str) -> Vec<Value> {
        let mut events = self.events(id).await;
        events.retain(|event| event["type"] == kind);
        events
    }

    /// A verb of a job: `cancel` or `redrive`.
    pub async fn verb(&self, id: &str, verb: &str) -> Answer {
        self.post_nothing(&format!("/v1/jobs/{id}:{verb}")).await
    }

    /// Waits until the job is in this state; the job.
    pub async fn job_in(&self, id: &str, state: &str) -> Value {
        let awaited = format!("job {id} in {state}");
        wait::until(&awaited, async || {
            Some(self.job(id).await).filter(|job| job["state"] == state)
        })
        .await
    }

    /// Waits until a step is in this state; the step.
    pub async fn step_in(&self, id: &str, step_id: &str, state: &str) -> Value {
        let awaited = format!("step {step_id} of {id} in {state}");
        let look =
            async || Some(self.step(id, step_id).await).filter(|step| step["state"] == state);
        wait::until(&awaited, look).await
    }

    /// Waits until the job is over; the job.
    pub async fn job_over(&self, id: &str) -> Value {
        let over = |job: &Value| {
            let state = job["state"].as_str().unwrap_or_default();
            matches!(state, "SUCCEEDED" | "FAILED_FINAL" | "CANCELLED")
        };
        let awaited = format!("the end of job {id}");
        wait::until(&awaited, async || Some(self.job(id).await).filter(over)).await
    }
}
