//! One callback to the host, and what its answer means for the attempt.
//!
//! Whoever calls decides about trying again; this module only sorts the answers into those after
//! which the attempt goes on, is decided, or should be tried again.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};
use serde::{Deserialize, Serialize};

use crate::contract::Secret;

/// What the host made of a callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It counted, now or when it came before.
    Applied,
    /// The job is over; nothing more is wanted from this attempt.
    JobOver,
    /// Another attempt is current, or this one has been decided otherwise.
    Superseded {
        /// `STALE_ATTEMPT` or `CALLBACK_CONFLICT`.
        code: String,
    },
    /// The host knows no such job or attempt, or does not accept the token.
    Rejected {
        /// The status it gave.
        status: StatusCode,
        /// Its reason.
        detail: String,
    },
    /// The host cannot read what was sent.
    Unreadable {
        /// The status it gave.
        status: StatusCode,
        /// Its reason.
        detail: String,
    },
}

/// No answer that decides anything; the same callback may be sent again.
#[derive(Debug, thiserror::Error)]
#[error("the host did not take the callback: {why}")]
pub struct Unanswered {
    why: String,
    /// How long the host asks to wait.
    pub retry_after: Option<Duration>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AnswerBody {
    applied: Option<bool>,
    code: String,
    detail: String,
}

/// Sends callbacks.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    timeout: Duration,
}

impl Client {
    /// A client that waits `timeout` for each answer.
    pub const fn new(http: reqwest::Client, timeout: Duration) -> Self {
        Self { http, timeout }
    }

    /// Sends one callback once.
    pub async fn post<B: Serialize + Sync>(
        &self,
        url: &str,
        token: Option<&Secret<String>>,
        body: &B,
    ) -> Result<Answer, Unanswered> {
        let mut request = self.http.post(url).timeout(self.timeout).json(body);
        if let Some(token) = token {
            request = request.bearer_auth(token.expose());
        }
        let response = request.send().await.map_err(|error| Unanswered {
            why: error.without_url().to_string(),
            retry_after: None,
        })?;
        sort(response).await
    }
}

async fn sort(response: Response) -> Result<Answer, Unanswered> {
    let status = response.status();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    let body: AnswerBody = match response.bytes().await {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        // The status alone says enough for a refusal, and a success without its body is not known.
        Err(_) if status.is_client_error() => AnswerBody::default(),
        Err(error) => {
            return Err(Unanswered {
                why: error.without_url().to_string(),
                retry_after,
            });
        }
    };
    let detail = || {
        if body.detail.is_empty() {
            body.code.clone()
        } else {
            body.detail.clone()
        }
    };
    match status.as_u16() {
        200..=299 if body.applied == Some(false) => Ok(Answer::JobOver),
        200..=299 => Ok(Answer::Applied),
        409 => Ok(Answer::Superseded { code: body.code }),
        408 | 425 | 429 => Err(Unanswered {
            why: status.to_string(),
            retry_after,
        }),
        400 | 413 | 415 | 422 => Ok(Answer::Unreadable {
            status,
            detail: detail(),
        }),
        300..=499 => Ok(Answer::Rejected {
            status,
            detail: detail(),
        }),
        _ => Err(Unanswered {
            why: status.to_string(),
            retry_after,
        }),
    }
}
