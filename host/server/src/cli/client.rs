//! The host's HTTP API, as the command line uses it.

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use lucius_ports::clock::Clock as _;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, Response};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::system::SystemClock;

/// Which host to talk to.
#[derive(Args, Clone)]
pub(super) struct HostUrl {
    /// The host's base URL
    #[arg(long, env = "LUCIUS_URL", default_value = "http://127.0.0.1:7420")]
    url: String,
    /// What the host asks for, unless it is open: an API key, or a token
    #[arg(long, env = "LUCIUS_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
}

/// What a host answered.
pub(super) struct Answer {
    pub(super) document: Value,
    /// Seconds that the host's clock is ahead; nothing when it does not say.
    pub(super) clock_skew_s: Option<i64>,
}

/// A host to talk to.
pub(super) struct Client {
    base: String,
    http: reqwest::Client,
}

impl Client {
    pub(super) fn new(host: &HostUrl) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .default_headers(credential(host.api_key.as_deref())?)
            .build()?;
        Ok(Self {
            base: host.url.trim_end_matches('/').to_owned(),
            http,
        })
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        read(self.send(Method::GET, path, None).await?).await
    }

    /// Does something that goes on record, and says why.
    pub(super) async fn act(
        &self,
        path: &str,
        body: Option<&Value>,
        reason: Option<&str>,
    ) -> anyhow::Result<Value> {
        let mut request = self.http.post(format!("{}{path}", self.base));
        if let Some(reason) = reason {
            let value = HeaderValue::from_bytes(reason.as_bytes());
            request = request.header("x-reason", value.context("--reason is one line of text")?);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let sent = request.send().await;
        read(sent.map_err(|error| self.unreachable(&error))?).await
    }

    /// A document whatever the status, and how far the host's clock is from the one here.
    pub(super) async fn answer(&self, path: &str) -> anyhow::Result<Answer> {
        let response = self.send(Method::GET, path, None).await?;
        let here = SystemClock.now().0 / 1_000;
        let there = response.headers().get("date");
        let there =
            there.and_then(|value| OffsetDateTime::parse(value.to_str().ok()?, &Rfc2822).ok());
        let document = response.json().await;
        Ok(Answer {
            document: document.context("the host answered with something that is not JSON")?,
            clock_skew_s: there.map(|there| there.unix_timestamp() - here),
        })
    }

    /// An answer as text.
    pub(super) async fn text(&self, path: &str) -> anyhow::Result<String> {
        let response = self.send(Method::GET, path, None).await?;
        if !response.status().is_success() {
            read(response).await?;
            bail!("the host gave no text")
        }
        Ok(response.text().await?)
    }

    pub(super) async fn post(&self, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        read(self.send(Method::POST, path, body).await?).await
    }

    /// A job's events as they happen, after event `after`.
    pub(super) async fn stream(&self, job: &str, after: u64) -> anyhow::Result<Response> {
        let url = format!("{}/v1/jobs/{job}/events", self.base);
        let request = self
            .http
            .get(url)
            .header("accept", "text/event-stream")
            .header("last-event-id", after.to_string());
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        read(response).await?;
        bail!("the host gave no event stream")
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Response> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(body);
        }
        request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        let why = std::error::Error::source(error)
            .map(ToString::to_string)
            .unwrap_or_default();
        anyhow!(
            "no host answers at {} ({why}): start one with \"lucius dev\", or name it with --url",
            self.base
        )
    }
}

/// The headers that say who calls.
///
/// # Errors
/// It cannot be a credential.
pub(crate) fn credential(api_key: Option<&str>) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    if let Some(key) = api_key {
        let value = HeaderValue::try_from(format!("Bearer {}", key.trim()));
        let mut value = value.ok().context(
            "the API key holds signs that no key has: copy it again into --api-key or LUCIUS_API_KEY",
        )?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

/// The document of an answer, or its problem as an error.
async fn read(response: Response) -> anyhow::Result<Value> {
    let status = response.status();
    let text = response
        .text()
        .await
        .context("the host's answer broke off: try again")?;
    let document: Value = serde_json::from_str(&text)
        .with_context(|| format!("the host answered {status} with something that is not JSON"))?;
    if status.is_success() {
        return Ok(document);
    }
    Err(problem(&document))
}

/// `CODE: detail; /pointer: message (source); ...`
fn problem(document: &Value) -> anyhow::Error {
    let part = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let mut line = format!("{}: {}", part(document, "code"), part(document, "detail"));
    for violation in document["violations"].as_array().into_iter().flatten() {
        let (pointer, message) = (part(violation, "pointer"), part(violation, "message"));
        line += &format!("; {pointer}: {message} ({})", part(violation, "source"));
    }
    for error in document["errors"].as_array().into_iter().flatten() {
        line += &format!("; {}: {}", part(error, "entry"), part(error, "reason"));
    }
    anyhow!(line)
}

/// A query of the parameters that are given.
pub(super) fn query<const N: usize>(parameters: [(&str, Option<String>); N]) -> String {
    let given = parameters
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(given)
        .finish()
}

/// An id as a segment of a path; what cannot be part of an id is left out.
pub(super) fn segment(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .collect()
}
