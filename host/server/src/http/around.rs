//! What goes around every request: an id to find it by, a span for the log, metrics, an answer even to a panic, the
//! written form of problems, and the security headers.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CACHE_CONTROL, HeaderName, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use tokio::time::Instant;
use tracing::{Instrument as _, field};

use super::Shared;
use super::problem::Problem;

/// Names the request in both directions.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The place of the client in a trace.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The longest request id that is taken from a client.
const MAX_REQUEST_ID_CHARS: usize = 64;

/// A handler's better name for its route, where one path serves several.
#[derive(Clone, Copy, Debug)]
pub(super) struct RouteName(pub(super) &'static str);

/// The id of a request, for what goes on record.
#[derive(Clone)]
pub(super) struct RequestId(pub(super) String);

pub(super) async fn around(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let request_id = given_id(request.headers()).unwrap_or_else(|| shared.next_request_id());
    request
        .extensions_mut()
        .insert(RequestId(request_id.clone()));
    let method = method_label(request.method());
    let path = request.extensions().get::<MatchedPath>().cloned();
    let route = route_label(path.as_ref());
    let is_api = request.uri().path().starts_with("/v1/");

    let span = tracing::info_span!(
        "request",
        request_id,
        method,
        route,
        traceparent = field::Empty,
        tenant = field::Empty,
        jobId = field::Empty,
        stepId = field::Empty,
        attempt = field::Empty
    );
    if let Some(place) = request
        .headers()
        .get(TRACEPARENT)
        .and_then(|it| it.to_str().ok())
    {
        span.record("traceparent", place);
    }
    let outcome = AssertUnwindSafe(next.run(request))
        .catch_unwind()
        .instrument(span.clone())
        .await;
    let response = outcome.unwrap_or_else(|panic| {
        span.in_scope(|| tracing::error!(panic = text_of(&*panic), "a request panicked"));
        Problem::internal().into_response()
    });

    let mut response = match response.extensions().get::<Problem>().cloned() {
        Some(problem) => problem.write(response, &request_id),
        None => response,
    };
    let route = response
        .extensions()
        .get::<RouteName>()
        .map_or(route, |name| name.0);
    let status = response.status();
    let elapsed = started.elapsed();
    shared
        .metrics
        .request(method, route, status.as_u16(), elapsed);
    span.in_scope(|| tracing::debug!(status = status.as_u16(), ?elapsed, "answered"));
    secure(response.headers_mut(), is_api);
    if let Ok(value) = HeaderValue::try_from(request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// Nothing of the API is kept by caches or guessed at by browsers. There is no CORS header: no foreign page may read.
fn secure(headers: &mut HeaderMap, is_api: bool) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if is_api {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// A client's own id, if it can do no harm in a log.
fn given_id(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(REQUEST_ID)?.to_str().ok()?;
    let fits = (1..=MAX_REQUEST_ID_CHARS).contains(&text.len());
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (fits && text.bytes().all(is_plain)).then(|| text.to_owned())
}

/// A client can make methods up; a label must not follow it.
fn method_label(method: &Method) -> &'static str {
    const KNOWN: [Method; 7] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::OPTIONS,
    ];
    const NAMES: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];
    KNOWN
        .iter()
        .position(|known| known == method)
        .map_or("OTHER", |index| NAMES[index])
}

/// The route as the router has it, never the path as the client wrote it.
fn route_label(path: Option<&MatchedPath>) -> &str {
    // A nested router's fallback has a made-up path.
    path.map(MatchedPath::as_str)
        .filter(|path| !path.contains("__private"))
        .unwrap_or("none")
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}
