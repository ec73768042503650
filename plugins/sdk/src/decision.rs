//! What a plugin decides, and what it decides about.

use std::time::Duration;

use serde_json::Value;

use crate::context::Artifact;

/// A decision against running or accepting, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A stable code in UPPER_SNAKE_CASE; it becomes the step's error code.
    pub code: String,
    /// Why, for a person.
    pub message: String,
}

impl Refusal {
    /// A refusal with a stable code and a message for a person.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
        }
    }
}

/// Where an attempt goes and on what terms.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispatch {
    /// The service; it must be granted to the plugin in the registry.
    pub service: String,
    /// What the worker gets, a JSON object; the payload as it was validated when absent.
    pub payload: Option<Value>,
    /// Seconds to wait for the ACK; the protocol's value when absent.
    pub ack_seconds: Option<u32>,
    /// Seconds of the execution lease; the protocol's value when absent.
    pub lease_seconds: Option<u32>,
}

impl Dispatch {
    /// To `service`, with the payload as it was validated and the protocol's timeouts.
    pub fn to(service: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            payload: None,
            ack_seconds: None,
            lease_seconds: None,
        }
    }

    /// Sends this payload instead of the validated one.
    #[must_use]
    pub fn with_payload(mut self, payload: Value) -> Self {
        self.payload = Some(payload);
        self
    }

    /// Waits this many seconds for the ACK.
    #[must_use]
    pub fn with_ack_seconds(mut self, seconds: u32) -> Self {
        self.ack_seconds = Some(seconds);
        self
    }

    /// Grants this many seconds of execution lease.
    #[must_use]
    pub fn with_lease_seconds(mut self, seconds: u32) -> Self {
        self.lease_seconds = Some(seconds);
        self
    }
}

/// What to do with a step whose turn has come.
#[derive(Debug, Clone, PartialEq)]
pub enum Route {
    /// Run it.
    Dispatch(Dispatch),
    /// It is not needed; the text is the reason, and the job shows it.
    Skip(String),
    /// It cannot be run, and ends here.
    Fail(Refusal),
}

impl Route {
    /// Not needed, for this reason.
    pub fn skip(reason: impl Into<String>) -> Self {
        Self::Skip(reason.into())
    }

    /// Cannot be run, for this reason.
    pub fn fail(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Fail(Refusal::new(code, message))
    }
}

impl From<Dispatch> for Route {
    fn from(dispatch: Dispatch) -> Self {
        Self::Dispatch(dispatch)
    }
}

/// What a worker says went wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// True when the worker thinks that another attempt may help.
    pub retryable: bool,
    /// The worker's code: `MODEL_OVERLOADED`.
    pub code: String,
    /// The worker's message, for a person.
    pub message: String,
    /// What else the worker told; `null` when nothing.
    pub details: Value,
}

impl Failure {
    /// The worker's own code and message, as the reason of a decision.
    pub fn reason(&self) -> Refusal {
        Refusal::new(self.code.clone(), self.message.clone())
    }
}

/// What a worker reported for the attempt in the context.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The work is done; these are its artifacts.
    Succeeded(Vec<Artifact>),
    /// The work failed.
    Failed(Failure),
}

/// What an outcome means for the step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settle {
    /// Take the outcome: the step has succeeded.
    Accept,
    /// Try again, if attempts are left.
    Retry {
        /// How long to wait, in whole milliseconds; the protocol's own wait when absent. The host bounds it.
        delay: Option<Duration>,
        /// Why the attempt does not count.
        reason: Refusal,
    },
    /// The step has failed for good.
    Fail(Refusal),
}

impl Settle {
    /// What the worker says goes: success is accepted, a retryable failure is tried again after the protocol's wait,
    /// any other failure ends the step.
    pub fn by_default(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Succeeded(_) => Self::Accept,
            Outcome::Failed(failure) if failure.retryable => Self::Retry {
                delay: None,
                reason: failure.reason(),
            },
            Outcome::Failed(failure) => Self::Fail(failure.reason()),
        }
    }

    /// Tries again after `delay`.
    pub fn retry_after(delay: Duration, reason: Refusal) -> Self {
        Self::Retry {
            delay: Some(delay),
            reason,
        }
    }

    /// Ends the step, for this reason.
    pub fn fail(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Fail(Refusal::new(code, message))
    }
}
