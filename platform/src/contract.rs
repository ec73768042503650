//! The five contracts as a worker sees them: it reads directives and writes ACKs, heartbeats and
//! RESULTs.
//!
//! Field names mix camelCase and snake_case because the contract does. Unknown fields are allowed
//! everywhere, so that a newer host can add some without breaking an older worker.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// A reference to data: a bare URI, or a URI with what is known about the data.
///
/// Only the `uri` of a reference is required, so the bare form is the object form with nothing
/// known; both are read into this one type. A reference without anything known is written bare.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "RefForm", into = "RefForm")]
pub struct Ref {
    /// Where the data is.
    pub uri: String,
    /// `sha256:` and 64 hex digits, when known.
    pub checksum: Option<String>,
    /// The size in bytes, when known.
    pub size_bytes: Option<u64>,
    /// The media type, when known.
    pub content_type: Option<String>,
    /// What its writer noted about it, for example `{"characters": 120, "pages": 2}`.
    pub metadata: Map<String, Value>,
}

impl Ref {
    /// A reference of which only the URI is known.
    pub fn bare(uri: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            checksum: None,
            size_bytes: None,
            content_type: None,
            metadata: Map::new(),
        }
    }

    /// True when the media type is `essence`, whatever its parameters (`; charset=utf-8`).
    pub fn is_type(&self, essence: &str) -> bool {
        let declared = self.content_type.as_deref().unwrap_or_default();
        let bare = declared.split(';').next().unwrap_or_default().trim();
        bare.eq_ignore_ascii_case(essence)
    }
}

#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum RefForm {
    Bare(String),
    Full {
        uri: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        checksum: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size_bytes: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content_type: Option<String>,
        #[serde(default, skip_serializing_if = "Map::is_empty")]
        metadata: Map<String, Value>,
    },
}

impl From<RefForm> for Ref {
    fn from(form: RefForm) -> Self {
        match form {
            RefForm::Bare(uri) => Self::bare(uri),
            RefForm::Full {
                uri,
                checksum,
                size_bytes,
                content_type,
                metadata,
            } => Self {
                uri,
                checksum,
                size_bytes,
                content_type,
                metadata,
            },
        }
    }
}

impl From<Ref> for RefForm {
    fn from(reference: Ref) -> Self {
        let Ref {
            uri,
            checksum,
            size_bytes,
            content_type,
            metadata,
        } = reference;
        let only_uri = checksum.is_none()
            && size_bytes.is_none()
            && content_type.is_none()
            && metadata.is_empty();
        if only_uri {
            Self::Bare(uri)
        } else {
            Self::Full {
                uri,
                checksum,
                size_bytes,
                content_type,
                metadata,
            }
        }
    }
}

/// What an earlier step of the same job left behind.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct EarlierStep {
    /// The step's name in its protocol.
    pub step_id: String,
    /// The kind of step.
    pub step_type: String,
    /// True when the step was not needed; it then has no artifacts.
    #[serde(default)]
    pub skipped: bool,
    /// Where its main artifact was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_ref: Option<Ref>,
    /// Its artifacts, the main one first.
    #[serde(default)]
    pub artifact_refs: Vec<Ref>,
}

/// Where the worker reports to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct CallbackUrls {
    /// Takes the ACK.
    pub ack: String,
    /// Takes the RESULT.
    pub result: String,
    /// Takes heartbeats.
    pub heartbeat: String,
}

/// A value that is a secret of one attempt: it is sent and compared, and never printed.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a secret.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The secret itself, to send it to who made it.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The order to run one attempt of a step.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Directive {
    /// The job.
    #[serde(rename = "jobId")]
    pub job_id: String,
    /// Who the job belongs to.
    pub tenant_id: String,
    /// The step's name in its protocol.
    #[serde(rename = "stepId")]
    pub step_id: String,
    /// The protocol the job follows.
    pub protocol_id: String,
    /// The kind of step.
    pub step_type: String,
    /// The number of this attempt, from 1.
    pub attempt_no: u32,
    /// Fences late callbacks: made anew for each attempt.
    pub lease_id: Secret<Uuid>,
    /// The document the job was submitted with.
    pub input_ref: Ref,
    /// The root under which workers keep artifacts.
    pub workspace_ref: Ref,
    /// The folder the client wants the main artifact delivered to.
    pub output_ref: Ref,
    /// The step's parameters, a JSON object.
    pub payload: Value,
    /// Where to report to.
    pub callback_urls: CallbackUrls,
    /// Proves that a callback comes from who got this directive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_token: Option<Secret<String>>,
    /// What the earlier steps of the job left behind, in step order.
    #[serde(default)]
    pub inputs: Vec<EarlierStep>,
    /// The client's own id, passed through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// W3C trace context, passed through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// A message body that is no directive.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// Not JSON, or a required field is missing or of another type.
    #[error("not a directive: {0}")]
    Shape(#[from] serde_json::Error),
    /// The right shape with a value that the contract rules out.
    #[error("not a directive: {0}")]
    Value(&'static str),
}

impl Directive {
    /// Reads a message body.
    pub fn parse(body: &[u8]) -> Result<Self, Invalid> {
        let directive: Self = serde_json::from_slice(body)?;
        let required = [
            (&directive.job_id, "jobId is empty"),
            (&directive.tenant_id, "tenant_id is empty"),
            (&directive.step_id, "stepId is empty"),
            (&directive.step_type, "step_type is empty"),
            (&directive.input_ref.uri, "input_ref is empty"),
            (&directive.workspace_ref.uri, "workspace_ref is empty"),
            (&directive.output_ref.uri, "output_ref is empty"),
        ];
        if let Some((_, message)) = required.iter().find(|(value, _)| value.is_empty()) {
            return Err(Invalid::Value(message));
        }
        if directive.attempt_no == 0 {
            return Err(Invalid::Value("attempt_no starts at 1"));
        }
        if !directive.payload.is_object() {
            return Err(Invalid::Value("payload is not an object"));
        }
        Ok(directive)
    }

    /// What names this attempt, in every callback and in the worker's record.
    pub fn attempt(&self) -> AttemptKey {
        AttemptKey {
            job_id: self.job_id.clone(),
            step_id: self.step_id.clone(),
            attempt_no: self.attempt_no,
            lease_id: self.lease_id.clone(),
        }
    }
}

/// What names one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct AttemptKey {
    /// The job.
    #[serde(rename = "jobId")]
    pub job_id: String,
    /// The step's name in its protocol.
    #[serde(rename = "stepId")]
    pub step_id: String,
    /// The number of the attempt, from 1.
    pub attempt_no: u32,
    /// The attempt's fence.
    pub lease_id: Secret<Uuid>,
}

/// What every callback about an attempt carries beside its own fields.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Envelope {
    /// Which attempt this is about.
    #[serde(flatten)]
    pub attempt: AttemptKey,
    /// When the worker wrote it, RFC 3339 in UTC.
    pub timestamp: String,
    /// Who the job belongs to.
    pub tenant_id: String,
    /// The client's own id, passed through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// W3C trace context, passed through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

impl Envelope {
    /// The envelope of a callback about `directive`, written at `timestamp`.
    pub fn of(directive: &Directive, timestamp: String) -> Self {
        Self {
            attempt: directive.attempt(),
            timestamp,
            tenant_id: directive.tenant_id.clone(),
            correlation_id: directive.correlation_id.clone(),
            traceparent: directive.traceparent.clone(),
        }
    }
}

/// The directive arrived.
#[derive(Debug, Clone, Serialize)]
pub struct Ack {
    /// Which attempt, and when.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// Always `ACKED`.
    pub status: &'static str,
}

/// The attempt is still being worked on; renews its lease.
#[derive(Debug, Clone, Serialize)]
pub struct Heartbeat {
    /// Which attempt, and when.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// How far the work is, when the service says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressReport>,
}

/// How far an attempt's work is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct ProgressReport {
    /// 0 to 100.
    pub percent: u8,
    /// For a person: `page 3 of 12`.
    pub message: String,
}

/// How an attempt ended.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct AttemptResult {
    /// Which attempt, and when.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// Whether it worked, and what came of it.
    #[serde(flatten)]
    pub ending: Ending,
    /// Where the attempt kept its artifacts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_ref: Option<Ref>,
}

/// Whether an attempt worked, and what came of it.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(tag = "status")]
pub enum Ending {
    /// The work is done.
    #[serde(rename = "SUCCEEDED")]
    Succeeded {
        /// Where the main artifact was delivered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output_ref: Option<Ref>,
        /// What was made, the main artifact first.
        #[serde(default)]
        artifact_refs: Vec<Ref>,
    },
    /// The work is not done.
    #[serde(rename = "FAILED")]
    Failed {
        /// Whether another attempt may help.
        failure_class: FailureClass,
        /// What went wrong.
        error: ErrorBody,
    },
}

/// Whether another attempt may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FailureClass {
    /// The same attempt may work later or elsewhere.
    Retryable,
    /// The same input will fail again.
    NonRetryable,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct ErrorBody {
    /// A stable code in UPPER_SNAKE_CASE.
    pub code: String,
    /// One line for a person: what is wrong and what to do.
    pub message: String,
    /// More for a program, when there is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

#[cfg(test)]
#[path = "contract_tests.rs"]
mod tests;
