//! Past decisions: asked again of a candidate, of a job's next generation, and shown with what was asked.

use lucius_domain::id::Generation;
use lucius_domain::plugin::{Dispatch, Route, Violation};
use lucius_engine::Refusal;
use lucius_engine::registry::{EntryError, Options, Plan};
use lucius_ports::plugin::{Answer, Call};
use serde_json::json;

use crate::audit::audit_with_gates;
use crate::doubles::{kind, trap};
use crate::stage::{Stage, THREE, publish_version};

/// Lets a version route elsewhere, and refuse payloads that name page 7.
fn otherwise(stage: &Stage, version: &str) {
    stage.runtime.script_version(version, |call| match call {
        Call::Validate { payload, .. } if payload["page_range"] == "7" => {
            Some(Ok(Answer::Validated(Err(vec![Violation {
                pointer: "/page_range".to_owned(),
                code: "UNLUCKY".to_owned(),
                message: "choose another page".to_owned(),
            }]))))
        }
        Call::Route { .. } => Some(Ok(Answer::Routed(Route::Dispatch(Dispatch {
            service: "platform-ocr".into(),
            payload: Some(json!({ "fast": true })),
            ack_ms: None,
            lease_ms: None,
        })))),
        Call::Validate { .. } | Call::Settle { .. } => None,
    });
}

async fn accepted_with_page(stage: &Stage, doc: &str, page: &str) {
    let mut command = crate::stage::command("acme", "OCR", doc);
    command["payload"] = json!({ "page_range": page });
    stage.submit(&command).await.expect("it is good");
}

async fn plan(stage: &Stage, options: Options) -> Result<Plan, Vec<EntryError>> {
    stage
        .engine
        .plan(options)
        .await
        .expect("the ledger answers")
}

#[tokio::test]
async fn a_candidate_is_asked_what_was_decided_before_and_its_differences_are_counted() {
    let stage = Stage::new().await;
    for (doc, page) in [("a", "1"), ("b", "7"), ("c", "2-4")] {
        accepted_with_page(&stage, doc, page).await;
    }
    stage.work_one_of("a").await;
    otherwise(&stage, "ocr@1.1.0");
    publish_version(&stage.source, "1.1.0", |_| {});
    let found = plan(&stage, Options::default()).await.expect("it is good");
    assert_eq!(
        found.replays[0].to_string(),
        "ocr 1.0.0 -> 1.1.0: 7 replayed, 3 same, 4 differ (3 route, 1 accept -> reject)"
    );
    let sample = &found.replays[0].samples[0];
    assert_eq!(sample.was["route"], "dispatch");
    assert_eq!(sample.now["payload"], json!({ "fast": true }));

    let few = Options {
        replay: 2,
        max_diff: None,
    };
    let found = plan(&stage, few).await.expect("it is good");
    assert_eq!(
        found.replays[0].replayed, 2,
        "the newest decisions, and no more"
    );
    let strict = Options {
        max_diff: Some(3),
        ..Options::default()
    };
    let errors = plan(&stage, strict).await.expect_err("4 are too many");
    assert_eq!(errors[0].entry, "plugin ocr@1.1.0");
    assert!(
        errors[0].reason.contains("3 differences are allowed"),
        "{errors:?}"
    );
    let outcome = stage
        .engine
        .reload(strict)
        .await
        .expect("the ledger answers");
    assert!(outcome.is_err());
    assert_eq!(stage.engine.registry().live().generation, Generation(1));
    let outcome = stage
        .engine
        .reload(Options::default())
        .await
        .expect("the ledger answers");
    assert_eq!(
        outcome
            .unwrap_or_else(|errors| panic!("{errors:?}"))
            .plan
            .replays[0]
            .differing(),
        4
    );
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_candidate_that_breaks_down_on_past_payloads_is_seen_before_it_is_live() {
    let stage = Stage::new().await;
    stage.accepted("acme", "OCR", "a").await;
    stage
        .runtime
        .script_version("ocr@1.1.0", |_| Some(Err(trap())));
    publish_version(&stage.source, "1.1.0", |_| {});
    let found = plan(&stage, Options::default()).await.expect("it is good");
    assert_eq!(found.replays[0].differ.get("fault"), Some(&2));
}

#[tokio::test]
async fn every_decision_of_a_job_is_shown_with_what_was_asked() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", THREE, "doc-1").await;
    let directive = stage.next_directive().await;
    stage
        .fail(&directive, "RETRYABLE")
        .await
        .expect("it counts");
    stage.after(60_000).await;
    while stage.state(id).await != "SUCCEEDED" {
        let directive = stage.directives().pop().expect("one is out");
        stage.succeed(&directive).await.expect("it counts");
        stage.dispatch().await;
    }
    let asked = stage
        .engine
        .decisions(id)
        .await
        .expect("it answers")
        .expect("it is there");
    // Three payloads; then a route and a settle for each of four attempts.
    assert_eq!(asked.len(), 3 + 8);
    for it in &asked {
        let call = it.call.as_ref().expect("what was asked is made again");
        assert_eq!(kind(call), it.decision.function.as_str());
    }
    let unknown = lucius_domain::id::JobId(uuid::Uuid::nil());
    assert!(
        stage
            .engine
            .decisions(unknown)
            .await
            .expect("it answers")
            .is_none()
    );
}

#[tokio::test]
async fn a_job_is_moved_only_where_its_past_decisions_stand_unless_that_is_forced() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", THREE, "doc-1").await;
    otherwise(&stage, "ocr@1.1.0");
    publish_version(&stage.source, "1.1.0", |_| {});
    let reloaded = stage
        .engine
        .reload(Options::default())
        .await
        .expect("it answers");
    assert!(reloaded.is_ok());
    let to = Generation(2);
    let refusal = stage
        .engine
        .migrate(id, to, false)
        .await
        .expect_err("it routes otherwise");
    let Refusal::MigrationDiffers(differences) = &refusal else {
        panic!("{refusal}")
    };
    assert_eq!(differences.len(), 1);
    assert_eq!(stage.job(id).await.generation(), Generation(1));
    let moved = stage
        .engine
        .migrate(id, to, true)
        .await
        .expect("it is forced");
    assert_eq!((moved.job.generation(), moved.differences.len()), (to, 1));
    let refusal = stage
        .engine
        .migrate(id, to, true)
        .await
        .expect_err("it is there");
    assert_eq!(refusal.code(), "MIGRATION_REFUSED");
    assert!(stage.events(id).await.contains(&"migrated"));

    // From now on the other version decides, and the old one is not needed any more.
    stage.engine.tidy().await.expect("the ledger answers");
    assert!(!stage.runtime.loaded().contains(&"ocr@1.0.0".to_owned()));
    let directive = stage.next_directive().await;
    stage
        .fail(&directive, "RETRYABLE")
        .await
        .expect("it counts");
    stage.after(60_000).await;
    let again = stage.directives().pop().expect("another attempt");
    assert_eq!(
        again.payload,
        json!({ "fast": true })
            .as_object()
            .cloned()
            .map_or(json!({}), Into::into)
    );
    let asked = stage
        .engine
        .decisions(id)
        .await
        .expect("it answers")
        .expect("it is there");
    assert!(asked.iter().all(|it| it.call.is_some()));
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_job_is_not_moved_to_where_its_steps_are_not() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", THREE, "doc-1").await;
    let refusal = stage
        .engine
        .migrate(id, Generation(9), false)
        .await
        .expect_err("no such one");
    assert_eq!(refusal.code(), "MIGRATION_REFUSED");
    publish_version(&stage.source, "1.1.0", |manifest| {
        manifest["protocols"][1]["steps"]
            .as_array_mut()
            .expect("a list")
            .pop();
    });
    stage
        .engine
        .reload(Options::default())
        .await
        .expect("it answers")
        .unwrap_or_else(|errors| panic!("{errors:?}"));
    let refusal = stage
        .engine
        .migrate(id, Generation(2), true)
        .await
        .expect_err("sis is gone");
    assert!(refusal.to_string().contains("step \"sis\""), "{refusal}");
    let nobody = lucius_domain::id::JobId(uuid::Uuid::nil());
    let refusal = stage
        .engine
        .migrate(nobody, Generation(1), true)
        .await
        .expect_err("no job");
    assert_eq!(refusal.code(), "JOB_NOT_FOUND");
    stage.engine.cancel(id).await.expect("nothing is out");
    let refusal = stage
        .engine
        .migrate(id, Generation(1), true)
        .await
        .expect_err("it is over");
    assert_eq!(refusal.code(), "JOB_TERMINAL");
}
