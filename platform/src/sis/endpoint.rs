//! A generating model behind an OpenAI-compatible HTTP endpoint.
//!
//! Every way it can fail is a stable code with the right failure class: what passes by itself (a
//! busy model, a lost connection, a half answer) is retryable, what an operator or author must
//! change is not. The key goes to the configured address alone: redirects are not followed.

use std::time::Duration;

use futures_util::TryStreamExt;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, Response, StatusCode, redirect};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::settings::SettingsError;
use crate::contract::Secret;
use crate::service::Failure;

/// An answer larger than this is no answer.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// How much of an endpoint's own words about a failure is passed on.
const DETAIL_CHARS: usize = 200;

/// Where a generating model is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The address before `/chat/completions`: `https://host/v1`.
    pub base_url: String,
    /// The model's name at the endpoint.
    pub model: String,
    /// The environment variable that holds the key; none is sent when absent.
    #[serde(default)]
    pub api_key_env: Option<String>,
    /// How long one answer may take, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// How much of a document is shown, in characters: all of a shorter one, else the chunks most
    /// like the question.
    #[serde(default = "default_context_chars")]
    pub context_chars: usize,
}

const fn default_timeout_ms() -> u64 {
    120_000
}

const fn default_context_chars() -> usize {
    24_000
}

/// One question to a generating model.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// What the model is to be and do.
    pub system: &'a str,
    /// The document and the question.
    pub user: &'a str,
    /// How freely it words the answer.
    pub temperature: Option<f64>,
    /// Tokens of the answer at most.
    pub max_tokens: Option<u32>,
    /// Whether the answer must be a JSON object.
    pub json: bool,
}

/// What a generating model said.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The answer, whole.
    pub content: String,
    /// The model's name as the endpoint gives it.
    pub model: String,
}

/// A client of one endpoint.
#[derive(Debug)]
pub struct Endpoint {
    client: Client,
    address: Url,
    key: Option<HeaderValue>,
    settings: Settings,
}

impl Endpoint {
    /// Checks the settings; nothing is sent yet.
    pub fn new(settings: Settings, key: Option<&Secret<String>>) -> Result<Self, SettingsError> {
        let address = address(&settings.base_url)
            .ok_or_else(|| SettingsError::BaseUrl(settings.base_url.clone()))?;
        let key = key.map(|key| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose()))?;
            value.set_sensitive(true);
            Ok::<_, reqwest::header::InvalidHeaderValue>(value)
        });
        let key = key.transpose().map_err(|_| SettingsError::Key)?;
        let timeout = Duration::from_millis(settings.timeout_ms.max(1));
        let client = Client::builder()
            .timeout(timeout)
            .connect_timeout(timeout.min(Duration::from_secs(10)))
            .redirect(redirect::Policy::none())
            .build()?;
        Ok(Self {
            client,
            address,
            key,
            settings,
        })
    }

    /// How much of a document is shown, in characters.
    pub const fn context_chars(&self) -> usize {
        self.settings.context_chars
    }

    /// Asks once. Retries are the host's, which knows how often and how far apart.
    pub async fn ask(&self, question: Question<'_>) -> Result<Reply, Failure> {
        let mut request = self
            .client
            .post(self.address.clone())
            .json(&self.body(&question));
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key.clone());
        }
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let retry_after = retry_after_s(&response);
        let body = self.read(response).await?;
        if !status.is_success() {
            return Err(self.refusal(status, retry_after, &body));
        }
        self.reply(&body, &question)
    }

    fn body(&self, question: &Question<'_>) -> Value {
        let mut body = json!({
            "model": self.settings.model,
            "messages": [
                {"role": "system", "content": question.system},
                {"role": "user", "content": question.user},
            ],
            "stream": false,
        });
        if let Some(temperature) = question.temperature {
            body["temperature"] = json!(temperature);
        }
        if let Some(max_tokens) = question.max_tokens {
            body["max_tokens"] = json!(max_tokens);
        }
        if question.json {
            body["response_format"] = json!({"type": "json_object"});
        }
        body
    }

    async fn read(&self, response: Response) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.try_next().await.map_err(|e| self.unreachable(&e))? {
            if body.len() + chunk.len() > ANSWER_BYTES {
                let message = format!("{} answered with more than 4 MiB", self.address);
                return Err(Failure::retryable("ENDPOINT_ANSWER_INVALID", message));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let address = &self.address;
        if error.is_timeout() {
            let limit = self.settings.timeout_ms;
            let message = format!(
                "{address} did not answer within {limit} ms; raise [sis] endpoint.timeout_ms or \
                 ask for fewer tokens"
            );
            return Failure::retryable("ENDPOINT_TIMEOUT", message);
        }
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let message = format!("cannot talk to {address} ({cause}); check [sis] endpoint.base_url");
        Failure::retryable("ENDPOINT_UNREACHABLE", message)
    }

    fn refusal(&self, status: StatusCode, retry_after_s: Option<u64>, body: &[u8]) -> Failure {
        let address = &self.address;
        let said = said(body);
        let failure = match status.as_u16() {
            429 | 503 => {
                let message = format!("{address} is overloaded ({status}{said})");
                Failure::retryable("MODEL_OVERLOADED", message)
            }
            408 | 504 => {
                let message = format!("{address} took too long itself ({status}{said})");
                Failure::retryable("ENDPOINT_TIMEOUT", message)
            }
            500..=599 => Failure::retryable(
                "ENDPOINT_FAILED",
                format!("{address} failed ({status}{said})"),
            ),
            401 | 403 => {
                let message = format!(
                    "{address} refuses the key ({status}{said}); check [sis] endpoint.api_key_env"
                );
                Failure::fatal("ENDPOINT_KEY_REFUSED", message)
            }
            _ => {
                let message = format!(
                    "{address} refuses the request ({status}{said}); check [sis] endpoint.base_url \
                     and model"
                );
                Failure::fatal("ENDPOINT_REFUSED", message)
            }
        };
        let details = json!({"status": status.as_u16(), "retry_after_s": retry_after_s});
        failure.with_details(details)
    }

    fn reply(&self, body: &[u8], question: &Question<'_>) -> Result<Reply, Failure> {
        let invalid = |why: &str| {
            let message = format!("{} answered with {why}", self.address);
            Failure::retryable("ENDPOINT_ANSWER_INVALID", message)
        };
        let completion: Completion = serde_json::from_slice(body)
            .map_err(|_| invalid("something else than a completion"))?;
        let model = completion
            .model
            .unwrap_or_else(|| self.settings.model.clone());
        let choice = completion
            .choices
            .into_iter()
            .next()
            .ok_or_else(|| invalid("no choice"))?;
        match choice.finish_reason.as_deref() {
            Some("stop") => {}
            Some("length") => {
                let limit = question
                    .max_tokens
                    .map_or_else(String::new, |n| format!(" ({n})"));
                let message =
                    format!("the answer was cut off at its limit{limit}; raise max_tokens");
                return Err(Failure::fatal("ANSWER_CUT_OFF", message));
            }
            Some("content_filter") => {
                let message = "the endpoint's content filter withheld the answer; ask differently";
                return Err(Failure::fatal("ANSWER_WITHHELD", message));
            }
            Some(other) => return Err(invalid(&format!("the finish reason {other:?}"))),
            None => return Err(invalid("an answer that is not finished")),
        }
        let content = choice.message.content.unwrap_or_default().trim().to_owned();
        if content.is_empty() {
            return Err(invalid("an empty message"));
        }
        Ok(Reply { content, model })
    }
}

/// The answer as JSON. Models like to wrap it in a Markdown fence, which is taken off.
pub fn json_answer(content: &str) -> Result<Value, Failure> {
    let bare = content.trim();
    let inner = bare
        .strip_prefix("```json")
        .or_else(|| bare.strip_prefix("```"))
        .and_then(|rest| rest.strip_suffix("```"))
        .unwrap_or(bare);
    serde_json::from_str(inner.trim()).map_err(|error| {
        Failure::retryable(
            "ANSWER_NOT_JSON",
            format!("the model's answer is not JSON: {error}"),
        )
    })
}

fn address(base_url: &str) -> Option<Url> {
    let mut url = Url::parse(base_url).ok()?;
    let web = matches!(url.scheme(), "http" | "https");
    if !web || !url.username().is_empty() || url.query().is_some() || url.fragment().is_some() {
        return None;
    }
    url.path_segments_mut()
        .ok()?
        .pop_if_empty()
        .extend(["chat", "completions"]);
    Some(url)
}

fn retry_after_s(response: &Response) -> Option<u64> {
    response
        .headers()
        .get("retry-after")?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// What the endpoint itself says about a failure, on one short line.
fn said(body: &[u8]) -> String {
    let message = serde_json::from_slice::<Value>(body).ok().and_then(|body| {
        let error = body.get("error")?;
        Some(error.get("message").unwrap_or(error).as_str()?.to_owned())
    });
    let Some(message) = message else {
        return String::new();
    };
    let plain = message
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c });
    let short: String = plain.take(DETAIL_CHARS).collect();
    format!(", {short:?}")
}

#[derive(Deserialize)]
struct Completion {
    model: Option<String>,
    #[serde(default)]
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_completed_or_refused() {
        for base in ["http://h:1/v1", "http://h:1/v1/"] {
            assert_eq!(
                address(base).unwrap().as_str(),
                "http://h:1/v1/chat/completions"
            );
        }
        for base in [
            "ftp://h/v1",
            "h:8000",
            "https://u:p@h/v1",
            "https://h/v1?k=1",
            "",
        ] {
            assert!(address(base).is_none(), "{base}");
        }
    }

    #[test]
    fn a_key_is_never_printed() {
        let settings: Settings =
            serde_json::from_str(r#"{"base_url": "http://h/v1", "model": "m"}"#).unwrap();
        let key = Secret::new("s3cret".to_owned());
        let endpoint = Endpoint::new(settings.clone(), Some(&key)).unwrap();
        assert!(!format!("{endpoint:?}").contains("s3cret"));
        let broken = Secret::new("two\nlines".to_owned());
        assert!(matches!(
            Endpoint::new(settings, Some(&broken)),
            Err(SettingsError::Key)
        ));
    }

    #[test]
    fn a_fence_around_json_is_taken_off() {
        assert_eq!(
            json_answer("```json\n{\"a\": 1}\n```").unwrap(),
            json!({"a": 1})
        );
        assert_eq!(json_answer(" {\"a\": 1}").unwrap(), json!({"a": 1}));
        assert_eq!(
            json_answer("The answer is {}").unwrap_err().code,
            "ANSWER_NOT_JSON"
        );
    }
}
