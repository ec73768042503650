//! The values that cross the border to a plugin, in both directions, and the record of a decision.
//!
//! They mirror `wit/step-1.0.0/step.wit`; the wasm backend translates. A plugin is a pure function of them, so a
//! decision can be recorded as (component, input, output) and replayed.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical;
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

/// The digest of a call's input, as [`Decision::input_digest`] keeps it.
pub fn input_digest(input: &impl Serialize) -> Digest {
    // Serialization of these types cannot fail: all keys are strings and no custom serializer is involved.
    let value = serde_json::to_value(input).unwrap_or(Value::Null);
    Digest::of(canonical::to_string(&value).as_bytes())
}
