//! For an author's tests: drives a [`Step`] through the very code that the host would call, on the author's own machine,
//! without a host and without WASM.
//!
//! ```
//! # use lucius_step_sdk::{Description, Rest, Route, Step};
//! # struct Plain;
//! # impl Step for Plain {
//! #     type Payload = Rest;
//! #     type Config = Rest;
//! #     fn describe() -> Description { Description::new("p", "1.0.0").step_type("P").service("acme") }
//! # }
//! use lucius_step_sdk::testing;
//! use serde_json::json;
//!
//! let sent = testing::assert_dispatch(testing::context::<Plain>().payload(json!({"a": 1})).route());
//! assert_eq!((sent.service.as_str(), sent.payload), ("acme", Some(json!({"a": 1}))));
//! ```

use std::cell::RefCell;
use std::marker::PhantomData;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Step;
use crate::bindings::exports::lucius::step::handler::Guest;
use crate::bindings::lucius::step::types as wit;
use crate::context::{Artifact, Mode, StepOutput};
use crate::decision::{Dispatch, Failure, Outcome, Refusal, Route, Settle};
use crate::exported::Exported;
use crate::log::Level;
use crate::violation::Violation;

thread_local! {
    static LINES: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn remember_line(level: Level, message: &str) {
    LINES.with_borrow_mut(|lines| lines.push((level, message.to_owned())));
}

/// Takes the lines that this thread has logged since it was last asked.
pub fn logged() -> Vec<(Level, String)> {
    LINES.take()
}

/// Validates `payload` as the host would.
///
/// # Errors
/// The violations that the client would see.
///
/// # Panics
/// When the step breaks the contract: what it returns is no JSON.
pub fn validate<S: Step>(payload: Value, config: Value) -> Result<Value, Vec<Violation>> {
    Exported::<S>::validate(payload.to_string(), config.to_string())
        .map(|text| written(&text))
        .map_err(|violations| {
            let own = |wit::Violation {
                           pointer,
                           code,
                           message,
                       }| Violation {
                pointer,
                code,
                message,
            };
            violations.into_iter().map(own).collect()
        })
}

/// The violation with this pointer and code.
///
/// # Panics
/// When `checked` is valid, or has no such violation.
#[track_caller]
pub fn assert_violation<'a>(
    checked: &'a Result<Value, Vec<Violation>>,
    pointer: &str,
    code: &str,
) -> &'a Violation {
    let violations = match checked {
        Ok(normalized) => panic!("expected {code} at {pointer:?}, but it is valid: {normalized}"),
        Err(violations) => violations,
    };
    violations
        .iter()
        .find(|violation| violation.pointer == pointer && violation.code == code)
        .unwrap_or_else(|| panic!("expected {code} at {pointer:?} among {violations:?}"))
}

/// The dispatch of a route, its payload always present.
///
/// # Panics
/// When it is another decision.
#[track_caller]
pub fn assert_dispatch(route: Route) -> Dispatch {
    match route {
        Route::Dispatch(dispatch) => dispatch,
        other @ (Route::Skip(_) | Route::Fail(_)) => panic!("expected a dispatch, not {other:?}"),
    }
}

/// The reason of a skip.
///
/// # Panics
/// When it is another decision.
#[track_caller]
pub fn assert_skip(route: Route) -> String {
    match route {
        Route::Skip(reason) => reason,
        other @ (Route::Dispatch(_) | Route::Fail(_)) => panic!("expected a skip, not {other:?}"),
    }
}

/// An artifact of this media type, with the worker's notes about it.
pub fn artifact(content_type: &str, metadata: Value) -> Artifact {
    Artifact {
        uri: "file:///workspace/artifact".into(),
        content_type: Some(content_type.into()),
        size_bytes: None,
        metadata,
    }
}

/// An earlier step that ran and left these artifacts; its type is its id in upper case.
pub fn ran(step_id: &str, artifacts: Vec<Artifact>) -> StepOutput {
    let step_type = step_id.to_uppercase();
    StepOutput {
        step_id: step_id.into(),
        step_type,
        skipped: false,
        artifacts,
    }
}

/// An earlier step that was skipped; its type is its id in upper case.
pub fn skipped(step_id: &str) -> StepOutput {
    StepOutput {
        skipped: true,
        ..ran(step_id, Vec::new())
    }
}

/// A worker's report of a failure, without details.
pub fn failed(code: &str, retryable: bool) -> Outcome {
    let message = format!("{code}, says the worker");
    Outcome::Failed(Failure {
        retryable,
        code: code.into(),
        message,
        details: Value::Null,
    })
}

/// A context for `S`: the first attempt of three, with an empty payload and config, for the step type and the service
/// that `S` describes first. Change what matters to the test.
pub fn context<S: Step>() -> ContextBuilder<S> {
    let described = S::describe();
    let step_type = described.step_types.into_iter().next().unwrap_or_default();
    let input = artifact("application/pdf", json!({}));
    ContextBuilder {
        raw: wit::Context {
            step_id: step_type.to_lowercase(),
            step_type,
            service: described.services.into_iter().next().unwrap_or_default(),
            mode: wit::Mode::Default,
            attempt: 1,
            max_attempts: 3,
            input: raw_artifact(&input),
            payload: "{}".into(),
            earlier: Vec::new(),
            config: "{}".into(),
        },
        step: PhantomData,
    }
}

/// Builds the context of a decision, and asks for the decision.
#[derive(Debug, Clone)]
pub struct ContextBuilder<S> {
    raw: wit::Context,
    step: PhantomData<S>,
}

impl<S: Step> ContextBuilder<S> {
    /// Sets the payload, as it would come out of `validate`.
    #[must_use]
    pub fn payload(self, payload: Value) -> Self {
        self.payload_text(payload.to_string())
    }

    /// Sets the payload's very text.
    #[must_use]
    pub fn payload_text(mut self, payload: impl Into<String>) -> Self {
        self.raw.payload = payload.into();
        self
    }

    /// Sets the plugin's `config` object in the registry.
    #[must_use]
    pub fn config(mut self, config: Value) -> Self {
        self.raw.config = config.to_string();
        self
    }

    /// Sets the service that the protocol declares.
    #[must_use]
    pub fn service(mut self, service: &str) -> Self {
        self.raw.service = service.into();
        self
    }

    /// Sets the job's mode.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.raw.mode = match mode {
            Mode::Default => wit::Mode::Default,
            Mode::Burst => wit::Mode::Burst,
        };
        self
    }

    /// Sets the number of the attempt, from 1.
    #[must_use]
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.raw.attempt = attempt;
        self
    }

    /// Sets the document that the job was submitted with.
    #[must_use]
    pub fn input(mut self, input: &Artifact) -> Self {
        self.raw.input = raw_artifact(input);
        self
    }

    /// Adds an earlier step, after those already there.
    #[must_use]
    pub fn after(mut self, earlier: StepOutput) -> Self {
        let artifacts = earlier.artifacts.iter().map(raw_artifact).collect();
        let StepOutput {
            step_id,
            step_type,
            skipped,
            artifacts: _,
        } = earlier;
        self.raw.earlier.push(wit::StepOutput {
            step_id,
            step_type,
            skipped,
            artifacts,
        });
        self
    }

    /// Asks where the step goes. A dispatch comes with its payload.
    ///
    /// # Panics
    /// When the step breaks the contract: the payload it returns is no JSON.
    pub fn route(self) -> Route {
        match Exported::<S>::route(self.raw) {
            wit::RouteDecision::Dispatch(dispatch) => Route::Dispatch(Dispatch {
                payload: Some(written(&dispatch.payload)),
                service: dispatch.service,
                ack_seconds: dispatch.ack_seconds,
                lease_seconds: dispatch.lease_seconds,
            }),
            wit::RouteDecision::Skip(reason) => Route::Skip(reason),
            wit::RouteDecision::Fail(refusal) => Route::Fail(own_refusal(refusal)),
        }
    }

    /// Asks what a worker's report means.
    pub fn settle(self, outcome: &Outcome) -> Settle {
        let outcome = match outcome {
            Outcome::Succeeded(artifacts) => wit::Outcome::Succeeded(wit::Success {
                artifacts: artifacts.iter().map(raw_artifact).collect(),
            }),
            Outcome::Failed(failure) => wit::Outcome::Failed(wit::Failure {
                retryable: failure.retryable,
                code: failure.code.clone(),
                message: failure.message.clone(),
                details: failure.details.to_string(),
            }),
        };
        match Exported::<S>::settle(self.raw, outcome) {
            wit::SettleDecision::Accept => Settle::Accept,
            wit::SettleDecision::Retry(retry) => {
                let reason = own_refusal(retry.reason);
                Settle::Retry {
                    delay: retry.delay_ms.map(Duration::from_millis),
                    reason,
                }
            }
            wit::SettleDecision::Fail(refusal) => Settle::Fail(own_refusal(refusal)),
        }
    }
}

fn written(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("the step returned {text:?}: {error}"))
}

fn own_refusal(wit::Refusal { code, message }: wit::Refusal) -> Refusal {
    Refusal { code, message }
}

fn raw_artifact(artifact: &Artifact) -> wit::Artifact {
    wit::Artifact {
        uri: artifact.uri.clone(),
        content_type: artifact.content_type.clone(),
        size_bytes: artifact.size_bytes,
        metadata: artifact.metadata.to_string(),
    }
}
