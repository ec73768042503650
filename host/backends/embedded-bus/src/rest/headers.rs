//! A message's properties as headers: `BrokerProperties`, a JSON object of what Service Bus knows, and one header for
//! each property of the sender's own.

use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use lucius_domain::time::Timestamp;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::index::Delivery;
use crate::message::{Head, check_message_id, json_in_ascii, property_text, property_value};
use crate::rest::problem::Problem;

const BROKER_PROPERTIES: HeaderName = HeaderName::from_static("brokerproperties");

/// What HTTP itself and those on the way say; no property of a message.
const NOT_PROPERTIES: [&str; 25] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "origin",
    "pragma",
    "referer",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
];
const NOT_PROPERTY_PREFIXES: [&str; 4] = ["proxy-", "sec-", "x-forwarded-", "x-ms-"];

/// Broker properties that a sender sets and a receiver sees.
const CARRIED: [&str; 8] = [
    "SessionId",
    "PartitionKey",
    "CorrelationId",
    "Label",
    "Subject",
    "ReplyTo",
    "ReplyToSessionId",
    "To",
];
/// Those that would need more than this bus does; taking them in silence would be a lie.
const NOT_SUPPORTED: [&str; 3] = ["TimeToLive", "ScheduledEnqueueTimeUtc", "ViaPartitionKey"];

/// The dates of HTTP, which are those of Service Bus.
const HTTP_DATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// What Service Bus shows for a message that never expires, in seconds.
const NO_EXPIRY_SECONDS: f64 = 922_337_203_685.477_5;

/// Reads service, message id and everything to be carried.
pub(crate) fn read(headers: &HeaderMap) -> Result<(String, Option<String>, Head), Problem> {
    let text = |name: &str, value: &HeaderValue| {
        let bytes = value.as_bytes().to_vec();
        String::from_utf8(bytes)
            .map_err(|_| Problem::bad_request(format!("header {name} is not UTF-8 text")))
    };
    let mut head = Head::default();
    let mut service = None;
    for (name, value) in headers {
        let name = name.as_str();
        let of_http = NOT_PROPERTIES.binary_search(&name).is_ok()
            || NOT_PROPERTY_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix));
        if of_http || name == BROKER_PROPERTIES.as_str() {
            continue;
        }
        let value = property_value(&text(name, value)?);
        if name == "service" {
            service = Some(property_text(&value));
        }
        head.properties.push((name.to_owned(), value));
    }
    head.content_type = headers
        .get(CONTENT_TYPE)
        .map(|v| text("content-type", v))
        .transpose()?;
    let mut message_id = None;
    if let Some(json) = headers.get(BROKER_PROPERTIES) {
        (message_id, head.broker) = read_broker(json.as_bytes())?;
    }
    let service = service.ok_or_else(|| {
        Problem::bad_request(
            "a message needs the property service, which names its subscription: send a header like  service: \"platform-ocr\"",
        )
    })?;
    Ok((service, message_id, head))
}

type Broker = (Option<String>, Vec<(String, String)>);

fn read_broker(json: &[u8]) -> Result<Broker, Problem> {
    let mut given: Map<String, Value> = serde_json::from_slice(json)
        .map_err(|e| Problem::bad_request(format!("BrokerProperties is no JSON object: {e}")))?;
    if let Some(name) = NOT_SUPPORTED.iter().find(|name| given.contains_key(**name)) {
        return Err(Problem::bad_request(format!(
            "the embedded bus does not do {name}: leave it out of BrokerProperties"
        )));
    }
    let mut take = |name: &str| match given.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => Err(
            Problem::bad_request(format!("{name} in BrokerProperties must be a string")),
        ),
    };
    let message_id = take("MessageId")?.map(check_message_id).transpose()?;
    let mut carried = Vec::new();
    for name in CARRIED {
        if let Some(text) = take(name)? {
            carried.push((name.to_owned(), text));
        }
    }
    let of = |wanted: &str| {
        carried
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, text)| text)
    };
    match (of("SessionId"), of("PartitionKey")) {
        (Some(session), Some(partition)) if session != partition => Err(Problem::bad_request(
            "PartitionKey must be the same as SessionId when both are given",
        )),
        (_, _) => Ok((message_id, carried)),
    }
}

/// Writes all that a receiver gets besides the body; with a lock, also its token and end.
pub(crate) fn write(
    headers: &mut HeaderMap,
    delivery: &Delivery,
    head: &Head,
    locked_until: Option<Timestamp>,
) -> Result<(), Problem> {
    let mut broker = Map::new();
    for (name, text) in &head.broker {
        broker.insert(name.clone(), json!(text));
    }
    broker.insert("DeliveryCount".to_owned(), json!(delivery.delivery_count));
    let enqueued_at = http_date(Timestamp(delivery.enqueued_at));
    broker.insert("EnqueuedTimeUtc".to_owned(), json!(enqueued_at));
    broker.insert("MessageId".to_owned(), json!(delivery.message_id));
    broker.insert("SequenceNumber".to_owned(), json!(delivery.sequence));
    broker.insert("State".to_owned(), json!("Active"));
    broker.insert("TimeToLive".to_owned(), json!(NO_EXPIRY_SECONDS));
    if let Some(until) = locked_until {
        broker.insert("LockToken".to_owned(), json!(delivery.token));
        broker.insert("LockedUntilUtc".to_owned(), json!(http_date(until)));
    }
    headers.insert(BROKER_PROPERTIES, json_header(&Value::Object(broker))?);
    if let Some(content_type) = &head.content_type {
        headers.insert(CONTENT_TYPE, header(content_type)?);
    }
    for (name, value) in &head.properties {
        // A name that is no header name came in by the host itself and cannot go out this way.
        if let Ok(name) = HeaderName::try_from(name) {
            headers.insert(name, header(value)?);
        }
    }
    if let Some(reason) = &delivery.dead_reason {
        let name = HeaderName::from_static("deadletterreason");
        headers.insert(name, header(&json_in_ascii(reason))?);
    }
    Ok(())
}

/// The end of a lock that was renewed.
pub(crate) fn write_lock_end(headers: &mut HeaderMap, until: Timestamp) -> Result<(), Problem> {
    let broker = json!({ "LockedUntilUtc": http_date(until) });
    headers.insert(BROKER_PROPERTIES, json_header(&broker)?);
    Ok(())
}

fn header(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::try_from(text)
        .map_err(|e| Problem::bad_request(format!("a property is no header value: {e}")))
}

/// JSON in ASCII: outside its strings, JSON has no other characters.
fn json_header(json: &Value) -> Result<HeaderValue, Problem> {
    // A value that is in memory always serializes.
    let text = serde_json::to_string(json).unwrap_or_default();
    if text.is_ascii() {
        return header(&text);
    }
    let mut ascii = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            let escaped = json_in_ascii(c.encode_utf8(&mut [0; 4]));
            ascii.push_str(escaped.trim_matches('"'));
        }
    }
    header(&ascii)
}

fn http_date(at: Timestamp) -> String {
    let nanos = i128::from(at.0) * 1_000_000;
    let date = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok();
    date.and_then(|date| date.format(HTTP_DATE).ok())
        .unwrap_or_else(|| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::try_from(*value).unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn the_names_of_http_are_sorted_for_the_search() {
        assert!(NOT_PROPERTIES.is_sorted());
    }

    #[test]
    fn dates_are_those_of_http() {
        assert_eq!(
            http_date(Timestamp(1_700_000_000_250)),
            "Tue, 14 Nov 2023 22:13:20 GMT"
        );
    }

    #[test]
    fn what_http_needs_is_no_property() {
        let given = headers(&[
            ("host", "h"),
            ("authorization", "SharedAccessSignature x"),
            ("x-ms-version", "1"),
            ("service", "s"),
            ("tenant_id", "\"acme\""),
            ("attempt_no", "2"),
        ]);
        let (service, message_id, head) = read(&given).unwrap();
        assert_eq!((service.as_str(), message_id), ("s", None));
        let mut names: Vec<_> = head
            .properties
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["attempt_no", "service", "tenant_id"]);
    }

    #[test]
    fn what_cannot_be_done_is_refused_and_not_ignored() {
        for broker in [
            r#"{"TimeToLive": 5}"#,
            r#"{"MessageId": ""}"#,
            r#"{"MessageId": 5}"#,
            r#"{"SessionId": "a", "PartitionKey": "b"}"#,
            "[]",
            "{",
        ] {
            assert!(read_broker(broker.as_bytes()).is_err(), "{broker}");
        }
    }

    #[test]
    fn broker_properties_beyond_ascii_fit_in_a_header() {
        let value = json_header(&json!({ "SessionId": "müller 📄" })).unwrap();
        let back: Value = serde_json::from_slice(value.as_bytes()).unwrap();
        assert!(value.to_str().unwrap().is_ascii());
        assert_eq!(back["SessionId"], "müller 📄");
    }
}
