//! The values that cross the border to a plugin, in both directions, and the record of a decision.
//!
//! They mirror `wit/step-1.0.0/step.wit`; the wasm backend translates. A plugin is a pure function of them, so a
//! decision can be recorded as (component, input, output) and replayed.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical::{self, Object};
use crate::contract::Ref;
use crate::id::{Digest, PluginId, PluginVersion, ServiceName, StepId, StepType};
use crate::job::Failure;
use crate::routing::Mode;

/// Which component decides about a step; pinned in the job when it is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The plugin's id.
    pub id: PluginId,
    /// Its version.
    pub version: PluginVersion,
    /// The SHA-256 of the component.
    pub digest: Digest,
}

impl std::fmt::Display for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.id, self.version)
    }
}

/// What a plugin says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Its id, as in the registry.
    pub id: PluginId,
    /// Its version.
    pub version: PluginVersion,
    /// The step types it handles.
    pub step_types: Vec<StepType>,
    /// The services it may route to; each must be granted.
    pub services: Vec<ServiceName>,
}

/// One thing that is wrong with a payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// JSON Pointer to the place.
    pub pointer: String,
    /// A stable code in UPPER_SNAKE_CASE.
    pub code: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// Where a step's work is kept; a plugin sees the reference, never the content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Artifact {
    /// The URI.
    pub uri: String,
    /// The media type, when known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The size in bytes, when known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// What the worker noted about it, an object.
    pub metadata: Value,
}

impl From<&Ref> for Artifact {
    fn from(reference: &Ref) -> Self {
        match reference {
            Ref::Uri(uri) => Self {
                uri: uri.clone(),
                content_type: None,
                size_bytes: None,
                metadata: Value::Object(serde_json::Map::new()),
            },
            Ref::Full(full) => Self {
                uri: full.uri.clone(),
                content_type: full.content_type.clone(),
                size_bytes: full.size_bytes,
                metadata: full
                    .metadata
                    .clone()
                    .unwrap_or_else(|| serde_json::json!({})),
            },
        }
    }
}

/// What an earlier step of the same job left behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepOutput {
    /// The step.
    pub step_id: StepId,
    /// Its kind.
    pub step_type: StepType,
    /// True when it was skipped.
    pub skipped: bool,
    /// What it wrote.
    pub artifacts: Vec<Artifact>,
}

/// Everything a decision may depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Context {
    /// The step that is decided about.
    pub step_id: StepId,
    /// Its kind.
    pub step_type: StepType,
    /// The service the protocol declares for it.
    pub service: ServiceName,
    /// The job's mode.
    pub mode: Mode,
    /// The attempt that is decided about, from 1.
    pub attempt: u32,
    /// How many attempts the step may have.
    pub max_attempts: u32,
    /// The document the job was submitted with.
    pub input: Artifact,
    /// The payload as `validate` returned it.
    pub payload: Value,
    /// The earlier steps of the job, in order.
    pub earlier: Vec<StepOutput>,
    /// The plugin's `config` from the registry.
    pub config: Value,
}

/// What a worker reported for an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "status",
    rename_all = "SCREAMING_SNAKE_CASE",
    deny_unknown_fields
)]
pub enum Report {
    /// The work is done.
    Succeeded {
        /// What was written.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        artifact_refs: Vec<Ref>,
        /// Where the main artifact was delivered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output_ref: Option<Ref>,
    },
    /// The work failed.
    Failed {
        /// True when the worker thinks another attempt may help.
        retryable: bool,
        /// The worker's error.
        failure: Failure,
        /// More about it.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        details: Value,
    },
}

/// What to do with a step whose turn has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "route", rename_all = "snake_case")]
pub enum Route {
    /// Run it.
    Dispatch(Dispatch),
    /// It is not needed.
    Skip {
        /// Why, for a person.
        reason: String,
    },
    /// It cannot be run.
    Fail {
        /// Why.
        failure: Failure,
    },
}

/// Where an attempt goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dispatch {
    /// The service that does the work.
    pub service: ServiceName,
    /// The payload for the worker; the step's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// Milliseconds to wait for the ACK; the step's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack_ms: Option<u64>,
    /// Milliseconds of the execution lease; the step's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<u64>,
}

/// What an outcome means for the step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "settle", rename_all = "snake_case")]
pub enum Settle {
    /// The step has succeeded.
    Accept,
    /// Try again, if the budget allows.
    Retry {
        /// Milliseconds to wait; the step's own backoff when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delay_ms: Option<u64>,
        /// Why.
        failure: Failure,
    },
    /// The step has failed.
    Fail {
        /// Why.
        failure: Failure,
    },
}

impl Settle {
    /// What an outcome means when no plugin has a say.
    pub fn by_default(report: &Report) -> Self {
        match report {
            Report::Succeeded { .. } => Self::Accept,
            Report::Failed {
                retryable: true,
                failure,
                ..
            } => Self::Retry {
                delay_ms: None,
                failure: failure.clone(),
            },
            Report::Failed {
                retryable: false,
                failure,
                ..
            } => Self::Fail {
                failure: failure.clone(),
            },
        }
    }
}

/// Which of a plugin's functions decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Function {
    /// Checked a payload.
    Validate,
    /// Chose where a step goes.
    Route,
    /// Read an outcome.
    Settle,
}

impl Function {
    /// The name in the plugin contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Route => "route",
            Self::Settle => "settle",
        }
    }
}

/// A decision on record: enough to explain it, and to ask the same or another component again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Which function.
    pub function: Function,
    /// Which component.
    pub plugin: Pin,
    /// SHA-256 of the canonical JSON of what it was given.
    pub input_digest: Digest,
    /// What it was given, where the job does not hold it: a payload that was changed by being normalized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// What it said.
    pub output: Value,
    /// How much work it took, in wasmtime fuel; the same on every host.
    pub fuel: u64,
}

/// What a plugin is given.
#[derive(Clone, Copy, Debug)]
pub enum Given<'a> {
    /// To check a payload.
    Validate {
        /// The payload.
        payload: &'a Value,
        /// The plugin's `config`.
        config: &'a Value,
    },
    /// To choose where a step goes.
    Route(&'a Context),
    /// To read an outcome.
    Settle(&'a Context, &'a Report),
}

impl Given<'_> {
    /// The digest of it, as [`Decision::input_digest`] keeps it. The canonical text is written at once and not by way
    /// of a document, since one is made for every call.
    pub fn digest(self) -> Digest {
        let mut text = String::with_capacity(canonical::USUAL_BYTES);
        match self {
            Self::Validate { payload, config } => {
                let mut object = Object::begin(&mut text);
                object.value("config", config);
                object.value("payload", payload);
                object.end();
            }
            Self::Route(context) => write_context(context, &mut text),
            Self::Settle(context, report) => {
                // Plain data with text keys always serializes.
                let report = serde_json::to_value(report).unwrap_or(Value::Null);
                text.push('[');
                write_context(context, &mut text);
                text.push(',');
                canonical::write(&report, &mut text);
                text.push(']');
            }
        }
        Digest::of(text.as_bytes())
    }
}

fn write_context(context: &Context, out: &mut String) {
    let Context {
        step_id,
        step_type,
        service,
        mode,
        attempt,
        max_attempts,
        input,
        payload,
        earlier,
        config,
    } = context;
    let mut object = Object::begin(out);
    object.number("attempt", u64::from(*attempt));
    object.value("config", config);
    canonical::write_list(earlier, object.member("earlier"), write_step);
    write_artifact(input, object.member("input"));
    object.number("max_attempts", u64::from(*max_attempts));
    object.text("mode", mode.as_str());
    object.value("payload", payload);
    object.text("service", service.as_str());
    object.text("step_id", step_id.as_str());
    object.text("step_type", step_type.as_str());
    object.end();
}

fn write_step(step: &StepOutput, out: &mut String) {
    let StepOutput {
        step_id,
        step_type,
        skipped,
        artifacts,
    } = step;
    let mut object = Object::begin(out);
    canonical::write_list(artifacts, object.member("artifacts"), write_artifact);
    object.value("skipped", &Value::Bool(*skipped));
    object.text("step_id", step_id.as_str());
    object.text("step_type", step_type.as_str());
    object.end();
}

fn write_artifact(artifact: &Artifact, out: &mut String) {
    let Artifact {
        uri,
        content_type,
        size_bytes,
        metadata,
    } = artifact;
    let mut object = Object::begin(out);
    if let Some(content_type) = content_type {
        object.text("content_type", content_type);
    }
    object.value("metadata", metadata);
    if let Some(size_bytes) = size_bytes {
        object.number("size_bytes", *size_bytes);
    }
    object.text("uri", uri);
    object.end();
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn digest_of_document(document: &impl Serialize) -> Digest {
        let document = serde_json::to_value(document).expect("it is plain data");
        Digest::of(canonical::to_string(&document).as_bytes())
    }

    fn context() -> Context {
        let bare = Artifact {
            uri: "file:///in/\"a\".pdf".to_owned(),
            content_type: None,
            size_bytes: None,
            metadata: json!({}),
        };
        let full = Artifact {
            content_type: Some("text/plain".to_owned()),
            size_bytes: Some(u64::MAX),
            metadata: json!({ "pages": 3, "b": null, "a": [1.0, -0.5] }),
            ..bare.clone()
        };
        let step = |skipped, artifacts| StepOutput {
            step_id: "ocr".into(),
            step_type: "OCR".into(),
            skipped,
            artifacts,
        };
        Context {
            step_id: "sis".into(),
            step_type: "SIS".into(),
            service: "platform-sis".into(),
            mode: Mode::Burst,
            attempt: 2,
            max_attempts: 3,
            input: bare.clone(),
            payload: json!({ "z": { "é": 1e2 }, "a": [], "gone": null }),
            earlier: vec![step(true, Vec::new()), step(false, vec![bare, full])],
            config: json!({ "models": ["small", "large\n"] }),
        }
    }

    #[test]
    fn the_digest_of_an_input_is_that_of_its_canonical_document() {
        let context = context();
        let bare = Context {
            earlier: Vec::new(),
            payload: Value::Null,
            mode: Mode::Default,
            ..context.clone()
        };
        let failed = Report::Failed {
            retryable: true,
            failure: Failure::new("MODEL_OVERLOADED", "later"),
            details: json!({ "queue": 7 }),
        };
        let succeeded = Report::Succeeded {
            artifact_refs: vec![Ref::Uri("file:///out".to_owned())],
            output_ref: None,
        };
        for context in [&context, &bare] {
            assert_eq!(Given::Route(context).digest(), digest_of_document(context));
            for report in [&failed, &succeeded] {
                let settle = Given::Settle(context, report).digest();
                assert_eq!(settle, digest_of_document(&(context, report)));
            }
            let (payload, config) = (&context.payload, &context.config);
            let validate = Given::Validate { payload, config }.digest();
            let document = json!({ "payload": payload, "config": config });
            assert_eq!(validate, digest_of_document(&document));
        }
    }
}
