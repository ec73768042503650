//! Taking a JSON body in: its type, its size, its time, then its text.
//!
//! The size is counted as it arrives, whatever the headers say. Of a body that is too large a little more is read and
//! thrown away, so that a client that writes first and reads later gets to see the answer.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::{HeaderMap, StatusCode};
use futures_util::StreamExt as _;
use serde_json::Value;

use super::json;
use super::problem::Problem;

/// How much of a body that is too large is read after all, in bytes.
const DRAIN_BYTES: usize = 16 << 20;
/// What is set aside for a body before any of it has come, in bytes; a header is easily written.
const FIRST_BYTES: usize = 16 << 10;

/// What a body may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) bytes: usize,
    pub(super) time: Duration,
}

/// The body as JSON.
pub(super) async fn json(request: Request, bounds: Bounds) -> Result<Value, Problem> {
    let (parts, body) = request.into_parts();
    check_type(&parts.headers)?;
    let announced = announced(&parts.headers);
    let waits = parts.headers.contains_key(EXPECT);
    if announced.is_some_and(|bytes| bytes > bounds.bytes) && waits {
        // The client holds the body back until it is asked for it.
        return Err(too_large(bounds.bytes));
    }
    let read = read(body, announced.unwrap_or(0), bounds.bytes);
    let text = tokio::time::timeout(bounds.time, read)
        .await
        .unwrap_or_else(|_| Err(too_slow()))?;
    json::parse(&text).map_err(|error| Problem::invalid_json(&error))
}

async fn read(body: Body, announced: usize, limit: usize) -> Result<Vec<u8>, Problem> {
    let mut chunks = body.into_data_stream();
    let mut text = Vec::with_capacity(announced.min(limit).min(FIRST_BYTES));
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            tracing::debug!(%error, "a body broke off");
            let detail = "the body broke off or its chunks are not well-formed: send it again";
            Problem::new(StatusCode::BAD_REQUEST, "BODY_BROKEN_OFF", detail)
        })?;
        if text.len() + chunk.len() > limit {
            let mut drained = chunk.len();
            drop(text);
            while let Some(Ok(chunk)) = chunks.next().await {
                drained += chunk.len();
                if drained > DRAIN_BYTES {
                    break;
                }
            }
            return Err(too_large(limit));
        }
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A body without a type is refused too: that is what a foreign web page can send without asking first.
fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let is_json = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|text| is_json(&text.to_ascii_lowercase()));
    let is_plain = headers
        .get(CONTENT_ENCODING)
        .is_none_or(|value| value == "identity");
    if is_json && is_plain {
        return Ok(());
    }
    let detail = "send JSON as UTF-8, not compressed, with \"Content-Type: application/json\"";
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "UNSUPPORTED_MEDIA_TYPE",
        detail,
    ))
}

fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let subtype = essence.strip_prefix("application/").unwrap_or_default();
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some(("charset", charset)) => matches!(charset.trim_matches('"'), "utf-8" | "utf8"),
        Some(_) | None => true,
    });
    (subtype == "json" || subtype.ends_with("+json")) && utf8
}

fn too_large(limit: usize) -> Problem {
    let detail =
        format!("the body has more than {limit} bytes: refer to documents instead of sending them");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", detail)
}

fn too_slow() -> Problem {
    let detail = "the body did not arrive in time: send it again";
    Problem::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_by_its_media_type() {
        for json in [
            "application/json",
            "application/json; charset=utf-8",
            "application/ack+json",
        ] {
            assert!(is_json(json), "{json}");
        }
        for other in [
            "text/plain",
            "application/jsonx",
            "application/json; charset=utf-16",
            "",
        ] {
            assert!(!is_json(other), "{other}");
        }
    }
}
