//! The sandbox is a plugin runtime as the engine expects it.

mod guests;

use std::sync::Arc;

use lucius_domain::job::Failure;
use lucius_domain::plugin::{Dispatch, Report, Route, Settle};
use lucius_ports::conformance::plugin::{Sample, all};
use lucius_ports::plugin::{Answer, Call, Limits, Runtime};
use lucius_wasm::{Sandbox, Settings};
use serde_json::json;

use guests::Guest;

fn sample() -> Sample {
    let failure = Failure::new("MODEL_OVERLOADED", "try later");
    let report = Report::Failed {
        retryable: true,
        failure,
        details: json!({"load": 0.9}),
    };
    Sample {
        component: Guest::default().component(),
        description: guests::description(),
        accepted: guests::validate(),
        refused: Call::Validate {
            payload: json!({}),
            config: json!({}),
        },
        route: Call::Route {
            context: guests::context(),
        },
        settle: Call::Settle {
            context: guests::context(),
            report,
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_keeps_the_runtimes_promises() {
    let sandbox = Sandbox::start(Settings::default()).expect("the sandbox starts");
    all(Arc::new(sandbox), sample()).await;
}

#[tokio::test]
async fn answers_arrive_as_the_guest_gave_them() {
    let sandbox = Sandbox::start(Settings::default()).expect("the sandbox starts");
    let sample = sample();
    sandbox
        .admit(Arc::clone(&sample.component), Limits::default())
        .await
        .unwrap();
    let digest = lucius_domain::id::Digest::of(&sample.component);
    let mut answers = Vec::new();
    for call in [sample.accepted, sample.refused, sample.route, sample.settle] {
        answers.push(
            sandbox
                .call(&digest, Limits::default(), call)
                .await
                .unwrap()
                .answer,
        );
    }
    let Answer::Validated(Err(violations)) = &answers[1] else {
        panic!("{answers:?}")
    };
    assert_eq!(violations[0].code, "TOO_SHORT");
    assert_eq!(violations[0].message, "give a payload");
    assert_eq!(violations[0].pointer, "");
    let dispatch = Dispatch {
        service: "platform-ocr".into(),
        payload: Some(json!({"from": "route"})),
        ack_ms: None,
        lease_ms: None,
    };
    assert_eq!(
        answers[0],
        Answer::Validated(Ok(json!({"page_range": "1-3"})))
    );
    assert_eq!(answers[2], Answer::Routed(Route::Dispatch(dispatch)));
    assert_eq!(answers[3], Answer::Settled(Settle::Accept));
}
