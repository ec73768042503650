//! What services say back: who may say it, what counts, and what the answer is.

use futures_util::future::join_all;
use lucius_domain::contract::Directive;
use lucius_domain::id::{AttemptNo, LeaseId};
use lucius_engine::Refusal;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::audit::{audit, audit_with_gates};
use crate::stage::{Stage, THREE, ack_body, callback, failure, success};

async fn with_directive(request_type: &str) -> (Stage, Directive) {
    let stage = Stage::new().await;
    stage.accepted("acme", request_type, "doc-1").await;
    let directive = stage.next_directive().await;
    (stage, directive)
}

fn code(answer: Result<bool, Refusal>) -> &'static str {
    answer.expect_err("it should be refused").code()
}

async fn ignored(stage: &Stage, directive: &Directive) -> usize {
    let events = stage.events(directive.job_id).await;
    events
        .iter()
        .filter(|name| **name == "callback_ignored")
        .count()
}

#[tokio::test]
async fn a_callback_needs_the_token_of_its_very_attempt() {
    let (stage, directive) = with_directive("OCR").await;
    let body = ack_body(&directive, stage.now());
    assert_eq!(
        code(stage.engine.ack(body.clone(), None).await),
        "TOKEN_MISSING"
    );
    assert_eq!(
        code(stage.engine.ack(body.clone(), Some("v1.nonsense")).await),
        "TOKEN_REFUSED"
    );
    assert_eq!(
        code(stage.engine.ack(body.clone(), Some("")).await),
        "TOKEN_REFUSED"
    );

    stage.accepted("acme", "OCR", "doc-2").await;
    let other = stage.next_directive().await;
    let foreign = Some(&*other.callback_token);
    assert_eq!(
        code(stage.engine.ack(body.clone(), foreign).await),
        "TOKEN_REFUSED"
    );
    assert_eq!(
        code(
            stage
                .engine
                .heartbeat(callback(&directive, stage.now()), foreign)
                .await
        ),
        "TOKEN_REFUSED"
    );
    let result = success(&directive, stage.now());
    assert_eq!(
        code(stage.engine.result(result, foreign).await),
        "TOKEN_REFUSED"
    );

    // The right token for another number or lease is another attempt's.
    for change in [
        Directive {
            attempt_no: AttemptNo(2),
            ..directive.clone()
        },
        Directive {
            lease_id: LeaseId(Uuid::from_u128(9)),
            ..directive.clone()
        },
        Directive {
            step_id: "sis".into(),
            ..directive.clone()
        },
    ] {
        assert_eq!(code(stage.ack(&change).await), "TOKEN_REFUSED");
    }
    assert_eq!(ignored(&stage, &directive).await, 0);
    assert!(stage.ack(&directive).await.expect("the attempt's own"));
}

#[tokio::test]
async fn the_token_of_an_earlier_attempt_does_not_open_the_next_one() {
    let (stage, first) = with_directive("OCR").await;
    stage.after(30_000).await;
    stage.later(60_000);
    stage.sweep(lucius_engine::sweep::DRIFT).await;
    let second = stage.next_directive().await;
    assert_ne!(first.callback_token, second.callback_token);
    let body = success(&second, stage.now());
    let answer = stage.engine.result(body, Some(&first.callback_token)).await;
    assert_eq!(code(answer), "TOKEN_REFUSED");
    assert_eq!(code(stage.succeed(&first).await), "STALE_ATTEMPT");
    assert!(stage.succeed(&second).await.expect("the current one"));
}

#[tokio::test]
async fn a_stale_callback_does_not_start_the_attempt_that_is_due() {
    let (stage, first) = with_directive("OCR").await;
    stage.after(30_000).await;
    stage.later(60_000);
    let before = stage.events(first.job_id).await.len();
    assert_eq!(code(stage.succeed(&first).await), "STALE_ATTEMPT");
    let after = stage.events(first.job_id).await;
    assert_eq!(after[before..], ["callback_ignored"]);
    assert_eq!(stage.step_states(first.job_id).await, ["FAILED_RETRY"]);
    assert_eq!(stage.sweep(lucius_engine::sweep::DRIFT).await, 1);
}

#[tokio::test]
async fn a_job_that_is_not_there_is_not_found_whatever_its_id_looks_like() {
    let (stage, directive) = with_directive("OCR").await;
    let token = Some(&*directive.callback_token);
    for id in ["0192ffff-0000-7000-8000-000000000001", "not-a-uuid", "42"] {
        let mut body = ack_body(&directive, stage.now());
        body["jobId"] = id.into();
        assert_eq!(
            code(stage.engine.ack(body, token).await),
            "JOB_NOT_FOUND",
            "{id}"
        );
    }
}

#[tokio::test]
async fn a_callback_that_does_not_fit_its_contract_is_refused_with_all_that_is_wrong() {
    let (stage, directive) = with_directive("OCR").await;
    let token = Some(&*directive.callback_token);
    let Err(refusal) = stage.engine.ack(json!({ "jobId": 3 }), token).await else {
        panic!("it should be refused")
    };
    assert_eq!(refusal.code(), "INVALID_CALLBACK");
    assert!(
        refusal.violations().len() >= 5,
        "{:?}",
        refusal.violations()
    );
    let mut no_reason = failure(&directive, stage.now(), "RETRYABLE");
    no_reason
        .as_object_mut()
        .expect("an object")
        .remove("error");
    assert_eq!(
        code(stage.engine.result(no_reason, token).await),
        "INVALID_CALLBACK"
    );
    for odd in [json!(null), json!("text"), json!([]), json!({})] {
        assert_eq!(
            code(stage.engine.result(odd, token).await),
            "INVALID_CALLBACK"
        );
    }
    assert!(stage.succeed(&directive).await.expect("a good one counts"));
}

#[tokio::test]
async fn a_repeated_callback_is_answered_like_the_first_and_kept_as_an_event() {
    let (stage, directive) = with_directive(THREE).await;
    for _ in 0..2 {
        assert!(stage.ack(&directive).await.expect("the same ACK"));
    }
    assert!(stage.beat(&directive).await.expect("a heartbeat"));
    assert!(stage.succeed(&directive).await.expect("the RESULT"));
    stage.later(5);
    let version = stage.job(directive.job_id).await.progress.version.0;
    // Said at another time, it is the same RESULT.
    assert!(stage.succeed(&directive).await.expect("the same RESULT"));
    let job = stage.job(directive.job_id).await;
    assert_eq!(job.progress.version.0, version + 1, "only the note");
    assert_eq!(job.progress.steps[0].attempts.0, 1);
    assert_eq!(job.progress.steps[1].attempts.0, 1);
    assert_eq!(ignored(&stage, &directive).await, 2);
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_different_result_conflicts_and_the_first_one_stays() {
    let (stage, directive) = with_directive(THREE).await;
    assert!(stage.succeed(&directive).await.expect("the first"));
    assert_eq!(
        code(stage.fail(&directive, "RETRYABLE").await),
        "CALLBACK_CONFLICT"
    );
    let mut more = success(&directive, stage.now());
    more["artifact_refs"] = json!(["file:///workspace/other.json"]);
    assert_eq!(
        code(stage.result(&directive, more).await),
        "CALLBACK_CONFLICT"
    );
    assert_eq!(stage.step_states(directive.job_id).await[0], "SUCCEEDED");
    assert_eq!(ignored(&stage, &directive).await, 2);
}

#[tokio::test]
async fn an_attempt_whose_result_is_in_is_told_so_when_it_acks_again() {
    let (stage, directive) = with_directive(THREE).await;
    assert!(stage.succeed(&directive).await.expect("the RESULT"));
    assert!(!stage.ack(&directive).await.expect("answered"));
    assert!(!stage.beat(&directive).await.expect("answered"));
}

#[tokio::test]
async fn once_the_job_is_over_every_callback_is_answered_200_and_does_not_apply() {
    let (stage, directive) = with_directive("OCR").await;
    assert!(stage.succeed(&directive).await.expect("the RESULT"));
    for answer in [
        stage.ack(&directive).await,
        stage.beat(&directive).await,
        stage.succeed(&directive).await,
        stage.fail(&directive, "RETRYABLE").await,
    ] {
        assert!(!answer.expect("answered"));
    }
    assert_eq!(stage.state(directive.job_id).await, "SUCCEEDED");
    assert_eq!(ignored(&stage, &directive).await, 4);
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_stale_attempt_is_refused_on_record_and_changes_nothing() {
    let (stage, first) = with_directive("OCR").await;
    stage.ack(&first).await.expect("it counts");
    stage.after(900_000).await;
    for answer in [
        stage.ack(&first).await,
        stage.beat(&first).await,
        stage.succeed(&first).await,
    ] {
        assert_eq!(code(answer), "STALE_ATTEMPT");
    }
    assert_eq!(stage.step_states(first.job_id).await, ["FAILED_RETRY"]);
    assert_eq!(ignored(&stage, &first).await, 3);
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_hundred_equal_results_at_once_apply_once_and_all_get_the_same_answer() {
    let (stage, directive) = with_directive(THREE).await;
    let answers = join_all((0..100).map(|_| stage.succeed(&directive))).await;
    for answer in answers {
        assert!(answer.expect("the same answer for all"));
    }
    let job = stage.job(directive.job_id).await;
    assert_eq!(
        job.progress.steps[1].attempts.0, 1,
        "the next step began once"
    );
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn of_two_different_results_at_once_one_wins_and_the_other_conflicts() {
    let (stage, directive) = with_directive(THREE).await;
    let answers = join_all((0..20).map(|n| {
        let mut body = success(&directive, stage.now());
        body["artifact_refs"] = json!([format!("file:///workspace/{}.json", n % 2)]);
        let token = directive.callback_token.clone();
        let engine = &stage.engine;
        async move { engine.result(body, Some(&token)).await }
    }))
    .await;
    let (mut same, mut other) = (0, 0);
    for answer in answers {
        match answer {
            Ok(applied) => same += usize::from(applied),
            Err(refusal) => {
                assert_eq!(refusal.code(), "CALLBACK_CONFLICT");
                other += 1;
            }
        }
    }
    assert_eq!((same, other), (10, 10));
    audit(&stage.world).await;
}

#[tokio::test]
async fn a_cancel_and_a_result_at_once_end_in_one_order_or_the_other() {
    let (stage, directive) = with_directive(THREE).await;
    stage.ack(&directive).await.expect("it counts");
    let (cancelled, applied) = tokio::join!(
        stage.engine.cancel(directive.job_id),
        stage.succeed(&directive)
    );
    cancelled.expect("the job is not over");
    assert!(applied.expect("the RESULT is the current attempt's"));
    assert_eq!(stage.state(directive.job_id).await, "CANCELLED");
    assert_eq!(stage.dispatch().await, 0);
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn what_the_service_reported_is_in_the_job() {
    let (stage, directive) = with_directive("OCR").await;
    let mut body: Value = success(&directive, stage.now());
    body["artifact_refs"] =
        json!([{ "uri": "file:///workspace/t.json", "checksum": "sha256:0", "x-own": 1 }]);
    body["output_ref"] = json!("file:///out/t.json");
    stage.result(&directive, body).await.expect("it counts");
    let step = &stage.job(directive.job_id).await.progress.steps[0];
    assert_eq!(step.artifact_refs[0].to_value()["x-own"], 1);
    assert_eq!(
        step.output_ref.as_ref().map(|it| it.uri()),
        Some("file:///out/t.json")
    );
}

#[tokio::test]
async fn a_failure_ends_the_job_with_the_services_own_code() {
    let (stage, directive) = with_directive(THREE).await;
    assert!(
        stage
            .fail(&directive, "NON_RETRYABLE")
            .await
            .expect("it counts")
    );
    assert_eq!(stage.failure_code(directive.job_id).await, "UNREADABLE");
    assert_eq!(
        stage.step_states(directive.job_id).await,
        ["FAILED_FINAL", "PENDING", "PENDING"]
    );
}
