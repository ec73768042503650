//! Plugins that break, at every moment at which they are asked: nothing is lost, and nothing waits for ever.

use lucius_domain::job::Failure;
use lucius_domain::plugin::{Dispatch, Route, Settle, Violation};
use lucius_engine::Refusal;
use lucius_engine::sweep::DRIFT;
use lucius_ports::ledger::{Filter, Ledger as _};
use lucius_ports::plugin::{Answer, Call, Fault};
use serde_json::json;

use crate::audit::audit_with_gates;
use crate::doubles::{kind, trap};
use crate::stage::{Stage, THREE, command};

/// Lets one plugin break whenever it is asked one kind of question.
fn breaks(stage: &Stage, who: &'static str, what: &'static str) {
    stage.runtime.script(move |plugin, call| {
        (plugin.as_str() == who && kind(call) == what).then(|| Err(trap()))
    });
}

/// Lets every plugin give this answer to one kind of question.
fn answers(stage: &Stage, what: &'static str, answer: Answer) {
    stage
        .runtime
        .script(move |_, call| (kind(call) == what).then(|| Ok(answer.clone())));
}

fn dispatch(service: &str) -> Dispatch {
    Dispatch {
        service: service.into(),
        payload: None,
        ack_ms: None,
        lease_ms: None,
    }
}

async fn no_job(stage: &Stage) {
    let filter = Filter {
        limit: 1,
        ..Filter::default()
    };
    assert!(
        stage
            .ledger
            .list(filter)
            .await
            .expect("it answers")
            .is_empty()
    );
    audit_with_gates(stage).await;
}

#[tokio::test]
async fn every_kind_of_fault_at_submit_is_a_503_and_no_job() {
    let stage = Stage::new().await;
    let faults = [
        trap(),
        Fault::Fuel { limit: 1 },
        Fault::Deadline { limit_ms: 1 },
        Fault::Answer("too deep".to_owned()),
        Fault::NotLoaded,
        Fault::Busy("the pool is full".to_owned()),
    ];
    for fault in faults {
        for what in ["validate", "route"] {
            let fault = fault.clone();
            stage
                .runtime
                .script(move |_, call| (kind(call) == what).then(|| Err(fault.clone())));
            let refusal = stage.refusal(command("acme", "OCR", "doc-1")).await;
            assert_eq!(refusal.code(), "PLUGIN_FAULT");
            assert!(refusal.to_string().contains("ocr@1.0.0"), "{refusal}");
            no_job(&stage).await;
        }
    }
    stage.runtime.heal();
    stage.accepted("acme", "OCR", "doc-1").await;
}

#[tokio::test]
async fn an_answer_that_breaks_a_rule_is_a_fault() {
    let stage = Stage::new().await;
    let wrong = [
        (
            "validate",
            Answer::Routed(Route::Dispatch(dispatch("platform-ocr"))),
        ),
        ("route", Answer::Validated(Ok(json!({})))),
        (
            "route",
            Answer::Routed(Route::Dispatch(dispatch("platform-sis"))),
        ),
        (
            "route",
            Answer::Routed(Route::Dispatch(Dispatch {
                ack_ms: Some(0),
                ..dispatch("platform-ocr")
            })),
        ),
        (
            "route",
            Answer::Routed(Route::Dispatch(Dispatch {
                lease_ms: Some(u64::MAX),
                ..dispatch("platform-ocr")
            })),
        ),
        (
            "route",
            Answer::Routed(Route::Dispatch(Dispatch {
                payload: Some(json!([])),
                ..dispatch("platform-ocr")
            })),
        ),
    ];
    for (what, answer) in wrong {
        answers(&stage, what, answer.clone());
        let refusal = stage.refusal(command("acme", "OCR", "doc-1")).await;
        assert_eq!(refusal.code(), "PLUGIN_FAULT", "{answer:?}");
        no_job(&stage).await;
    }
}

#[tokio::test]
async fn one_broken_plugin_does_not_touch_the_others() {
    let stage = Stage::new().await;
    breaks(&stage, "embedding", "validate");
    assert_eq!(
        stage.refusal(command("acme", THREE, "doc-1")).await.code(),
        "PLUGIN_FAULT"
    );
    stage.accepted("acme", "OCR", "doc-1").await;
    stage.accepted("acme", "PLAIN", "doc-1").await;
}

#[tokio::test]
async fn a_result_that_the_plugin_cannot_read_is_kept_and_read_when_it_can() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", THREE, "doc-1").await;
    let directive = stage.next_directive().await;
    breaks(&stage, "ocr", "settle");
    assert!(
        stage
            .succeed(&directive)
            .await
            .expect("the RESULT is taken")
    );
    assert_eq!(
        stage.step_states(id).await,
        ["IN_PROGRESS", "PENDING", "PENDING"]
    );
    let events = stage.events(id).await;
    assert_eq!(
        events[events.len() - 2..],
        ["result_received", "decision_deferred"]
    );
    assert!(
        stage
            .succeed(&directive)
            .await
            .expect("the same again is the same")
    );

    stage.later(59_999);
    assert_eq!(stage.sweep(DRIFT).await, 0);
    stage.runtime.heal();
    let stage = stage.restarted().await;
    stage.later(1);
    assert_eq!(stage.sweep(DRIFT).await, 1);
    assert_eq!(
        stage.step_states(id).await,
        ["SUCCEEDED", "DISPATCHING", "PENDING"]
    );
    assert_eq!(
        stage.job(id).await.attempts_total(),
        2,
        "the work was not done twice"
    );
    stage.work_one().await;
    stage.work_one().await;
    assert_eq!(stage.state(id).await, "SUCCEEDED");
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_plugin_that_stays_broken_after_a_result_ends_the_job_in_the_open() {
    for (who, what) in [("ocr", "settle"), ("embedding", "route")] {
        let stage = Stage::new().await;
        let id = stage.accepted("acme", THREE, "doc-1").await;
        let directive = stage.next_directive().await;
        breaks(&stage, who, what);
        assert!(
            stage
                .succeed(&directive)
                .await
                .expect("the RESULT is taken")
        );
        for wait_ms in [60_000, 300_000] {
            assert_eq!(stage.state(id).await, "IN_PROGRESS");
            stage.later(wait_ms);
            assert_eq!(stage.sweep(DRIFT).await, 1);
        }
        assert_eq!(stage.failure_code(id).await, "PLUGIN_FAULT");
        let asked = stage.runtime.calls();
        let asked = asked
            .iter()
            .filter(|(id, kind)| (id.as_str(), *kind) == (who, what))
            .count();
        assert_eq!(asked, 3);
        assert!(stage.events(id).await.contains(&"result_received"));
        audit_with_gates(&stage).await;

        stage.runtime.heal();
        stage.engine.redrive(id).await.expect("it failed");
        while stage.state(id).await != "SUCCEEDED" {
            stage.work_one().await;
        }
        audit_with_gates(&stage).await;
    }
}

#[tokio::test]
async fn a_fault_while_the_next_step_is_routed_keeps_the_result_of_the_last_one() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", THREE, "doc-1").await;
    let directive = stage.next_directive().await;
    breaks(&stage, "embedding", "route");
    assert!(
        stage
            .succeed(&directive)
            .await
            .expect("the RESULT is taken")
    );
    assert_eq!(
        stage.step_states(id).await,
        ["SUCCEEDED", "PENDING", "PENDING"]
    );
    assert_eq!(stage.job(id).await.progress.steps[0].artifact_refs.len(), 1);
    stage.runtime.heal();
    stage.later(60_000);
    assert_eq!(stage.sweep(DRIFT).await, 1);
    assert_eq!(stage.next_directive().await.step_id.as_str(), "embedding");
}

#[tokio::test]
async fn a_plugin_cannot_turn_a_failure_into_a_success_or_wait_longer_than_a_day() {
    let failed = Failure::new("X", "x");
    let delay_ms = Some(24 * 60 * 60 * 1_000 + 1);
    for answer in [
        Answer::Settled(Settle::Accept),
        Answer::Settled(Settle::Retry {
            delay_ms,
            failure: failed,
        }),
        Answer::Routed(Route::Dispatch(dispatch("platform-ocr"))),
    ] {
        let stage = Stage::new().await;
        let id = stage.accepted("acme", "OCR", "doc-1").await;
        let directive = stage.next_directive().await;
        answers(&stage, "settle", answer);
        stage
            .fail(&directive, "RETRYABLE")
            .await
            .expect("it is taken");
        let events = stage.events(id).await;
        assert_eq!(events.last(), Some(&"decision_deferred"));
        audit_with_gates(&stage).await;
    }
}

#[tokio::test]
async fn a_plugins_own_verdict_and_delay_win() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    let directive = stage.next_directive().await;
    let failure = Failure::new("MODEL_OVERLOADED", "come back soon");
    answers(
        &stage,
        "settle",
        Answer::Settled(Settle::Retry {
            delay_ms: Some(250),
            failure,
        }),
    );
    stage
        .fail(&directive, "NON_RETRYABLE")
        .await
        .expect("it is taken");
    assert_eq!(stage.step_states(id).await, ["FAILED_RETRY"]);
    stage.runtime.heal();
    stage.later(250);
    assert_eq!(stage.sweep(DRIFT).await, 1);
    stage.work_one().await;
    assert_eq!(stage.state(id).await, "SUCCEEDED");
}

#[tokio::test]
async fn a_step_that_a_plugin_skips_hands_on_to_the_next_one_in_the_same_commit() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", THREE, "doc-1").await;
    stage.runtime.script(|plugin, call| match call {
        Call::Route { context } if plugin.as_str() == "embedding" => {
            assert_eq!(context.earlier[0].artifacts.len(), 1);
            let reason = "the text is empty".to_owned();
            Some(Ok(Answer::Routed(Route::Skip { reason })))
        }
        Call::Validate { .. } | Call::Route { .. } | Call::Settle { .. } => None,
    });
    stage.work_one().await;
    assert_eq!(
        stage.step_states(id).await,
        ["SUCCEEDED", "SKIPPED", "DISPATCHING"]
    );
    let directive = stage.work_one().await;
    assert!(directive.inputs[1].skipped);
    assert_eq!(stage.state(id).await, "SUCCEEDED");
}

#[tokio::test]
async fn a_plugins_payload_and_waits_hold_for_the_attempt() {
    let stage = Stage::new().await;
    let payload = Some(json!({ "page_range": "1" }));
    let (ack_ms, lease_ms) = (Some(500), Some(900));
    let route = Dispatch {
        payload,
        ack_ms,
        lease_ms,
        ..dispatch("platform-ocr")
    };
    answers(&stage, "route", Answer::Routed(Route::Dispatch(route)));
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    let directive = stage.next_directive().await;
    assert_eq!(directive.payload, json!({ "page_range": "1" }));
    stage.later(500);
    assert_eq!(stage.sweep(lucius_engine::sweep::ACK).await, 1);
    assert_eq!(stage.step_states(id).await, ["FAILED_RETRY"]);
}

#[tokio::test]
async fn a_plugin_adds_what_else_is_wrong_with_a_payload_that_its_schema_refuses() {
    let stage = Stage::new().await;
    stage.runtime.script(|_, call| match call {
        Call::Validate { payload, .. } => {
            assert_eq!(*payload, json!({ "page_range": "3-1" }));
            let violation = |pointer: &str| Violation {
                pointer: pointer.to_owned(),
                code: "WRONG".to_owned(),
                message: "is wrong".to_owned(),
            };
            // What it says of the member that it was not shown is not passed on.
            let found = vec![violation("/page_range"), violation("/output_format")];
            Some(Ok(Answer::Validated(Err(found))))
        }
        Call::Route { .. } | Call::Settle { .. } => None,
    });
    let mut wrong = command("acme", "OCR", "doc-1");
    wrong["payload"] = json!({ "page_range": "3-1", "output_format": "PDF" });
    let found = |refusal: Refusal| -> Vec<_> {
        let violations = refusal.violations().iter();
        let pairs = violations.map(|it| (it.pointer.clone(), it.source.clone()));
        pairs.collect()
    };
    let schema = ("/payload/output_format".to_owned(), "schema".to_owned());
    let plugin = (
        "/payload/page_range".to_owned(),
        "plugin:ocr@1.0.0".to_owned(),
    );
    let all = found(stage.refusal(wrong.clone()).await);
    assert_eq!(all, [schema.clone(), plugin]);

    stage.runtime.script(|_, _| Some(Err(trap())));
    let refusal = stage.refusal(wrong).await;
    assert_eq!(refusal.code(), "INVALID_PAYLOAD");
    assert_eq!(found(refusal), [schema]);
}
