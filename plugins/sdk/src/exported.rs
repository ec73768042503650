//! A [`Step`] as the contract wants it: text in, text out.
//!
//! The functions here never panic on anything the host may pass; a context that cannot be read is a decision to fail,
//! which the job shows.

use std::marker::PhantomData;
use std::time::Duration;

use crate::bindings::exports::lucius::step::handler::Guest;
use crate::bindings::lucius::step::types as wit;
use crate::context::{Artifact, Context, unreadable};
use crate::decision::{Dispatch, Failure, Outcome, Refusal, Route, Settle};
use crate::document::{self, CONFIG_INVALID, PAYLOAD_INVALID};
use crate::violation::Violations;
use crate::{Description, Step};

/// What [`export!`](crate::export) exports: the contract's `handler`, implemented by a [`Step`].
#[derive(Debug)]
pub struct Exported<S>(PhantomData<S>);

impl<S: Step> Guest for Exported<S> {
    fn describe() -> wit::Description {
        tell_of_panics();
        let Description {
            id,
            version,
            step_types,
            services,
        } = S::describe();
        wit::Description {
            id,
            version,
            step_types,
            services,
        }
    }

    fn validate(payload: String, config: String) -> Result<String, Vec<wit::Violation>> {
        tell_of_panics();
        validate::<S>(&payload, &config).map_err(Vec::from)
    }

    fn route(context: wit::Context) -> wit::RouteDecision {
        tell_of_panics();
        route::<S>(context).unwrap_or_else(|refusal| wit::RouteDecision::Fail(refusal.into()))
    }

    fn settle(context: wit::Context, outcome: wit::Outcome) -> wit::SettleDecision {
        tell_of_panics();
        settle::<S>(context, outcome).map_or_else(
            |refusal| wit::SettleDecision::Fail(refusal.into()),
            wit::SettleDecision::from,
        )
    }
}

/// A panic ends the instance, and all the host could say is "unreachable"; this says where and why.
fn tell_of_panics() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| {
        crate::log(crate::Level::Error, &panic.to_string());
    }));
}

fn validate<S: Step>(payload: &str, config: &str) -> Result<String, Violations> {
    // Both are checked, so that a wrong payload is not hidden behind a wrong config.
    let config = document::config::<S::Config>(config);
    let typed = document::typed::<S::Payload>(payload)?;
    let config = config.map_err(|reason| Violations::one("", CONFIG_INVALID, reason))?;
    let normalized = S::validate(typed, &config)?;
    let value = serde_json::to_value(&normalized).map_err(|error| {
        Violations::one(
            "",
            PAYLOAD_INVALID,
            format!("the plugin cannot write the payload: {error}"),
        )
    })?;
    Ok(document::write_like(payload, &value))
}

fn route<S: Step>(raw: wit::Context) -> Result<wit::RouteDecision, Refusal> {
    let context = Context::<S>::read(raw)?;
    Ok(match S::route(&context) {
        Route::Dispatch(dispatch) => {
            let Dispatch {
                service,
                payload,
                ack_seconds,
                lease_seconds,
            } = dispatch;
            let payload = match payload {
                Some(value) => document::write_like(context.document(), &value),
                None => context.document().to_owned(),
            };
            wit::RouteDecision::Dispatch(wit::Dispatch {
                service,
                payload,
                ack_seconds,
                lease_seconds,
            })
        }
        Route::Skip(reason) => wit::RouteDecision::Skip(reason),
        Route::Fail(refusal) => wit::RouteDecision::Fail(refusal.into()),
    })
}

fn settle<S: Step>(raw: wit::Context, outcome: wit::Outcome) -> Result<Settle, Refusal> {
    let context = Context::<S>::read(raw)?;
    let outcome = match outcome {
        wit::Outcome::Succeeded(success) => Outcome::Succeeded(
            success
                .artifacts
                .into_iter()
                .map(Artifact::read)
                .collect::<Result<_, _>>()?,
        ),
        wit::Outcome::Failed(failure) => Outcome::Failed(Failure {
            details: document::parse(&failure.details)
                .map_err(|reason| unreadable("details of a failure", &reason))?,
            retryable: failure.retryable,
            code: failure.code,
            message: failure.message,
        }),
    };
    Ok(S::settle(&context, &outcome))
}

impl From<Refusal> for wit::Refusal {
    fn from(Refusal { code, message }: Refusal) -> Self {
        Self { code, message }
    }
}

impl From<Settle> for wit::SettleDecision {
    fn from(settle: Settle) -> Self {
        match settle {
            Settle::Accept => Self::Accept,
            Settle::Retry { delay, reason } => Self::Retry(wit::Retry {
                delay_ms: delay.map(whole_milliseconds),
                reason: reason.into(),
            }),
            Settle::Fail(refusal) => Self::Fail(refusal.into()),
        }
    }
}

/// A delay beyond the range of the contract is "very long"; the host bounds it anyway.
fn whole_milliseconds(delay: Duration) -> u64 {
    u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)
}
