//! Values on their way to a guest and back.
//!
//! What goes in is the host's own and only changes its form. What comes out is a stranger's word: every text counts
//! against the output limit, JSON is parsed (at most 128 deep) and must be an object where the contract says so,
//! names and codes keep their alphabet, and messages are cut to one bounded line.

use lucius_domain::contract::Ref;
use lucius_domain::id::{PluginId, PluginVersion, ServiceName, StepType};
use lucius_domain::job::Failure;
use lucius_domain::plugin as domain;
use lucius_domain::routing::Mode;
use lucius_ports::plugin::{Answer, Fault, Limits};
use serde_json::Value;

pub(crate) use crate::bindings::lucius::step::types as wit;
use crate::text::{obeyed, one_line};

/// What `describe` returns.
pub(crate) type DescribeResult = (wit::Description,);
/// What `validate` returns.
pub(crate) type ValidateResult = (Result<String, Vec<wit::Violation>>,);
/// What `route` returns.
pub(crate) type RouteResult = (wit::RouteDecision,);
/// What `settle` returns.
pub(crate) type SettleResult = (wit::SettleDecision,);

const MAX_NAME_CHARS: usize = 128;
const MAX_POINTER_CHARS: usize = 1_024;
const MAX_CODE_CHARS: usize = 64;
/// More would help nobody to mend a payload.
const MAX_VIOLATIONS: usize = 1_000;
/// Step types and services that one plugin may name.
const MAX_NAMES: usize = 100;

/// A context in the contract's words.
pub(crate) fn context(context: domain::Context) -> wit::Context {
    let earlier = context.earlier.into_iter().map(|step| wit::StepOutput {
        step_id: step.step_id.as_str().to_owned(),
        step_type: step.step_type.as_str().to_owned(),
        skipped: step.skipped,
        artifacts: step.artifacts.into_iter().map(artifact).collect(),
    });
    wit::Context {
        step_id: context.step_id.as_str().to_owned(),
        step_type: context.step_type.as_str().to_owned(),
        service: context.service.as_str().to_owned(),
        mode: match context.mode {
            Mode::Default => wit::Mode::Default,
            Mode::Burst => wit::Mode::Burst,
        },
        attempt: context.attempt,
        max_attempts: context.max_attempts,
        input: artifact(context.input),
        payload: context.payload.to_string(),
        earlier: earlier.collect(),
        config: context.config.to_string(),
    }
}

/// A worker's report in the contract's words; where the artifacts were delivered is not the plugin's business.
pub(crate) fn outcome(report: domain::Report) -> wit::Outcome {
    match report {
        domain::Report::Succeeded {
            artifact_refs,
            output_ref: _,
        } => {
            let artifact_of = |reference: &Ref| artifact(domain::Artifact::from(reference));
            wit::Outcome::Succeeded(wit::Success {
                artifacts: artifact_refs.iter().map(artifact_of).collect(),
            })
        }
        domain::Report::Failed {
            retryable,
            failure,
            details,
        } => wit::Outcome::Failed(wit::Failure {
            retryable,
            code: failure.code,
            message: failure.message,
            details: details.to_string(),
        }),
    }
}

fn artifact(artifact: domain::Artifact) -> wit::Artifact {
    wit::Artifact {
        uri: artifact.uri,
        content_type: artifact.content_type,
        size_bytes: artifact.size_bytes,
        metadata: artifact.metadata.to_string(),
    }
}

/// Reads what a guest gave back.
pub(crate) struct Output {
    limit: u64,
    used: u64,
}

impl Output {
    /// For one call.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            limit: limits.output_bytes,
            used: 0,
        }
    }

    /// What the plugin says of itself.
    ///
    /// # Errors
    /// [`Fault::Answer`] with the rule that is broken, as for all of them.
    pub(crate) fn described(
        mut self,
        (said,): DescribeResult,
    ) -> Result<domain::Description, Fault> {
        self.count(&said.id)?;
        self.count(&said.version)?;
        if !is_id(&said.id) {
            return Err(broken(
                "describe: the id is made of 1 to 64 of a-z, 0-9 and -",
            ));
        }
        if !is_version(&said.version) {
            return Err(broken("describe: the version is written as 1.2.3"));
        }
        let step_types = self.names(said.step_types, "describe: a step type")?;
        if step_types.is_empty() {
            return Err(broken("describe: it names no step type"));
        }
        let services = self.names(said.services, "describe: a service")?;
        Ok(domain::Description {
            id: PluginId::new(said.id),
            version: PluginVersion::new(said.version),
            step_types: step_types.into_iter().map(StepType::new).collect(),
            services: services.into_iter().map(ServiceName::new).collect(),
        })
    }

    /// The normalized payload, or what is wrong with it.
    pub(crate) fn validated(mut self, (said,): ValidateResult) -> Result<Answer, Fault> {
        let violations = match said {
            Ok(payload) => {
                let payload = self.object(&payload, "validate: the payload")?;
                return Ok(Answer::Validated(Ok(payload)));
            }
            Err(violations) => violations,
        };
        if violations.is_empty() {
            return Err(broken(
                "validate: it refuses the payload without a violation",
            ));
        }
        if violations.len() > MAX_VIOLATIONS {
            return Err(broken("validate: more than 1,000 violations"));
        }
        let violations = violations
            .into_iter()
            .map(|violation| self.violation(violation));
        Ok(Answer::Validated(
            Err(violations.collect::<Result<_, _>>()?),
        ))
    }

    /// Where the step goes.
    pub(crate) fn routed(mut self, (said,): RouteResult) -> Result<Answer, Fault> {
        let route = match said {
            wit::RouteDecision::Dispatch(dispatch) => {
                self.count(&dispatch.service)?;
                let payload = self.object(&dispatch.payload, "route: the payload")?;
                domain::Route::Dispatch(domain::Dispatch {
                    service: ServiceName::new(name(dispatch.service, "route: the service")?),
                    payload: Some(payload),
                    ack_ms: dispatch.ack_seconds.map(milliseconds),
                    lease_ms: dispatch.lease_seconds.map(milliseconds),
                })
            }
            wit::RouteDecision::Skip(reason) => domain::Route::Skip {
                reason: self.message(&reason)?,
            },
            wit::RouteDecision::Fail(refusal) => domain::Route::Fail {
                failure: self.refusal(refusal, "route: the code")?,
            },
        };
        Ok(Answer::Routed(route))
    }

    /// What the outcome means.
    pub(crate) fn settled(mut self, (said,): SettleResult) -> Result<Answer, Fault> {
        let settle = match said {
            wit::SettleDecision::Accept => domain::Settle::Accept,
            wit::SettleDecision::Retry(retry) => domain::Settle::Retry {
                delay_ms: retry.delay_ms,
                failure: self.refusal(retry.reason, "settle: the code")?,
            },
            wit::SettleDecision::Fail(refusal) => domain::Settle::Fail {
                failure: self.refusal(refusal, "settle: the code")?,
            },
        };
        Ok(Answer::Settled(settle))
    }

    fn violation(&mut self, violation: wit::Violation) -> Result<domain::Violation, Fault> {
        let wit::Violation {
            pointer,
            code: said,
            message,
        } = violation;
        self.count(&pointer)?;
        self.count(&said)?;
        let fits = pointer.chars().count() <= MAX_POINTER_CHARS && !pointer.chars().any(obeyed);
        if !(fits && (pointer.is_empty() || pointer.starts_with('/'))) {
            return Err(broken(
                "validate: a pointer is empty or begins with / (RFC 6901)",
            ));
        }
        Ok(domain::Violation {
            pointer,
            code: code(said, "validate: a code")?,
            message: self.message(&message)?,
        })
    }

    fn refusal(&mut self, refusal: wit::Refusal, what: &str) -> Result<Failure, Fault> {
        self.count(&refusal.code)?;
        let message = self.message(&refusal.message)?;
        Ok(Failure {
            code: code(refusal.code, what)?,
            message,
        })
    }

    fn message(&mut self, text: &str) -> Result<String, Fault> {
        self.count(text)?;
        Ok(one_line(text, Failure::MAX_MESSAGE_CHARS))
    }

    fn names(&mut self, names: Vec<String>, what: &str) -> Result<Vec<String>, Fault> {
        if names.len() > MAX_NAMES {
            return Err(Fault::Answer(format!(
                "{what}: it names more than {MAX_NAMES}"
            )));
        }
        names
            .into_iter()
            .map(|text| {
                self.count(&text)?;
                name(text, what)
            })
            .collect()
    }

    fn object(&mut self, text: &str, what: &str) -> Result<Value, Fault> {
        self.count(text)?;
        let value: Value = serde_json::from_str(text)
            .map_err(|error| Fault::Answer(format!("{what} is not JSON: {error}")))?;
        if value.is_object() {
            return Ok(value);
        }
        Err(Fault::Answer(format!("{what} is JSON, but no object")))
    }

    fn count(&mut self, text: &str) -> Result<(), Fault> {
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        self.used = self.used.saturating_add(bytes);
        if self.used <= self.limit {
            return Ok(());
        }
        Err(Fault::Answer(format!(
            "more than the {} bytes of text that are allowed",
            self.limit
        )))
    }
}

fn broken(rule: &str) -> Fault {
    Fault::Answer(rule.to_owned())
}

fn milliseconds(seconds: u32) -> u64 {
    u64::from(seconds) * 1_000
}

fn name(text: String, what: &str) -> Result<String, Fault> {
    let fits = !text.is_empty() && text.chars().count() <= MAX_NAME_CHARS;
    if fits && !text.chars().any(|c| obeyed(c) || c.is_whitespace()) {
        return Ok(text);
    }
    Err(Fault::Answer(format!(
        "{what} is a name of 1 to {MAX_NAME_CHARS} characters without blanks"
    )))
}

fn code(text: String, what: &str) -> Result<String, Fault> {
    let mut chars = text.bytes();
    let fits = text.len() <= MAX_CODE_CHARS
        && chars.next().is_some_and(|first| first.is_ascii_uppercase())
        && chars.all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_');
    if fits {
        return Ok(text);
    }
    Err(Fault::Answer(format!(
        "{what} is written in UPPER_SNAKE_CASE, at most 64 characters"
    )))
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
}

/// Three numbers, and what SemVer lets follow them.
fn is_version(text: &str) -> bool {
    let (core, rest) = text.split_at(text.find(['-', '+']).unwrap_or(text.len()));
    let number = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
    let extra = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'+');
    text.len() <= 64
        && core.split('.').count() == 3
        && core.split('.').all(number)
        && rest.len() != 1
        && rest.bytes().all(extra)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output() -> Output {
        Output::new(&Limits {
            output_bytes: 3_000,
            ..Limits::default()
        })
    }

    fn violation(pointer: &str, code: &str, message: &str) -> wit::Violation {
        let own = str::to_owned;
        wit::Violation {
            pointer: own(pointer),
            code: own(code),
            message: own(message),
        }
    }

    fn refused(pointer: &str, code: &str) -> bool {
        output()
            .validated((Err(vec![violation(pointer, code, "")]),))
            .is_err()
    }

    #[test]
    fn a_code_keeps_its_alphabet() {
        for wrong in ["", "a", "1A", "_A", "A-B", "A\n", &"A".repeat(65)] {
            assert!(refused("", wrong), "{wrong:?}");
        }
        assert!(!refused("", "PAGE_RANGE_2"));
    }

    #[test]
    fn a_pointer_is_a_json_pointer() {
        assert!(refused("page_range", "A"));
        assert!(refused("/a\u{1b}[2J", "A"));
        assert!(!refused("/a/0", "A"));
    }

    #[test]
    fn a_message_is_cut_and_defused() {
        let message = format!("\u{1b}[31m{}", "x".repeat(2_500));
        let said = output().validated((Err(vec![violation("", "A", &message)]),));
        let Ok(Answer::Validated(Err(violations))) = said else {
            panic!("{said:?}")
        };
        assert!(violations[0].message.starts_with(" [31mxxx"));
        assert_eq!(violations[0].message.chars().count(), 2_001);
    }

    #[test]
    fn all_text_of_an_answer_counts_together() {
        let long = "x".repeat(1_600);
        let one = output().validated((Err(vec![violation("", "A", &long)]),));
        assert!(one.is_ok());
        let two = vec![violation("", "A", &long), violation("", "A", &long)];
        assert!(matches!(
            output().validated((Err(two),)),
            Err(Fault::Answer(_))
        ));
    }

    #[test]
    fn a_payload_is_a_json_object_of_bounded_depth() {
        let say = |text: &str| output().validated((Ok(text.to_owned()),));
        assert!(say("{\"a\": 1}").is_ok());
        for wrong in ["", "1", "[]", "null", "{", "{\"a\":1} x"] {
            assert!(matches!(say(wrong), Err(Fault::Answer(_))), "{wrong}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(130), "]".repeat(130));
        assert!(matches!(say(&deep), Err(Fault::Answer(_))));
    }

    #[test]
    fn seconds_become_milliseconds() {
        let dispatch = wit::Dispatch {
            service: "platform-ocr".to_owned(),
            payload: "{}".to_owned(),
            ack_seconds: Some(u32::MAX),
            lease_seconds: None,
        };
        let said = output()
            .routed((wit::RouteDecision::Dispatch(dispatch),))
            .unwrap();
        let Answer::Routed(domain::Route::Dispatch(dispatch)) = said else {
            panic!("{said:?}")
        };
        assert_eq!(dispatch.ack_ms, Some(4_294_967_295_000));
        assert_eq!(dispatch.lease_ms, None);
    }

    #[test]
    fn a_version_is_semantic() {
        for right in ["1.0.0", "10.2.33-beta.1", "1.0.0+build-7"] {
            assert!(is_version(right), "{right}");
        }
        for wrong in [
            "", "1", "1.0", "1.0.0.0", "v1.0.0", "1.0.x", "1.0.0-", "1.0.0 ",
        ] {
            assert!(!is_version(wrong), "{wrong}");
        }
    }
}
