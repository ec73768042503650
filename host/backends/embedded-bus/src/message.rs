//! What a message is made of, and which ones are taken.

use std::sync::Arc;

use bytes::Bytes;
use lucius_domain::routing::Lane;
use lucius_ports::bus::Message;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::settings::Fault;

/// The longest subscription name: what the registry allows a service to be called.
const SERVICE_NAME_CHARS: usize = 64;
/// The longest message id, as in Azure Service Bus.
const MESSAGE_ID_CHARS: usize = 128;

/// A message on its way in.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) lane: Lane,
    pub(crate) service: String,
    /// The bus gives one to a message without.
    pub(crate) message_id: Option<String>,
    /// [`Head`] as JSON, for the file.
    pub(crate) head: String,
    pub(crate) content: Arc<Content>,
}

/// All that a receiver gets besides the body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Custom properties by name, each value as JSON in ASCII: `"platform-ocr"`, `3`.
    pub(crate) properties: Vec<(String, String)>,
    /// Settable broker properties by name, text only: `SessionId`, `PartitionKey`, `Label`.
    pub(crate) broker: Vec<(String, String)>,
    /// The media type of the body.
    pub(crate) content_type: Option<String>,
}

/// What is handed to a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) head: Head,
    pub(crate) body: Bytes,
}

/// A message that the bus has numbered: one row of the file, apart from what changes later.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) sequence: u64,
    pub(crate) lane: Lane,
    pub(crate) service: String,
    pub(crate) message_id: String,
    /// Milliseconds since 1970, by the wall clock.
    pub(crate) enqueued_at: i64,
    /// [`Head`] as JSON.
    pub(crate) head: String,
    pub(crate) content: Arc<Content>,
}

impl Row {
    /// What the content counts in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.head.len() + self.content.body.len()
    }
}

/// Guards what was stored against what is read back, years later and from another disk.
pub(crate) fn checksum(head: &str, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head.as_bytes());
    hasher.update(body);
    hasher.finalize()
}

impl Outgoing {
    /// A message with the properties that every directive has.
    pub(crate) fn from_port(message: &Message) -> Result<Self, Fault> {
        let text = |name: &str, value: &str| (name.to_owned(), json_in_ascii(value));
        let properties = vec![
            text("service", message.service.as_str()),
            text("mode", message.mode.as_str()),
            ("lane".to_owned(), message.lane.number().to_string()),
            text("tenant_id", message.tenant_id.as_str()),
            text("jobId", &message.job_id.to_string()),
            text("stepId", message.step_id.as_str()),
            ("attempt_no".to_owned(), message.attempt_no.to_string()),
        ];
        let broker = vec![
            ("SessionId".to_owned(), message.routing_key.clone()),
            ("PartitionKey".to_owned(), message.routing_key.clone()),
        ];
        let head = Head {
            properties,
            broker,
            content_type: Some("application/json".to_owned()),
        };
        let body = Bytes::copy_from_slice(message.body.as_bytes());
        let mut outgoing = Self::new(message.lane, message.service.as_str(), head, body)?;
        outgoing.message_id = Some(check_message_id(message.message_id.clone())?);
        Ok(outgoing)
    }

    /// A message without an id, for a service that can have a subscription.
    pub(crate) fn new(lane: Lane, service: &str, head: Head, body: Bytes) -> Result<Self, Fault> {
        check_service(service)?;
        let json = serde_json::to_string(&head)
            .map_err(|e| Fault::Refused(format!("the properties cannot be stored: {e}")))?;
        let content = Arc::new(Content { head, body });
        Ok(Self {
            lane,
            service: service.to_owned(),
            message_id: None,
            head: json,
            content,
        })
    }

    /// What counts against the largest message.
    pub(crate) fn bytes(&self) -> usize {
        self.head.len() + self.content.body.len()
    }
}

/// Refuses ids that Azure Service Bus would refuse.
pub(crate) fn check_message_id(id: String) -> Result<String, Fault> {
    if (1..=MESSAGE_ID_CHARS).contains(&id.chars().count()) {
        return Ok(id);
    }
    Err(Fault::Refused(format!(
        "MessageId must have 1 to {MESSAGE_ID_CHARS} characters"
    )))
}

/// Refuses names that no subscription can have.
pub(crate) fn check_service(name: &str) -> Result<(), Fault> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts_well && name.len() <= SERVICE_NAME_CHARS && name.chars().all(allowed) {
        return Ok(());
    }
    Err(Fault::Refused(format!(
        "a subscription is named by 1 to {SERVICE_NAME_CHARS} letters, digits, dots, hyphens and underscores, a letter or digit first"
    )))
}

/// Text as a JSON string without characters that a header could not carry.
pub(crate) fn json_in_ascii(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            ' '..='~' => json.push(c),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    json.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    json.push('"');
    json
}

/// The value of a custom property as Service Bus writes it: strings quoted, numbers and booleans bare. What is neither
/// is taken as a string that lacks its quotes.
pub(crate) fn property_value(header: &str) -> String {
    let header = header.trim();
    if let Ok(text) = serde_json::from_str::<String>(header) {
        return json_in_ascii(&text);
    }
    let scalar =
        serde_json::from_str::<&RawValue>(header).is_ok() && !header.starts_with(['{', '[', 'n']);
    if scalar {
        header.to_owned()
    } else {
        json_in_ascii(header)
    }
}

/// The text of a property's value, with its quotes taken off if it has any.
pub(crate) fn property_text(value: &str) -> String {
    serde_json::from_str::<String>(value).unwrap_or_else(|_| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_comes_quoted_or_not_and_leaves_as_service_bus_writes_it() {
        assert_eq!(property_value("\"platform-ocr\""), "\"platform-ocr\"");
        assert_eq!(property_value("platform-ocr"), "\"platform-ocr\"");
        assert_eq!(property_value(" 3 "), "3");
        assert_eq!(property_value("true"), "true");
        assert_eq!(property_value("007"), "\"007\"");
        assert_eq!(property_value("null"), "\"null\"");
        assert_eq!(property_value("{}"), "\"{}\"");
    }

    #[test]
    fn text_beyond_ascii_travels_in_headers_and_comes_back() {
        let value = property_value("Müller \"& Söhne\" 📄\n");
        assert!(value.is_ascii() && !value.contains('\n'), "{value}");
        assert_eq!(property_text(&value), "Müller \"& Söhne\" 📄");
        assert_eq!(
            property_text(&json_in_ascii("a\\b\n\u{7f}")),
            "a\\b\n\u{7f}"
        );
    }

    #[test]
    fn a_subscription_is_named_like_a_service() {
        for good in ["platform-ocr", "a", "9.x_y", &"s".repeat(64)] {
            assert_eq!(check_service(good), Ok(()));
        }
        for bad in ["", "-a", ".", "a/b", "a b", "é", &"s".repeat(65)] {
            assert!(check_service(bad).is_err(), "{bad}");
        }
    }
}
