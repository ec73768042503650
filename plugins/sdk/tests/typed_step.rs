//! A step written against the SDK, driven as the host would: what the SDK promises every author.

use std::time::Duration;

use lucius_step_sdk::testing::{self, assert_dispatch};
use lucius_step_sdk::{
    Context, Description, Failure, Level, Mode, Outcome, Rest, Route, Settle, Step, log,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A step that overrides nothing.
struct Plain;

impl Step for Plain {
    type Payload = Rest;
    type Config = Rest;

    fn describe() -> Description {
        Description::new("plain", "1.2.3")
            .step_type("PLAIN")
            .service("acme-plain")
    }
}

#[derive(Serialize, Deserialize)]
struct Scale {
    factor: f64,
    #[serde(flatten)]
    rest: Rest,
}

/// A step that routes by what it is given, and says so in the log.
struct Scaling;

impl Step for Scaling {
    type Payload = Scale;
    type Config = Rest;

    fn describe() -> Description {
        Description::new("scaling", "1.0.0")
            .step_type("SCALE")
            .service("acme-scale")
            .service("acme-burst")
    }

    fn route(context: &Context<Self>) -> Route {
        log(Level::Info, &format!("attempt {}", context.attempt));
        let dispatch = match context.mode {
            Mode::Default => context.dispatch(),
            Mode::Burst => lucius_step_sdk::Dispatch::to("acme-burst")
                .with_ack_seconds(5)
                .with_lease_seconds(60),
        };
        let mut payload = context.payload.rest.clone();
        payload.insert("factor".into(), json!(context.payload.factor));
        payload.insert("input".into(), json!(context.input.uri));
        dispatch.with_payload(Value::Object(payload)).into()
    }

    fn settle(_: &Context<Self>, outcome: &Outcome) -> Settle {
        match outcome {
            Outcome::Failed(Failure { details, .. }) if details["wait_s"].is_u64() => {
                Settle::retry_after(
                    Duration::from_secs(details["wait_s"].as_u64().unwrap_or_default()),
                    lucius_step_sdk::Refusal::new("ASKED_TO_WAIT", "the worker asked to wait"),
                )
            }
            Outcome::Succeeded(_) | Outcome::Failed(_) => Settle::by_default(outcome),
        }
    }
}

lucius_step_sdk::export!(Plain);
lucius_step_sdk::export!(Scaling);

#[test]
fn the_defaults_are_those_of_a_step_without_a_plugin() {
    let payload = json!({"any": [1, {"thing": null}]});
    assert_eq!(
        testing::validate::<Plain>(payload.clone(), json!({})),
        Ok(payload.clone())
    );
    let sent = assert_dispatch(
        testing::context::<Plain>()
            .service("declared")
            .payload(payload.clone())
            .route(),
    );
    assert_eq!(
        (sent.service.as_str(), sent.payload),
        ("declared", Some(payload))
    );
    assert_eq!(
        testing::context::<Plain>().settle(&Outcome::Succeeded(Vec::new())),
        Settle::Accept
    );
}

#[test]
fn by_default_only_a_retryable_failure_is_tried_again() {
    let settled = testing::context::<Plain>().settle(&testing::failed("BUSY", true));
    assert!(matches!(settled, Settle::Retry { delay: None, reason } if reason.code == "BUSY"));
    let settled = testing::context::<Plain>().settle(&testing::failed("BROKEN", false));
    assert!(matches!(settled, Settle::Fail(reason) if reason.code == "BROKEN"));
}

#[test]
fn a_step_may_choose_service_payload_and_timeouts() {
    let sent = assert_dispatch(
        testing::context::<Scaling>()
            .mode(Mode::Burst)
            .payload(json!({"factor": 2.5, "keep": true}))
            .route(),
    );
    assert_eq!(sent.service, "acme-burst");
    assert_eq!((sent.ack_seconds, sent.lease_seconds), (Some(5), Some(60)));
    let payload = json!({"factor": 2.5, "keep": true, "input": "file:///workspace/artifact"});
    assert_eq!(sent.payload, Some(payload));
}

#[test]
fn a_payload_that_does_not_parse_at_a_decision_is_a_failure_with_the_pointer() {
    let Route::Fail(refusal) = testing::context::<Scaling>()
        .payload(json!({"factor": "x"}))
        .route()
    else {
        panic!("expected a failure");
    };
    assert_eq!(refusal.code, "PAYLOAD_INVALID");
    assert!(refusal.message.contains("/factor"), "{}", refusal.message);
    let settled = testing::context::<Scaling>()
        .payload_text("{")
        .settle(&testing::failed("X", true));
    assert!(matches!(settled, Settle::Fail(refusal) if refusal.code == "PAYLOAD_INVALID"));
}

#[test]
fn the_details_of_a_failure_reach_the_decision() {
    let failure = Failure {
        retryable: false,
        code: "LATER".into(),
        message: "later".into(),
        details: json!({"wait_s": 7}),
    };
    let settled = testing::context::<Scaling>()
        .payload(json!({"factor": 1}))
        .settle(&Outcome::Failed(failure));
    assert!(
        matches!(settled, Settle::Retry { delay: Some(delay), .. } if delay == Duration::from_secs(7))
    );
}

#[test]
fn what_a_step_logs_can_be_read_in_its_tests() {
    let _ = testing::logged();
    testing::context::<Scaling>()
        .attempt(2)
        .payload(json!({"factor": 1}))
        .route();
    assert_eq!(testing::logged(), [(Level::Info, "attempt 2".to_owned())]);
}

#[test]
fn an_artifacts_media_type_and_counts_are_read_leniently() {
    let artifact = testing::artifact(
        "Text/Plain ; charset=utf-8",
        json!({"characters": 3.0, "pages": "2"}),
    );
    assert!(artifact.is("text/plain") && !artifact.is("text/html"));
    assert_eq!(
        (artifact.count("characters"), artifact.count("pages")),
        (Some(3), None)
    );
}

#[test]
fn all_zero_needs_a_zero() {
    let of = |counts: &[Value]| {
        let artifacts = counts
            .iter()
            .map(|count| testing::artifact("x/y", json!({"n": count})))
            .collect();
        testing::ran("a", artifacts).all_zero("n")
    };
    assert!(of(&[json!(0)]) && of(&[json!(0), json!(null)]));
    assert!(!of(&[]) && !of(&[json!(null)]) && !of(&[json!(0), json!(1)]));
}
