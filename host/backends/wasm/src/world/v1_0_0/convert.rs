//! Values of version 1.0.0 on their way to a guest and back.
//!
//! What goes in is the host's own and only changes its form; what comes out passes the rules of [`Output`].

use lucius_domain::contract::Ref;
use lucius_domain::id::{PluginId, PluginVersion, ServiceName, StepType};
use lucius_domain::job::Failure;
use lucius_domain::plugin as domain;
use lucius_domain::routing::Mode;
use lucius_ports::plugin::{Answer, Fault};
use serde_json::Value;

use super::{DescribeResult, RouteResult, SettleResult, ValidateResult, wit};
use crate::output::{Output, broken};

/// A context in the contract's words.
pub(super) fn context(context: &domain::Context) -> wit::Context {
    let earlier = context.earlier.iter().map(|step| wit::StepOutput {
        step_id: step.step_id.as_str().to_owned(),
        step_type: step.step_type.as_str().to_owned(),
        skipped: step.skipped,
        artifacts: step.artifacts.iter().map(artifact).collect(),
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
        input: artifact(&context.input),
        payload: text(&context.payload),
        earlier: earlier.collect(),
        config: text(&context.config),
    }
}

/// A worker's report in the contract's words; where the artifacts were delivered is not the plugin's business.
pub(super) fn outcome(report: &domain::Report) -> wit::Outcome {
    match report {
        domain::Report::Succeeded {
            artifact_refs,
            output_ref: _,
        } => {
            let artifact_of = |reference: &Ref| artifact(&domain::Artifact::from(reference));
            wit::Outcome::Succeeded(wit::Success {
                artifacts: artifact_refs.iter().map(artifact_of).collect(),
            })
        }
        domain::Report::Failed {
            retryable,
            failure,
            details,
        } => wit::Outcome::Failed(wit::Failure {
            retryable: *retryable,
            code: failure.code.clone(),
            message: failure.message.clone(),
            details: text(details),
        }),
    }
}

fn artifact(artifact: &domain::Artifact) -> wit::Artifact {
    wit::Artifact {
        uri: artifact.uri.clone(),
        content_type: artifact.content_type.clone(),
        size_bytes: artifact.size_bytes,
        metadata: text(&artifact.metadata),
    }
}

/// A document's text, written at once; `to_string` would pass each piece of it through a formatter.
pub(super) fn text(document: &Value) -> String {
    // A value that is in memory always serializes.
    serde_json::to_string(document).unwrap_or_default()
}

/// What the plugin says of itself.
pub(super) fn described(
    (said,): DescribeResult,
    mut output: Output,
) -> Result<domain::Description, Fault> {
    let id = output.id(said.id)?;
    let version = output.version(said.version)?;
    let step_types = output.names(said.step_types, "describe: a step type")?;
    if step_types.is_empty() {
        return Err(broken("describe: it names no step type"));
    }
    let services = output.names(said.services, "describe: a service")?;
    Ok(domain::Description {
        id: PluginId::new(id),
        version: PluginVersion::new(version),
        step_types: step_types.into_iter().map(StepType::new).collect(),
        services: services.into_iter().map(ServiceName::new).collect(),
    })
}

/// The normalized payload, or what is wrong with it.
pub(super) fn validated((said,): ValidateResult, mut output: Output) -> Result<Answer, Fault> {
    let violations = match said {
        Ok(payload) => {
            let payload = output.object(&payload, "validate: the payload")?;
            return Ok(Answer::Validated(Ok(payload)));
        }
        Err(violations) => violations,
    };
    output.violations(violations.len())?;
    let violations = violations.into_iter().map(|violation| {
        Ok(domain::Violation {
            pointer: output.pointer(violation.pointer)?,
            code: output.code(violation.code, "validate: a code")?,
            message: output.message(&violation.message)?,
        })
    });
    Ok(Answer::Validated(
        Err(violations.collect::<Result<_, _>>()?),
    ))
}

/// Where the step goes.
pub(super) fn routed((said,): RouteResult, mut output: Output) -> Result<Answer, Fault> {
    let route = match said {
        wit::RouteDecision::Dispatch(dispatch) => {
            let service = output.name(dispatch.service, "route: the service")?;
            let payload = output.object(&dispatch.payload, "route: the payload")?;
            domain::Route::Dispatch(domain::Dispatch {
                service: ServiceName::new(service),
                payload: Some(payload),
                ack_ms: dispatch.ack_seconds.map(milliseconds),
                lease_ms: dispatch.lease_seconds.map(milliseconds),
            })
        }
        wit::RouteDecision::Skip(reason) => domain::Route::Skip {
            reason: output.message(&reason)?,
        },
        wit::RouteDecision::Fail(refusal) => domain::Route::Fail {
            failure: failure(refusal, "route: the code", &mut output)?,
        },
    };
    Ok(Answer::Routed(route))
}

/// What the outcome means.
pub(super) fn settled((said,): SettleResult, mut output: Output) -> Result<Answer, Fault> {
    const CODE: &str = "settle: the code";
    let settle = match said {
        wit::SettleDecision::Accept => domain::Settle::Accept,
        wit::SettleDecision::Retry(retry) => domain::Settle::Retry {
            delay_ms: retry.delay_ms,
            failure: failure(retry.reason, CODE, &mut output)?,
        },
        wit::SettleDecision::Fail(refusal) => domain::Settle::Fail {
            failure: failure(refusal, CODE, &mut output)?,
        },
    };
    Ok(Answer::Settled(settle))
}

fn failure(refusal: wit::Refusal, what: &str, output: &mut Output) -> Result<Failure, Fault> {
    Ok(Failure {
        code: output.code(refusal.code, what)?,
        message: output.message(&refusal.message)?,
    })
}

fn milliseconds(seconds: u32) -> u64 {
    u64::from(seconds) * 1_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use lucius_ports::plugin::Limits;

    #[test]
    fn seconds_become_milliseconds() {
        let dispatch = wit::Dispatch {
            service: "platform-ocr".to_owned(),
            payload: "{}".to_owned(),
            ack_seconds: Some(u32::MAX),
            lease_seconds: None,
        };
        let said = (wit::RouteDecision::Dispatch(dispatch),);
        let said = routed(said, Output::new(&Limits::default())).unwrap();
        let Answer::Routed(domain::Route::Dispatch(dispatch)) = said else {
            panic!("{said:?}")
        };
        assert_eq!(dispatch.ack_ms, Some(4_294_967_295_000));
        assert_eq!(dispatch.lease_ms, None);
    }
}
