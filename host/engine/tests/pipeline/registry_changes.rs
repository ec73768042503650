//! Plan, rollback, tidying up, and a reload that is cut off at any point.

use lucius_domain::id::Generation;
use lucius_engine::registry::{Activated, Change, EntryError, KEPT_GENERATIONS, Options};
use lucius_memory::faulty::Fault;
use lucius_ports::ledger::{Generations as _, Origin};

use crate::audit::audit_with_gates;
use crate::stage::{Stage, manifest, publish_registry, publish_version};

async fn reload(stage: &Stage) -> Activated {
    let outcome = stage.engine.reload(Options::default()).await;
    outcome.expect("the ledger answers").expect("it is good")
}

async fn rollback(stage: &Stage, to: Option<u64>) -> Result<Activated, Vec<EntryError>> {
    let outcome = stage.engine.rollback(to.map(Generation)).await;
    outcome.expect("the ledger answers")
}

/// The version that decides about OCR for new jobs, and the generation that is live.
fn live(stage: &Stage) -> (String, u64) {
    let live = stage.engine.registry().live();
    let step = &live.protocols[0].steps[0];
    let plugin = step.plugin.as_ref().expect("a plugin decides about it");
    (plugin.pin.version.to_string(), live.generation.0)
}

fn is_live(stage: &Stage, version: &str, generation: u64) {
    assert_eq!(live(stage), (version.to_owned(), generation));
}

#[tokio::test]
async fn a_plan_says_what_would_change_and_changes_nothing() {
    let stage = Stage::new().await;
    stage.accepted("acme", "OCR", "doc-1").await;
    publish_version(&stage.source, "1.1.0", |manifest| {
        manifest["protocols"].as_array_mut().expect("a list").pop();
        manifest["tenants"] = serde_json::json!({});
    });
    let plan = stage.engine.plan(Options::default()).await;
    let plan = plan.expect("the ledger answers").expect("it is good");
    assert_eq!((plan.live, plan.next), (Generation(1), Generation(2)));
    let plugins: Vec<_> = plan
        .plugins
        .iter()
        .map(|it| (it.plugin.as_str(), it.change, it.jobs))
        .collect();
    assert_eq!(
        plugins,
        [
            ("ocr@1.1.0", Change::Added, 0),
            ("ocr@1.0.0", Change::Removed, 1)
        ]
    );
    let protocols: Vec<_> = plan
        .protocols
        .iter()
        .map(|it| (it.protocol.as_str(), it.change))
        .collect();
    assert_eq!(
        protocols,
        [
            ("atomic-ocr.v1", Change::Changed),
            ("ocr-embedding-sis.v1", Change::Changed),
            ("plain.v1", Change::Removed),
        ]
    );
    assert!(plan.tenants);
    assert_eq!(
        plan.replays[0].to_string(),
        "ocr 1.0.0 -> 1.1.0: 2 replayed, 2 same, 0 differ"
    );

    is_live(&stage, "1.0.0", 1);
    assert_eq!(stage.ledger.latest(9).await.expect("it answers").len(), 1);
    assert!(!stage.runtime.loaded().contains(&"ocr@1.1.0".to_owned()));
    assert_eq!(stage.source.kept_count(), 3);
    let nothing = {
        publish_registry(&stage.source, &manifest());
        stage.engine.plan(Options::default()).await
    };
    let nothing = nothing.expect("the ledger answers").expect("it is good");
    assert_eq!(nothing.live, nothing.next);
    assert!(nothing.plugins.is_empty() && nothing.protocols.is_empty());
}

#[tokio::test]
async fn a_rollback_goes_back_step_by_step_and_fetches_nothing() {
    let stage = Stage::new().await;
    for version in ["1.1.0", "1.2.0"] {
        publish_version(&stage.source, version, |_| {});
        reload(&stage).await;
    }
    stage.source.vanish();
    let back = rollback(&stage, None).await.expect("it was live");
    assert_eq!(back.live.generation, Generation(4));
    is_live(&stage, "1.1.0", 4);
    rollback(&stage, None).await.expect("that was live, too");
    is_live(&stage, "1.0.0", 5);
    let errors = rollback(&stage, None).await.err().expect("nothing is left");
    assert_eq!(
        errors[0].to_string(),
        "rollback: there is no earlier generation: name one with --to, or change the registry and reload"
    );
    rollback(&stage, Some(3)).await.expect("it was live");
    is_live(&stage, "1.2.0", 6);
    let errors = rollback(&stage, Some(9)).await.err().expect("no such one");
    assert!(
        errors[0]
            .reason
            .contains("no generation 9: choose one of 1 to 6")
    );
    let record = stage.ledger.latest(1).await.expect("it answers").remove(0);
    assert_eq!(record.origin, Origin::Rollback { to: Generation(3) });
    stage.accepted("acme", "OCR", "doc-1").await;
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_rollback_brings_back_the_schemas_of_then() {
    let world = crate::stage::World::new();
    let schema = |required: &str| format!(r#"{{"type": "object", "required": ["{required}"]}}"#);
    let own = |manifest: &mut serde_json::Value| {
        manifest["protocols"][0]["steps"][0]["payload_schema_ref"] = "schemas/own.json".into();
    };
    world
        .source
        .put("schemas/own.json", schema("old").as_bytes());
    publish_version(&world.source, "1.0.0", own);
    let stage = world
        .open(crate::stage::settings())
        .await
        .expect("it starts");
    stage
        .source
        .put("schemas/own.json", schema("new").as_bytes());
    publish_version(&stage.source, "1.1.0", own);
    reload(&stage).await;
    stage.source.vanish();
    rollback(&stage, None).await.expect("it was live");
    let mut command = crate::stage::command("acme", "OCR", "doc-1");
    command["payload"] = serde_json::json!({ "old": 1 });
    stage.submit(&command).await.expect("it is valid again");
}

#[tokio::test]
async fn what_was_rolled_back_from_stays_so_over_a_restart_until_a_reload_asks_for_it() {
    let stage = Stage::new().await;
    publish_version(&stage.source, "1.1.0", |_| {});
    reload(&stage).await;
    rollback(&stage, None).await.expect("it was live");
    let again = stage.restarted().await;
    is_live(&again, "1.0.0", 3);
    assert!(again.engine.registry().last_reload().errors.is_empty());
    reload(&again).await;
    is_live(&again, "1.1.0", 4);
    let once_more = again.restarted().await;
    is_live(&once_more, "1.1.0", 4);
}

#[tokio::test]
async fn a_start_finds_the_last_generation_that_can_be_had() {
    let stage = Stage::new().await;
    publish_version(&stage.source, "1.1.0", |_| {});
    reload(&stage).await;
    let newest = stage.engine.registry().live().plugins[0].pin.digest;
    use lucius_ports::registry::Source as _;
    stage.source.forget(newest).await.expect("it was kept");
    stage.source.set_manifest(None);
    let again = stage.restarted().await;
    is_live(&again, "1.0.0", 1);
    let errors = again.engine.registry().last_reload().errors;
    assert_eq!(errors[0].entry, "registry.json");
}

#[tokio::test]
async fn components_are_dropped_when_the_last_job_that_holds_them_is_over() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    publish_version(&stage.source, "1.1.0", |_| {});
    reload(&stage).await;
    let loaded = |stage: &Stage| stage.runtime.loaded().contains(&"ocr@1.0.0".to_owned());
    let tidied = stage.engine.tidy().await.expect("the ledger answers");
    assert!(tidied.unloaded.is_empty() && loaded(&stage));

    stage.work_one().await;
    assert_eq!(stage.state(id).await, "SUCCEEDED");
    let tidied = stage.engine.tidy().await.expect("the ledger answers");
    assert_eq!(tidied.unloaded, [Generation(1)]);
    assert!(!loaded(&stage));
    assert!(
        stage.runtime.loaded().contains(&"sis@1.0.0".to_owned()),
        "it is live"
    );
    assert!(tidied.forgotten.is_empty(), "it can be rolled back to");
    assert_eq!(stage.source.kept_count(), 4);
}

#[tokio::test]
async fn nothing_of_a_registry_that_is_refused_stays_loaded() {
    let stage = Stage::new().await;
    let loaded = stage.runtime.loaded();
    publish_version(&stage.source, "1.1.0", |manifest| {
        manifest["protocols"][0]["steps"][0]["plugin"] = "ocr@9.9.9".into();
    });
    let outcome = stage.engine.reload(Options::default()).await;
    assert!(outcome.expect("the ledger answers").is_err());
    assert_eq!(stage.runtime.loaded(), loaded);

    let again = stage.restarted().await;
    is_live(&again, "1.0.0", 1);
    again.engine.tidy().await.expect("the ledger answers");
    assert_eq!(again.runtime.loaded(), loaded);
}

#[tokio::test]
async fn bytes_are_kept_for_jobs_and_rollbacks_and_dropped_after() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    for minor in 1..=KEPT_GENERATIONS {
        publish_version(&stage.source, &format!("1.{minor}.0"), |_| {});
        reload(&stage).await;
        stage.engine.tidy().await.expect("the ledger answers");
    }
    let ever = 3 + KEPT_GENERATIONS;
    assert_eq!(stage.source.kept_count(), ever, "the job holds the first");
    let other = stage.restarted().await;
    other.work_one().await;
    assert_eq!(other.state(id).await, "SUCCEEDED");
    let tidied = other.engine.tidy().await.expect("the ledger answers");
    assert_eq!(tidied.forgotten.len(), 1);
    assert_eq!(other.source.kept_count(), ever - 1);
    let errors = rollback(&other, Some(1)).await.err().expect("it is gone");
    assert!(errors[0].reason.contains("was not kept"), "{errors:?}");
}

/// Every call to the ledger and the registry, in turn, is the last thing that the host does.
#[tokio::test]
async fn a_reload_that_is_cut_off_at_any_step_leaves_the_old_generation_or_the_new_one() {
    for fault in [Fault::Before, Fault::After] {
        for step in 1.. {
            let stage = Stage::new().await;
            let id = stage.accepted("acme", "OCR", "doc-1").await;
            publish_version(&stage.source, "1.1.0", |_| {});
            stage.faulty.fail_call(stage.faulty.calls() + step, fault);
            let failed = stage.faulty.failed();
            let outcome = stage.engine.reload(Options::default()).await;
            let hit = stage.faulty.failed() > failed;

            if !hit {
                assert!(step > 5, "the reload asks more often than {step} times");
                break;
            }
            let (version, generation) = live(&stage);
            let records = stage.ledger.latest(9).await.expect("it answers");
            match outcome {
                Ok(Ok(_)) => assert_eq!((version.as_str(), generation), ("1.1.0", 2)),
                Ok(Err(errors)) => panic!("{errors:?}"),
                Err(_) => {
                    assert_eq!((version.as_str(), generation), ("1.0.0", 1), "step {step}");
                    let last = stage.engine.registry().last_reload();
                    assert_eq!(last.errors[0].entry, "ledger");
                }
            }
            stage.accepted("acme", "OCR", "doc-2").await;
            // Whatever is in the ledger is whole: a host that starts with it serves both jobs.
            let again = stage.restarted().await;
            is_live(&again, "1.1.0", 2);
            assert!(records.len() <= 2);
            again.dispatch().await;
            for directive in again.directives() {
                again.succeed(&directive).await.expect("it is answered");
            }
            assert_eq!(again.state(id).await, "SUCCEEDED");
            audit_with_gates(&again).await;
        }
    }
}
