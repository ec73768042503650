//! What a client submits.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Ref;
use crate::id::{RequestType, TenantId};
use crate::routing::Mode;

/// A command, `command-envelope.v1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Who it belongs to.
    pub tenant_id: TenantId,
    /// What is asked for.
    pub request_type: RequestType,
    /// The client's name for the document.
    #[serde(default)]
    pub doc_id: Option<String>,
    /// The document.
    pub input_ref: Ref,
    /// The folder that gets the results.
    pub output_ref: Ref,
    /// One payload for every step, or `{"steps": {"<step_id>": {...}}}`.
    pub payload: Map<String, Value>,
    /// Always `v1`.
    pub schema_version: String,
    /// How it is routed, when the client cares.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// The client's own key for "this very request".
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// 0 (can wait) to 9 (first); 5 when absent.
    #[serde(default)]
    pub priority: Option<u8>,
    /// The client's id for a group of requests.
    #[serde(default)]
    pub correlation_id: Option<String>,
    /// W3C trace context.
    #[serde(default)]
    pub traceparent: Option<String>,
}

impl Command {
    /// The payload of one step, with the JSON Pointer to where it stands in the command.
    pub fn step_payload(&self, step_id: &str) -> (Value, String) {
        match self.payload.get("steps") {
            Some(Value::Object(steps)) => {
                let payload = steps
                    .get(step_id)
                    .cloned()
                    .unwrap_or_else(|| Map::new().into());
                (
                    payload,
                    format!("/payload/steps/{}", escape_pointer(step_id)),
                )
            }
            _ => (Value::Object(self.payload.clone()), "/payload".to_owned()),
        }
    }
}

/// One reference token of a JSON Pointer (RFC 6901, section 3).
fn escape_pointer(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}
