//! Errors as RFC 9457 problem documents: one shape for every error of the API, with a stable `code` to act on.
//!
//! A handler answers with a [`Problem`]; it is written down by [`super::around`], which knows the request id. What a
//! ledger, a plugin or a panic has to say is for the log and stays there, since it may name paths, statements or
//! other tenants.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use lucius_engine::Refusal;
use lucius_engine::refusal::Violation;
use lucius_ports::ledger;
use serde_json::{Map, Value};

use super::views::{DifferenceView, ProblemView};

/// When to try again where nothing better is known.
const SOON: Duration = Duration::from_secs(1);

/// When to look whether a pause is over.
const PAUSED: Duration = Duration::from_secs(30);

/// Why a request was not carried out.
#[derive(Clone, Debug)]
pub struct Problem(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    violations: Vec<Violation>,
    more: Map<String, Value>,
    retry_after: Option<Duration>,
    allow: Option<&'static str>,
}

impl Problem {
    /// A problem that is nothing but its code and its text.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self(Arc::new(Inner {
            status,
            code,
            detail: detail.into(),
            violations: Vec::new(),
            more: Map::new(),
            retry_after: (status == StatusCode::SERVICE_UNAVAILABLE).then_some(SOON),
            allow: None,
        }))
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// The same with another member.
    pub fn and(self, name: &'static str, value: impl Into<Value>) -> Self {
        self.with(|inner| {
            inner.more.insert(name.to_owned(), value.into());
        })
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// Something broke that should not; the log says what.
    pub fn internal() -> Self {
        let detail = "something went wrong here: try again, or give the operator the request_id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", detail)
    }

    /// No route has this path.
    pub fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NOT_FOUND",
            "there is nothing here: see /openapi.json",
        )
    }

    /// The path exists, but not for this method. Without `allow` the router says which ones there are.
    pub fn method_not_allowed(allow: Option<&'static str>) -> Self {
        let detail = "this method does nothing here: use one that the header Allow names";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", detail)
            .with(|inner| inner.allow = allow)
    }

    /// A query parameter is wrong.
    pub fn invalid_query(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_QUERY", detail)
    }

    /// The body cannot be used as JSON. The text never quotes the body.
    pub fn invalid_json(error: &serde_json::Error) -> Self {
        let detail = format!("the body is not JSON as it must be: {error}");
        let problem = Self::new(StatusCode::BAD_REQUEST, "INVALID_JSON", detail);
        problem
            .and("line", error.line())
            .and("column", error.column())
    }

    /// The bus did not answer; the log says why.
    pub fn bus(error: lucius_ports::bus::Error) -> Self {
        tracing::error!(%error, "the bus did not answer a request");
        let detail = "the bus does not answer: try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "BUS_UNAVAILABLE", detail)
    }

    /// There is no such job.
    pub fn job_not_found() -> Self {
        Refusal::JobNotFound.into()
    }

    /// The document as it is sent.
    pub(super) fn view(&self, request_id: &str) -> ProblemView {
        let Inner {
            status,
            code,
            detail,
            violations,
            more,
            retry_after: _,
            allow: _,
        } = &*self.0;
        ProblemView {
            problem_type: format!(
                "https://lucius.dev/problems/{}",
                code.to_ascii_lowercase().replace('_', "-")
            ),
            title: title(code),
            status: status.as_u16(),
            detail: detail.to_string(),
            code,
            request_id: request_id.to_owned(),
            violations: violations.iter().map(Into::into).collect(),
            more: more.clone(),
        }
    }

    /// The response with its body, which names the request.
    pub(super) fn write(&self, response: Response, request_id: &str) -> Response {
        let (mut parts, _) = response.into_parts();
        // A verb's own router has said how long the empty body is that this one replaces.
        parts.headers.remove(axum::http::header::CONTENT_LENGTH);
        // A struct of text, numbers and JSON always serializes.
        let body = serde_json::to_vec(&self.view(request_id)).unwrap_or_default();
        Response::from_parts(parts, Body::from(body))
    }
}

/// `IDEMPOTENCY_KEY_REUSED` as a sentence: `Idempotency key reused`.
fn title(code: &str) -> String {
    let mut title = code.to_ascii_lowercase().replace('_', " ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    title
}

impl From<&Violation> for super::views::ViolationView {
    fn from(violation: &Violation) -> Self {
        let Violation {
            pointer,
            code,
            message,
            source,
        } = violation.clone();
        Self {
            pointer,
            code,
            message,
            source,
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let code = refusal.code();
        let violations = refusal.violations().to_vec();
        let (status, retry_after) = answer(&refusal);
        let detail = detail(&refusal);
        let mut problem = Self::new(status, code, detail);
        if let Refusal::MigrationDiffers(differences) = &refusal {
            let shown: Vec<_> = differences.iter().map(DifferenceView::from).collect();
            // A list of structs of text and JSON always serializes.
            let shown = serde_json::to_value(shown).unwrap_or(Value::Null);
            problem = problem.and("differences", shown);
        }
        problem.with(|inner| {
            inner.violations = violations;
            inner.retry_after = retry_after.or(inner.retry_after);
        })
    }
}

impl From<ledger::Error> for Problem {
    fn from(error: ledger::Error) -> Self {
        Refusal::from(error).into()
    }
}

fn answer(refusal: &Refusal) -> (StatusCode, Option<Duration>) {
    match refusal {
        Refusal::InvalidEnvelope(_)
        | Refusal::InvalidCallback(_)
        | Refusal::InvalidPayload(_)
        | Refusal::RefNotAllowed(_)
        | Refusal::MigrationRefused(_)
        | Refusal::RouteRejected { .. } => (StatusCode::UNPROCESSABLE_ENTITY, None),
        Refusal::UnsupportedRequestType { .. } | Refusal::DocIdRequired(_) => {
            (StatusCode::BAD_REQUEST, None)
        }
        Refusal::KeyReused(_)
        | Refusal::JobTerminal(_)
        | Refusal::JobNotFailed(_)
        | Refusal::MigrationDiffers(_)
        | Refusal::StaleAttempt
        | Refusal::CallbackConflict => (StatusCode::CONFLICT, None),
        Refusal::TenantLimit { retry_after, .. }
        | Refusal::TenantFuelLimit { retry_after, .. }
        | Refusal::LaneLimit { retry_after, .. }
        | Refusal::GlobalLimit { retry_after, .. } => {
            (StatusCode::TOO_MANY_REQUESTS, Some(*retry_after))
        }
        Refusal::Paused { .. } => (StatusCode::SERVICE_UNAVAILABLE, Some(PAUSED)),
        Refusal::PluginFault { .. }
        | Refusal::LedgerUnavailable(_)
        | Refusal::Sick(_)
        | Refusal::Draining
        | Refusal::Contended => (StatusCode::SERVICE_UNAVAILABLE, None),
        Refusal::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, None),
        Refusal::NotUnderstood(_) => (StatusCode::INTERNAL_SERVER_ERROR, None),
        Refusal::JobNotFound => (StatusCode::NOT_FOUND, None),
        Refusal::TokenMissing => (StatusCode::UNAUTHORIZED, None),
        Refusal::TokenRefused => (StatusCode::FORBIDDEN, None),
    }
}

/// The refusal's own text, but for what comes from inside.
fn detail(refusal: &Refusal) -> String {
    match refusal {
        Refusal::PluginFault { plugin, fault } => {
            tracing::warn!(%plugin, %fault, "a command was refused, since a plugin broke down");
            format!("plugin {plugin} broke down: try again later, or tell the operator")
        }
        Refusal::NotUnderstood(error) => {
            tracing::error!(%error, "a row was left alone");
            refusal.to_string()
        }
        Refusal::LedgerUnavailable(error) => {
            tracing::error!(%error, "the ledger did not answer a request");
            refusal.to_string()
        }
        Refusal::InvalidEnvelope(_)
        | Refusal::InvalidCallback(_)
        | Refusal::InvalidPayload(_)
        | Refusal::RefNotAllowed(_)
        | Refusal::UnsupportedRequestType { .. }
        | Refusal::DocIdRequired(_)
        | Refusal::RouteRejected { .. }
        | Refusal::KeyReused(_)
        | Refusal::TenantLimit { .. }
        | Refusal::TenantFuelLimit { .. }
        | Refusal::LaneLimit { .. }
        | Refusal::GlobalLimit { .. }
        | Refusal::Sick(_)
        | Refusal::TooLarge(_)
        | Refusal::Paused { .. }
        | Refusal::Draining
        | Refusal::JobNotFound
        | Refusal::JobTerminal(_)
        | Refusal::JobNotFailed(_)
        | Refusal::MigrationRefused(_)
        | Refusal::MigrationDiffers(_)
        | Refusal::StaleAttempt
        | Refusal::CallbackConflict
        | Refusal::TokenMissing
        | Refusal::TokenRefused
        | Refusal::Contended => refusal.to_string(),
    }
}

/// Whole seconds, and never "at once".
fn seconds(wait: Duration) -> u64 {
    let up = u64::from(wait.subsec_nanos() > 0);
    wait.as_secs().saturating_add(up).max(1)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.0.status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(wait) = self.0.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds(wait)));
        }
        if let Some(allow) = self.0.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.0.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_its_code_as_a_sentence() {
        assert_eq!(title("IDEMPOTENCY_KEY_REUSED"), "Idempotency key reused");
    }

    #[test]
    fn waiting_is_told_in_whole_seconds_and_never_as_none() {
        assert_eq!(seconds(Duration::ZERO), 1);
        assert_eq!(seconds(Duration::from_millis(1)), 1);
        assert_eq!(seconds(Duration::from_millis(1_001)), 2);
        assert_eq!(seconds(Duration::from_secs(7)), 7);
    }

    #[test]
    fn what_a_ledger_or_a_plugin_says_stays_inside() {
        let inside = [
            Refusal::LedgerUnavailable(ledger::Error::Unavailable(
                "SELECT * /srv/secret".to_owned(),
            )),
            Refusal::PluginFault {
                plugin: "ocr@1.0.0".to_owned(),
                fault: "wasm SELECT".to_owned(),
            },
        ];
        for refusal in inside {
            let problem = Problem::from(refusal);
            let text = serde_json::to_string(&problem.view("r-1")).unwrap();
            assert!(!text.contains("SELECT"), "{text}");
            assert_eq!(problem.into_response().headers()[RETRY_AFTER], "1");
        }
    }
}
