//! Versions that break down on many payloads, and payloads that break down every version.

use lucius_domain::id::Generation;
use lucius_engine::Refusal;
use lucius_engine::registry::Options;
use lucius_ports::ledger::{Generations as _, Origin};
use lucius_ports::plugin::Call;
use serde_json::json;

use crate::audit::audit_with_gates;
use crate::doubles::trap;
use crate::stage::{Stage, THREE, command, publish_version, settings};

/// A host on which 1.0.0 was live before 1.1.0, and which is patient with three payloads and no more.
async fn two_versions() -> Stage {
    let mut settings = settings();
    settings.registry.breaker.payloads = 3;
    let stage = Stage::with(settings).await;
    publish_version(&stage.source, "1.1.0", |_| {});
    let outcome = stage.engine.reload(Options::default()).await;
    assert!(outcome.expect("the ledger answers").is_ok());
    stage
}

fn page(doc: &str, page: u32) -> serde_json::Value {
    let mut command = command("acme", "OCR", doc);
    command["payload"] = json!({ "page_range": page.to_string() });
    command
}

#[tokio::test]
async fn a_version_that_breaks_on_many_payloads_is_replaced_for_new_jobs() {
    let stage = two_versions().await;
    let before = stage.accepted("acme", "OCR", "before").await;
    stage
        .runtime
        .script_version("ocr@1.1.0", |_| Some(Err(trap())));
    for attempt in 0..5 {
        let refusal = stage.refusal(page("same", 1)).await;
        assert_eq!(refusal.code(), "PLUGIN_FAULT", "attempt {attempt}");
    }
    for number in 2..=3 {
        stage.refusal(page("other", number)).await;
    }
    let live = stage.engine.registry().live();
    let decides = live.protocols[0].steps[0]
        .plugin
        .as_ref()
        .expect("a plugin");
    assert_eq!(decides.pin.to_string(), "ocr@1.0.0");
    let record = stage.ledger.latest(1).await.expect("it answers").remove(0);
    assert_eq!(record.generation, Generation(3));
    assert!(matches!(record.origin, Origin::Quarantine { .. }));
    let quarantined = stage.engine.registry().quarantined();
    let (digest, quarantine) = quarantined.iter().next().expect("one");
    assert_eq!(quarantine.plugin.to_string(), "ocr@1.1.0");
    assert!(
        quarantine.reason.contains("3 different questions"),
        "{}",
        quarantine.reason
    );
    stage
        .submit(&page("after", 1))
        .await
        .expect("the other version decides");
    assert_eq!(
        stage.job(before).await.generation(),
        Generation(2),
        "it keeps what it pinned"
    );

    // It stays out over restarts and reloads, until someone lets it out.
    let again = stage.restarted().await;
    assert_eq!(again.engine.registry().live().generation, Generation(3));
    let outcome = again
        .engine
        .reload(Options::default())
        .await
        .expect("it answers");
    let errors = outcome.err().expect("it is quarantined");
    assert!(
        errors[0].reason.contains("lucius registry release"),
        "{errors:?}"
    );
    let back = again
        .engine
        .rollback(Some(Generation(2)))
        .await
        .expect("it answers");
    assert!(back.is_err());
    assert!(again.engine.release(*digest).await.expect("it answers"));
    assert!(!again.engine.release(*digest).await.expect("it answers"));
    let outcome = again
        .engine
        .reload(Options::default())
        .await
        .expect("it answers");
    assert_eq!(
        outcome
            .unwrap_or_else(|errors| panic!("{errors:?}"))
            .live
            .generation,
        Generation(4)
    );
    audit_with_gates(&again).await;
}

#[tokio::test]
async fn a_version_with_nothing_to_take_over_stays_in_service() {
    let mut settings = settings();
    settings.registry.breaker.payloads = 2;
    let stage = Stage::with(settings).await;
    stage
        .runtime
        .script_version("ocr@1.0.0", |call| match call {
            Call::Validate { payload, .. } if payload["page_range"] == "1" => None,
            Call::Validate { .. } => Some(Err(trap())),
            Call::Route { .. } | Call::Settle { .. } => None,
        });
    for number in 2..=7 {
        stage.refusal(page("doc", number)).await;
    }
    assert_eq!(stage.engine.registry().quarantined().len(), 1);
    assert_eq!(stage.engine.registry().live().generation, Generation(1));
    let (trail, _) = stage
        .engine
        .audit()
        .list(None, 9)
        .await
        .expect("it answers");
    let [entry] = &trail[..] else {
        panic!("it is on record once, however often it trips: {trail:?}")
    };
    assert_eq!((&*entry.act, &*entry.path), ("quarantine", "ocr@1.0.0"));
    assert_eq!(
        entry.detail.as_deref(),
        Some("no other version is there to take over, so it stays in service")
    );
    stage
        .submit(&page("doc", 1))
        .await
        .expect("the others are served");
}

#[tokio::test]
async fn a_payload_that_breaks_two_versions_is_the_payloads_fault() {
    let stage = two_versions().await;
    for version in ["ocr@1.0.0", "ocr@1.1.0"] {
        stage.runtime.script_version(version, |_| Some(Err(trap())));
    }
    for number in 1..=9 {
        let refusal = stage.refusal(page("doc", number)).await;
        let Refusal::InvalidPayload(violations) = &refusal else {
            panic!("{refusal}")
        };
        assert_eq!(violations[0].code, "PAYLOAD_BREAKS_PLUGINS");
    }
    assert!(stage.engine.registry().quarantined().is_empty());
    assert_eq!(stage.engine.registry().live().generation, Generation(2));
}

#[tokio::test]
async fn a_job_whose_result_breaks_two_versions_ends_alone() {
    let stage = two_versions().await;
    let id = stage.accepted("acme", THREE, "doc-1").await;
    let directive = stage.next_directive().await;
    for version in ["ocr@1.0.0", "ocr@1.1.0"] {
        stage.runtime.script_version(version, |call| {
            matches!(call, Call::Settle { .. }).then(|| Err(trap()))
        });
    }
    assert!(
        stage
            .succeed(&directive)
            .await
            .expect("the RESULT is taken")
    );
    assert_eq!(stage.failure_code(id).await, "PAYLOAD_BREAKS_PLUGINS");
    assert!(stage.events(id).await.contains(&"result_received"));
    stage.accepted("acme", THREE, "doc-2").await;
    audit_with_gates(&stage).await;
}
