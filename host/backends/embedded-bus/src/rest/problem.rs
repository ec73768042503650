//! Errors as the host's other calls give them (RFC 9457), with the status codes of Service Bus.

use std::borrow::Cow;

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::settings::Fault;

/// Why a call is not done.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
        }
    }

    pub(crate) fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", detail)
    }

    pub(crate) fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", detail)
    }

    pub(crate) fn no_topic(topic: &str) -> Self {
        let detail =
            format!("there is no topic {topic:?}: topics are global-bus-p0 to global-bus-p15");
        Self::new(StatusCode::GONE, "NO_SUCH_TOPIC", detail)
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let text = fault.to_string();
        match fault {
            Fault::Refused(_) => Self::bad_request(text),
            Fault::TooLarge { .. } => Self::new(StatusCode::FORBIDDEN, "MESSAGE_TOO_LARGE", text),
            Fault::Full(_) => Self::new(StatusCode::FORBIDDEN, "BUS_FULL", text),
            // What SQLite says stays in the log.
            Fault::Broken(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "BUS_FILE_FAILED",
                "the bus file failed: the host must be restarted",
            ),
            Fault::Closing => Self::new(StatusCode::SERVICE_UNAVAILABLE, "DRAINING", text),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let body = json!({
            "type": "about:blank",
            "title": title,
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
        });
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
