//! A directive as a message: its id, its keys and its properties.

use std::collections::HashMap;

use azure_messaging_servicebus::service_bus::{SendMessageOptions, SettableBrokerProperties};
use lucius_domain::id::Digest;
use lucius_ports::bus::Message;

/// The longest message id, session id or partition key.
const LONGEST: usize = 128;

/// What is sent beside the body.
pub(crate) fn options(message: &Message) -> SendMessageOptions {
    let routing_key = fitting(&message.routing_key);
    let text = |value: &str| serde_json::Value::from(value).to_string();
    let properties = [
        ("service", text(message.service.as_str())),
        ("mode", text(message.mode.as_str())),
        ("lane", message.lane.number().to_string()),
        ("tenant_id", text(message.tenant_id.as_str())),
        ("jobId", text(&message.job_id.to_string())),
        ("stepId", text(message.step_id.as_str())),
        ("attempt_no", message.attempt_no.to_string()),
    ];
    SendMessageOptions {
        content_type: Some("application/json".to_owned()),
        broker_properties: Some(SettableBrokerProperties {
            message_id: Some(fitting(&message.message_id)),
            session_id: Some(routing_key.clone()),
            partition_key: Some(routing_key),
            ..SettableBrokerProperties::default()
        }),
        custom_properties: Some(HashMap::from(
            properties.map(|(name, value)| (name.to_owned(), value)),
        )),
    }
}

/// The text, or its digest when it is longer than the service takes.
fn fitting(text: &str) -> String {
    match text.encode_utf16().count() > LONGEST {
        true => Digest::of(text.as_bytes()).to_string(),
        false => text.to_owned(),
    }
}

/// JSON with every character that is not ASCII as an escape.
pub(crate) fn ascii_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for char in json.chars() {
        if char.is_ascii() {
            text.push(char);
        } else {
            let mut units = [0; 2];
            for unit in char.encode_utf16(&mut units) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_in_a_header_says_the_same_in_ascii() {
        let json = serde_json::json!({ "SessionId": "größe 世界 📄" }).to_string();
        let ascii = ascii_json(&json);
        assert!(ascii.is_ascii());
        let (one, other): (serde_json::Value, serde_json::Value) = (
            serde_json::from_str(&json).expect("JSON"),
            serde_json::from_str(&ascii).expect("JSON"),
        );
        assert_eq!(one, other);
    }

    #[test]
    fn a_key_that_is_too_long_becomes_its_digest() {
        assert_eq!(fitting(&"x".repeat(128)).len(), 128);
        assert_eq!(fitting(&"x".repeat(129)).len(), 64);
    }
}
