//! The same command again: one job, whoever repeats it, however often at once, and whatever has changed since.

use futures_util::future::join_all;
use lucius_domain::contract::RefRules;
use lucius_domain::plugin::Violation;
use lucius_engine::{Refusal, Settings};
use lucius_memory::faulty::Fault;
use lucius_ports::plugin::{Answer, Call};
use serde_json::json;

use crate::accept::{jobs, refused, with};
use crate::audit::audit_with_gates;
use crate::doubles::trap;
use crate::stage::{Stage, THREE, command, manifest, publish_registry, settings};

#[tokio::test]
async fn the_same_command_again_is_the_same_job_however_it_is_written() {
    let stage = Stage::new().await;
    let first = with(
        "payload",
        json!({ "steps": { "ocr": { "language_hint": "de", "x-n": 1 } } }),
    );
    let again = json!({
        "payload": { "steps": { "ocr": { "x-n": 1.0, "x-none": null, "language_hint": "de" } } },
        "schema_version": "v1", "output_ref": "file:///out/", "input_ref": "file:///in/a.pdf",
        "doc_id": "doc-1", "request_type": "OCR", "tenant_id": "acme", "priority": 9,
        "correlation_id": "another",
    });
    let id = stage.submit(&first).await.expect("accepted").job.id;
    let before = stage.events(id).await;
    let duplicate = stage.submit(&again).await.expect("known");
    assert!(duplicate.duplicate);
    assert_eq!(duplicate.job.id, id);
    assert_eq!(jobs(&stage).await, 1);
    assert_eq!(stage.events(id).await, before);
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_key_is_its_tenants_own_and_belongs_to_one_command() {
    let stage = Stage::new().await;
    let keyed = |tenant: &str, doc: &str| {
        let mut command = command(tenant, "OCR", doc);
        command["idempotency_key"] = json!("key-1");
        command
    };
    let first = stage
        .submit(&keyed("acme", "doc-1"))
        .await
        .expect("accepted");
    let again = stage.submit(&keyed("acme", "doc-1")).await.expect("known");
    assert_eq!((again.job.id, again.duplicate), (first.job.id, true));
    let other = stage
        .submit(&keyed("other", "doc-2"))
        .await
        .expect("another tenant's key");
    assert!(!other.duplicate);
    let unkeyed = stage
        .submit(&command("acme", "OCR", "doc-1"))
        .await
        .expect("no key");
    assert!(!unkeyed.duplicate);
    let refusal = refused(&stage, keyed("acme", "doc-2")).await;
    assert!(
        matches!(refusal, Refusal::KeyReused(id) if id == first.job.id),
        "{refusal}"
    );
    let mut broken = keyed("acme", "doc-1");
    broken["payload"] = json!({ "page_range": 3 });
    assert_eq!(
        refused(&stage, broken).await.code(),
        "IDEMPOTENCY_KEY_REUSED"
    );
}

#[tokio::test]
async fn i5_a_thousand_of_the_same_at_once_are_one_job() {
    let stage = Stage::new().await;
    let same = command("acme", THREE, "doc-1");
    let answers = join_all((0..1_000).map(|_| stage.submit(&same))).await;
    let answers: Vec<_> = answers
        .into_iter()
        .map(|it| it.expect("accepted"))
        .collect();
    let id = answers[0].job.id;
    assert!(answers.iter().all(|it| it.job.id == id));
    assert_eq!(answers.iter().filter(|it| !it.duplicate).count(), 1);
    assert_eq!(jobs(&stage).await, 1);
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn many_of_the_same_at_once_take_one_place() {
    let stage = Stage::new().await;
    let same = command("small", THREE, "doc-1");
    let answers = join_all((0..50).map(|_| stage.submit(&same))).await;
    let refused = answers.iter().flat_map(|it| it.as_ref().err()).next();
    assert!(refused.is_none(), "{refused:?}");
    assert_eq!(jobs(&stage).await, 1);
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_known_command_is_answered_even_if_limits_or_rules_would_refuse_it_now() {
    let stage = Stage::new().await;
    let known = stage.accepted("small", THREE, "doc-1").await;
    stage.accepted("small", THREE, "doc-2").await;
    assert_eq!(
        stage.refusal(command("small", THREE, "doc-3")).await.code(),
        "TENANT_LIMIT"
    );
    let again = async |stage: &Stage| {
        let answer = stage
            .submit(&command("small", THREE, "doc-1"))
            .await
            .expect("known");
        assert_eq!((answer.job.id, answer.duplicate), (known, true));
    };
    again(&stage).await;
    stage.runtime.script(|_, _| Some(Err(trap())));
    again(&stage).await;
    stage.runtime.script(|_, call| match call {
        Call::Validate { .. } => {
            let (pointer, code) = (String::new(), "NEVER".to_owned());
            let message = "nothing is valid any more".to_owned();
            Some(Ok(Answer::Validated(Err(vec![Violation {
                pointer,
                code,
                message,
            }]))))
        }
        Call::Route { .. } | Call::Settle { .. } => None,
    });
    again(&stage).await;
    stage.runtime.heal();
    let mut fewer = manifest();
    fewer["protocols"].as_array_mut().expect("a list").remove(1);
    publish_registry(&stage.source, &fewer);
    stage
        .engine
        .reload(lucius_engine::registry::Options::default())
        .await
        .expect("the ledger answers")
        .expect("it is good");
    assert_eq!(
        stage.refusal(command("acme", THREE, "x")).await.code(),
        "UNSUPPORTED_REQUEST_TYPE"
    );
    again(&stage).await;

    let refs = RefRules {
        schemes: vec!["s3".to_owned()],
        hosts: Vec::new(),
    };
    let strict = stage
        .world
        .open(Settings { refs, ..settings() })
        .await
        .expect("it starts");
    assert_eq!(
        strict.refusal(command("acme", "OCR", "x")).await.code(),
        "REF_NOT_ALLOWED"
    );
    again(&strict).await;
}

#[tokio::test]
async fn a_ledger_that_is_away_refuses_and_the_same_command_later_is_one_job() {
    for fault in [Fault::Before, Fault::After] {
        let stage = Stage::new().await;
        let same = command("acme", THREE, "doc-1");
        stage.faulty.set_outage(Some(fault));
        assert_eq!(
            stage.refusal(same.clone()).await.code(),
            "LEDGER_UNAVAILABLE"
        );
        stage.faulty.set_outage(None);
        let answer = stage.submit(&same).await.expect("accepted");
        assert_eq!(answer.duplicate, fault == Fault::After);
        assert_eq!(jobs(&stage).await, 1);
        // The hint was lost with the answer; the scan finds the directive.
        stage.work_one().await;
    }
}
