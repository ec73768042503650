//! Versions that are tried out: a canary decides for some tenants and is taken out of service when it does badly, a
//! shadow is asked and never heeded.

use lucius_domain::id::{Digest, Generation, TenantId};
use lucius_engine::registry::trial::Mode;
use lucius_engine::registry::{Activated, Change, Comparison, EntryError, Options, Trial};
use lucius_ports::ledger::{Generations as _, Origin};
use lucius_ports::plugin::{Answer, Call, Fault};
use serde_json::{Value, json};

use crate::audit::audit_with_gates;
use crate::doubles::trap;
use crate::stage::{Stage, command, manifest, plugin_entry, plugin_version};

/// Publishes 1.1.0 of OCR beside 1.0.0, and a trial of it, changed.
fn publish(stage: &Stage, change: impl FnOnce(&mut Value)) {
    let mut manifest = manifest();
    let path = "components/ocr-1.1.0.wasm";
    let source = &stage.source;
    manifest["plugins"] = json!([
        plugin_entry(source, "ocr"),
        plugin_version(source, "ocr", "1.1.0", path),
        plugin_entry(source, "embedding"),
        plugin_entry(source, "sis"),
    ]);
    manifest["trials"] = json!([{
        "plugin": "ocr@1.0.0", "candidate": "ocr@1.1.0", "mode": "canary", "percent": 50,
    }]);
    change(&mut manifest);
    source.set_manifest(Some(&manifest));
}

async fn reload(stage: &Stage) -> Result<Activated, Vec<EntryError>> {
    let outcome = stage.engine.reload(Options::default()).await;
    outcome.expect("the ledger answers")
}

/// A host with a trial, changed.
async fn trying(change: impl FnOnce(&mut Value)) -> Stage {
    let stage = Stage::new().await;
    publish(&stage, change);
    let live = reload(&stage).await;
    live.unwrap_or_else(|errors| panic!("{errors:?}"));
    stage
}

fn trial(stage: &Stage) -> Trial {
    stage.engine.registry().live().trials[0].clone()
}

fn so_far(stage: &Stage) -> Comparison {
    stage.engine.comparison(&trial(stage))
}

/// A tenant inside of the share, and one outside.
fn tenants(stage: &Stage) -> (String, String) {
    let trial = trial(stage);
    let name = |inside: bool| {
        let mut names = (0..).map(|number| format!("tenant-{number}"));
        let found = names.find(|name| trial.includes(&TenantId::new(name.clone())) == inside);
        found.expect("half of them")
    };
    (name(true), name(false))
}

fn page(tenant: &str, page: u32) -> Value {
    let mut command = command(tenant, "OCR", &format!("doc-{page}"));
    command["payload"] = json!({ "page_range": page.to_string() });
    command
}

fn rejects(call: &Call) -> Option<Result<Answer, Fault>> {
    matches!(call, Call::Validate { .. }).then(|| {
        Ok(Answer::Validated(Err(vec![
            lucius_domain::plugin::Violation {
                pointer: "/page_range".to_owned(),
                code: "NO".to_owned(),
                message: "not today".to_owned(),
            },
        ])))
    })
}

async fn version(stage: &Stage, tenant: &str, number: u32) -> String {
    let accepted = stage.submit(&page(tenant, number)).await;
    let accepted = accepted.expect("it is accepted");
    let pin = accepted.job.plugin(0).expect("a plugin");
    pin.version.to_string()
}

#[tokio::test]
async fn a_canary_decides_for_its_share_of_tenants_and_jobs_pin_the_version_that_served_them() {
    let stage = trying(|_| {}).await;
    let (inside, outside) = tenants(&stage);
    for number in 1..=3 {
        assert_eq!(version(&stage, &inside, number).await, "1.1.0");
        assert_eq!(version(&stage, &outside, number).await, "1.0.0");
    }
    let id = stage.accepted(&inside, "OCR", "pinned").await;
    publish(&stage, |manifest| manifest["trials"] = json!([]));
    reload(&stage).await.expect("it is good");
    assert_eq!(version(&stage, &inside, 4).await, "1.0.0");
    let job = stage.job(id).await;
    let pin = job.plugin(0).expect("a plugin");
    assert_eq!(pin.version.to_string(), "1.1.0", "it keeps it to its end");
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_canary_that_rejects_what_the_other_accepts_is_taken_out_of_service_by_itself() {
    let stage =
        trying(|it| it["trials"][0]["abort"] = json!({ "after": 4, "differ_percent": 30 })).await;
    let (inside, outside) = tenants(&stage);
    version(&stage, &inside, 1).await;
    stage.runtime.script_version("ocr@1.1.0", rejects);
    for number in 2..=3 {
        let refusal = stage.refusal(page(&inside, number)).await;
        assert_eq!(refusal.code(), "INVALID_PAYLOAD", "what it says counts");
        stage.engine.compare_waiting().await;
    }
    let record = stage.ledger.latest(1).await.expect("it answers").remove(0);
    assert_eq!(record.generation, Generation(3));
    assert!(matches!(record.origin, Origin::Quarantine { .. }));
    let live = stage.engine.registry().live();
    assert!(live.trials.is_empty());
    let quarantined = stage.engine.registry().quarantined();
    let (digest, quarantine) = quarantined.iter().next().expect("one");
    assert_eq!(
        quarantine.reason,
        "as a canary it decided otherwise than ocr@1.0.0: 4 asked, 2 same, 2 differ (2 accept -> reject)"
    );
    let (trail, _) = stage
        .engine
        .audit()
        .list(None, 9)
        .await
        .expect("it answers");
    let [entry] = &trail[..] else {
        panic!("one entry, and not one for each host or try: {trail:?}")
    };
    assert_eq!(
        (&*entry.who, &*entry.act, &*entry.path, entry.status),
        ("host:host", "abort canary", "ocr@1.1.0", Some(200))
    );
    assert_eq!(entry.why.as_ref(), Some(&quarantine.reason));
    assert_eq!(
        entry.detail.as_deref(),
        Some("ocr@1.0.0 has taken over, in generation 3")
    );
    for tenant in [&inside, &outside] {
        assert_eq!(version(&stage, tenant, 9).await, "1.0.0");
    }

    // It stays out over a restart and a reload, until someone lets it out.
    let again = stage.restarted().await;
    assert_eq!(again.engine.registry().live().generation, Generation(3));
    let errors = reload(&again).await.err().expect("it is quarantined");
    assert!(
        errors[0].reason.contains("lucius registry release"),
        "{errors:?}"
    );
    assert!(again.engine.release(*digest).await.expect("it answers"));
    reload(&again).await.expect("it is good");
    assert_eq!(so_far(&again), Comparison::default(), "it begins anew");
    audit_with_gates(&again).await;
}

#[tokio::test]
async fn what_both_versions_turn_away_does_not_count_against_a_canary() {
    let stage =
        trying(|it| it["trials"][0]["abort"] = json!({ "after": 1, "differ_percent": 0 })).await;
    let (inside, _) = tenants(&stage);
    for version in ["ocr@1.0.0", "ocr@1.1.0"] {
        stage.runtime.script_version(version, rejects);
    }
    for number in 1..=5 {
        stage.refusal(page(&inside, number)).await;
    }
    assert_eq!(stage.engine.compare_waiting().await, 5);
    let so_far = so_far(&stage);
    assert_eq!((so_far.asked, so_far.same, so_far.differing()), (5, 5, 0));
}

#[tokio::test]
async fn a_canary_that_breaks_down_is_ended_and_the_payload_is_blamed_when_both_do() {
    let stage =
        trying(|it| it["trials"][0]["abort"] = json!({ "after": 2, "differ_percent": 50 })).await;
    let (inside, _) = tenants(&stage);
    stage
        .runtime
        .script_version("ocr@1.1.0", |_| Some(Err(trap())));
    stage
        .runtime
        .script_version("ocr@1.0.0", |_| Some(Err(trap())));
    let refusal = stage.refusal(page(&inside, 1)).await;
    assert_eq!(refusal.code(), "INVALID_PAYLOAD");
    assert_eq!(so_far(&stage).asked, 0);
    stage.runtime.script_version("ocr@1.0.0", |_| None);
    for number in 2..=3 {
        let refusal = stage.refusal(page(&inside, number)).await;
        assert_eq!(refusal.code(), "PLUGIN_FAULT");
    }
    stage.engine.compare_waiting().await;
    assert_eq!(stage.engine.registry().quarantined().len(), 1);
    assert_eq!(version(&stage, &inside, 3).await, "1.0.0");
}

#[tokio::test]
async fn a_shadow_is_asked_what_the_other_was_asked_and_never_heeded() {
    let stage = trying(|it| {
        it["trials"][0]["mode"] = "shadow".into();
        it["trials"][0]["percent"] = 100.into();
        // What broke down is charged with all that it could have used.
        it["trials"][0]["fuel_per_second"] = 1_000_000_000_000_u64.into();
    })
    .await;
    assert_eq!(trial(&stage).mode, Mode::Shadow);
    version(&stage, "acme", 1).await;
    assert_eq!(
        stage.engine.compare_waiting().await,
        2,
        "validate and route"
    );
    stage
        .runtime
        .script_version("ocr@1.1.0", |call| match call {
            Call::Validate { .. } => Some(Err(trap())),
            Call::Route { .. } | Call::Settle { .. } => rejects(call),
        });
    for number in 2..=40 {
        assert_eq!(version(&stage, "acme", number).await, "1.0.0");
    }
    stage.engine.compare_waiting().await;
    let so_far = so_far(&stage);
    assert_eq!((so_far.asked, so_far.same), (80, 41));
    assert_eq!(so_far.differ.get("fault"), Some(&39));
    assert_eq!(so_far.samples.len(), 5);
    assert!(
        stage.engine.registry().quarantined().is_empty(),
        "it harms nobody"
    );
    assert_eq!(
        so_far.to_string(),
        "80 asked, 41 same, 39 differ (39 fault)"
    );
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_shadow_costs_no_tenant_anything_and_stops_at_its_own_budget() {
    let stage = trying(|it| {
        it["trials"][0]["mode"] = "shadow".into();
        it["trials"][0]["percent"] = 100.into();
        it["trials"][0]["fuel_per_second"] = 1_000.into();
    })
    .await;
    for number in 1..=10 {
        version(&stage, "acme", number).await;
    }
    stage.engine.compare_waiting().await;
    // Each of the double's answers costs a second of this budget, and it may run one second ahead.
    let first = so_far(&stage);
    assert_eq!((first.asked, first.same, first.skipped), (20, 2, 18));
    stage.later(10_000);
    version(&stage, "acme", 11).await;
    stage.engine.compare_waiting().await;
    assert_eq!(so_far(&stage).same, 4);
}

#[tokio::test]
async fn a_queue_that_is_full_is_skipped_and_nobody_waits() {
    let stage = trying(|it| {
        it["trials"][0]["mode"] = "shadow".into();
        it["trials"][0]["percent"] = 100.into();
    })
    .await;
    for number in 0..200 {
        let mut wrong = page(&format!("tenant-{number}"), number);
        wrong["payload"] = json!({ "page_range": "1" });
        stage.submit(&wrong).await.expect("it is accepted");
    }
    let so_far = so_far(&stage);
    assert_eq!((so_far.asked, so_far.skipped), (144, 144));
    assert_eq!(stage.engine.compare_waiting().await, 256);
}

#[tokio::test]
async fn a_plan_shows_trials_and_asks_a_canary_what_was_decided_before() {
    let stage = Stage::new().await;
    stage.accepted("acme", "OCR", "doc-1").await;
    publish(&stage, |_| {});
    let activated = reload(&stage)
        .await
        .unwrap_or_else(|errors| panic!("{errors:?}"));
    let plan = &activated.plan;
    let trials: Vec<_> = plan
        .trials
        .iter()
        .map(|it| (it.trial.as_str(), it.change))
        .collect();
    assert_eq!(trials, [("canary ocr@1.0.0 -> ocr@1.1.0", Change::Added)]);
    assert_eq!(
        plan.replays[0].to_string(),
        "ocr 1.0.0 -> 1.1.0: 2 replayed, 2 same, 0 differ"
    );
    publish(&stage, |it| it["trials"][0]["percent"] = 80.into());
    let activated = reload(&stage)
        .await
        .unwrap_or_else(|errors| panic!("{errors:?}"));
    assert_eq!(activated.plan.trials[0].change, Change::Changed);
    assert!(activated.plan.replays.is_empty(), "it was asked before");
    publish(&stage, |it| it["trials"] = json!([]));
    let activated = reload(&stage)
        .await
        .unwrap_or_else(|errors| panic!("{errors:?}"));
    assert_eq!(activated.plan.trials[0].change, Change::Removed);
}

#[tokio::test]
async fn a_trial_that_makes_no_sense_is_refused_by_name() {
    type Mistake = fn(&mut Value);
    let mistakes: [(&str, Mistake); 6] = [
        ("not in plugins", |it| it["candidate"] = "ocr@9.0.0".into()),
        ("another version of the same plugin", |it| {
            it["candidate"] = "sis@1.0.0".into()
        }),
        ("another version of the same plugin", |it| {
            it["candidate"] = "ocr@1.0.0".into()
        }),
        ("no step names ocr@1.1.0", |it| {
            it["plugin"] = "ocr@1.1.0".into();
            it["candidate"] = "ocr@1.0.0".into();
        }),
        ("see protocol-registry.v1", |it| it["percent"] = 101.into()),
        ("see protocol-registry.v1", |it| it["precent"] = 1.into()),
    ];
    let stage = Stage::new().await;
    for (reason, mistake) in mistakes {
        publish(&stage, |it| mistake(&mut it["trials"][0]));
        let errors = reload(&stage).await.err().expect("it is refused");
        assert!(errors[0].to_string().contains(reason), "{errors:?}");
    }
    publish(&stage, |it| {
        let twice = it["trials"][0].clone();
        it["trials"].as_array_mut().expect("a list").push(twice);
    });
    let errors = reload(&stage).await.err().expect("it is refused");
    assert!(errors[0].reason.contains("in another trial"), "{errors:?}");
    publish(&stage, |it| {
        let other = json!({ "id": "ocr", "version": "1.1.0", "step_types": ["X"], "services": [] });
        let other = other.to_string();
        stage
            .source
            .put("components/ocr-1.1.0.wasm", other.as_bytes());
        it["plugins"][1]["sha256"] = Digest::of(other.as_bytes()).to_string().into();
    });
    let errors = reload(&stage).await.err().expect("it is refused");
    assert!(
        errors[0].reason.contains("decides about X, not about OCR"),
        "{errors:?}"
    );
    publish(&stage, |it| {
        it["protocols"][1]["steps"][0]["plugin"] = "ocr@1.1.0".into();
    });
    let errors = reload(&stage).await.err().expect("it is refused");
    assert!(
        errors[0].reason.contains("a step names ocr@1.1.0"),
        "{errors:?}"
    );
}
