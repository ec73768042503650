//! The demo as a client: the documented HTTP API and nothing else, as any third party would use it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use ureq::{Agent, Body, http::Response};

const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// A step as the API shows it; only what the demo looks at.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Step {
    pub(super) step_id: String,
    pub(super) state: String,
    pub(super) service: String,
    #[serde(default)]
    pub(super) attempt_no: u64,
    #[serde(default)]
    pub(super) artifact_refs: Vec<Value>,
    pub(super) last_error_code: Option<String>,
}

impl Step {
    /// The URI of its main artifact, which comes first.
    pub(super) fn main_artifact(&self) -> Option<&str> {
        let first = self.artifact_refs.first()?;
        first.as_str().or_else(|| first.get("uri")?.as_str())
    }
}

/// A job as the API shows it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Job {
    pub(super) state: String,
    pub(super) error_code: Option<String>,
    pub(super) error_message: Option<String>,
}

#[derive(Deserialize)]
struct Submitted {
    #[serde(rename = "jobId")]
    job_id: String,
}

#[derive(Deserialize)]
struct Steps {
    steps: Vec<Step>,
}

/// A connection to one host.
#[derive(Debug)]
pub(super) struct Api {
    agent: Agent,
    base: String,
}

impl Api {
    pub(super) fn new(address: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(CALL_TIMEOUT));
        Self {
            agent: config.build().into(),
            base: format!("http://{address}"),
        }
    }

    /// Submits a command; the job's id.
    pub(super) fn submit(&self, command: &Value) -> Result<String> {
        let call = self
            .agent
            .post(format!("{}/v1/commands", self.base))
            .send_json(command);
        let submitted: Submitted = read(call, "POST /v1/commands")?;
        Ok(submitted.job_id)
    }

    pub(super) fn job(&self, id: &str) -> Result<Job> {
        self.get(&format!("/v1/jobs/{id}"))
    }

    pub(super) fn steps(&self, id: &str) -> Result<Vec<Step>> {
        let answer: Steps = self.get(&format!("/v1/jobs/{id}/steps"))?;
        Ok(answer.steps)
    }

    fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T> {
        read(self.agent.get(format!("{}{path}", self.base)).call(), path)
    }
}

fn read<T: serde::de::DeserializeOwned>(
    call: Result<Response<Body>, ureq::Error>,
    what: &str,
) -> Result<T> {
    let mut response = call.with_context(|| format!("{what} got no answer"))?;
    let status = response.status();
    let text = response
        .body_mut()
        .read_to_string()
        .with_context(|| format!("{what} broke off"))?;
    if !status.is_success() {
        bail!("{what} was answered with {status}: {text}");
    }
    serde_json::from_str(&text).with_context(|| format!("{what} gave unexpected JSON: {text}"))
}
