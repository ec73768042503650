//! Which registry is live: nothing half-good ever is, and jobs keep the one they were accepted under.

use lucius_domain::id::Generation;
use lucius_engine::engine::OpenError;
use lucius_engine::registry::{EntryError, Options, StartError};
use lucius_engine::sweep::DRIFT;
use lucius_ports::ledger::Generations as _;
use serde_json::{Value, json};

use crate::audit::audit_with_gates;
use crate::doubles::trap;
use crate::stage::{
    Stage, THREE, World, command, manifest, plugin_entry, publish_registry, settings, step,
};

/// A manifest with all three plugins, changed.
fn changed(world: &World, change: impl FnOnce(&mut Value)) -> Value {
    let mut manifest = manifest();
    manifest["plugins"] = ["ocr", "embedding", "sis"]
        .map(|id| plugin_entry(&world.source, id))
        .to_vec()
        .into();
    change(&mut manifest);
    manifest
}

/// Makes a good manifest wrong.
type Mistake = fn(&mut Value);

async fn start_errors(world: &World) -> Vec<EntryError> {
    match world.open(settings()).await {
        Err(OpenError::Registry(StartError::Refused(errors))) => errors,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it starts"),
    }
}

async fn reload(stage: &Stage) -> Result<Generation, Vec<EntryError>> {
    let outcome = stage.engine.reload(Options::default()).await;
    let outcome = outcome.expect("the ledger answers");
    outcome.map(|activated| activated.live.generation)
}

fn entries(errors: &[EntryError]) -> Vec<&str> {
    errors.iter().map(|it| it.entry.as_str()).collect()
}

#[tokio::test]
async fn a_registry_that_is_not_good_does_not_start_and_every_reason_is_named() {
    let world = World::new();
    world.source.set_manifest(None);
    assert_eq!(entries(&start_errors(&world).await), ["registry.json"]);

    let wrong = changed(&world, |it| {
        it["plugins"][0]["sha256"] = "0".repeat(64).into();
        it["plugins"][1]["services"] = json!([]);
        it["plugins"][2]["component"] = "components/missing.wasm".into();
        it["protocols"][2]["steps"][0]["plugin"] = "nobody@1.0.0".into();
    });
    world.source.set_manifest(Some(&wrong));
    let errors = start_errors(&world).await;
    for (entry, reason) in [
        ("plugin ocr@1.0.0", "SHA-256"),
        ("plugin embedding@1.0.0", "platform-embedding"),
        ("plugin sis@1.0.0", "cannot be read"),
        ("protocol atomic-ocr.v1 step ocr", "refused"),
        ("protocol plain.v1 step plain", "not in plugins"),
    ] {
        let found = errors.iter().find(|it| it.entry == entry);
        assert!(
            found.is_some_and(|it| it.reason.contains(reason)),
            "{entry} in {errors:?}"
        );
    }
    assert!(
        world.ledger.latest(1).await.expect("it answers").is_empty(),
        "nothing was activated"
    );
}

#[tokio::test]
async fn each_kind_of_mistake_is_refused() {
    let world = World::new();
    world.source.put("schemas/broken.json", b"{\"type\": 3}");
    world.source.put("components/text.wasm", b"(component)");
    let mistakes: [(&str, Mistake); 8] = [
        ("registry.json/protcols", |it| it["protcols"] = json!([])),
        ("plugin ocr@1.0.0", |it| {
            it["plugins"][1] = it["plugins"][0].clone()
        }),
        ("plugin ocr@2.0.0", |it| {
            it["plugins"][0]["version"] = "2.0.0".into()
        }),
        ("request_type OCR", |it| {
            it["protocols"][1]["request_types"] = json!(["OCR"])
        }),
        ("protocol plain.v1", |it| {
            it["protocols"][0]["protocol_id"] = "plain.v1".into()
        }),
        ("step ocr-embedding-sis.v1/ocr", |it| {
            it["protocols"][1]["steps"][1] = step("ocr")
        }),
        ("protocol plain.v1 step plain", |it| {
            it["protocols"][2]["steps"][0]["payload_schema_ref"] = "schemas/broken.json".into();
        }),
        ("plugin sis@1.0.0", |it| {
            it["trust"] = json!({ "require_signature": true })
        }),
    ];
    for (entry, mistake) in mistakes {
        world.source.set_manifest(Some(&changed(&world, mistake)));
        let errors = start_errors(&world).await;
        let named = entries(&errors)
            .into_iter()
            .any(|it| it == entry || entry.starts_with(it));
        assert!(named, "{entry} in {errors:?}");
    }
}

#[tokio::test]
async fn a_step_is_decided_by_a_plugin_for_its_step_type_or_refused() {
    let world = World::new();
    let wrong = changed(&world, |it| {
        it["protocols"][0]["steps"][0]["step_type"] = "REDACT".into();
    });
    world.source.set_manifest(Some(&wrong));
    let errors = start_errors(&world).await;
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "protocol atomic-ocr.v1 step ocr: plugin ocr@1.0.0 decides about OCR, not about REDACT: name a plugin for REDACT, or mend step_type"
        ]
    );
}

#[tokio::test]
async fn a_reload_that_is_refused_keeps_the_old_registry_and_says_why() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", THREE, "doc-1").await;
    let wrong = changed(&stage, |it| {
        it["plugins"][0]["sha256"] = "1".repeat(64).into()
    });
    stage.source.set_manifest(Some(&wrong));
    stage.later(5);
    let errors = reload(&stage).await.expect_err("it is refused");
    assert!(entries(&errors).contains(&"plugin ocr@1.0.0"));
    let last = stage.engine.registry().last_reload();
    assert_eq!((last.at, last.errors), (stage.now(), errors));
    assert_eq!(stage.engine.registry().live().generation, Generation(1));
    stage.accepted("acme", THREE, "doc-2").await;
    stage.engine.cancel(id).await.expect("it is not over");
}

#[tokio::test]
async fn an_unchanged_registry_is_the_same_generation() {
    let stage = Stage::new().await;
    assert_eq!(reload(&stage).await, Ok(Generation(1)));
    let again = stage.restarted().await;
    assert_eq!(again.engine.registry().live().generation, Generation(1));
}

#[tokio::test]
async fn a_reload_serves_new_jobs_and_jobs_of_before_keep_their_generation() {
    let stage = Stage::new().await;
    let old = stage.accepted("acme", THREE, "doc-1").await;
    let next = changed(&stage, |it| {
        it["plugins"][1]["config"] = json!({ "from": "the next generation" });
        it["protocols"][1]["steps"]
            .as_array_mut()
            .expect("a list")
            .pop();
    });
    stage.source.set_manifest(Some(&next));
    assert_eq!(reload(&stage).await, Ok(Generation(2)));
    let new = stage.accepted("acme", THREE, "doc-2").await;
    assert_eq!(stage.job(new).await.spec.generation, Generation(2));
    assert_eq!(stage.job(new).await.spec.steps.len(), 2);

    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let configs = std::sync::Arc::clone(&seen);
    stage.runtime.script(move |plugin, call| {
        if let lucius_ports::plugin::Call::Route { context } = call
            && plugin.as_str() == "embedding"
        {
            crate::doubles::lock(&configs).push(context.config["from"].clone());
        }
        None
    });
    stage.dispatch().await;
    for directive in stage.directives() {
        stage.succeed(&directive).await.expect("it counts");
    }
    assert_eq!(
        *crate::doubles::lock(&seen),
        [json!("registry"), json!("the next generation")]
    );
    assert_eq!(stage.job(old).await.spec.generation, Generation(1));

    // Another host that never saw the first generation live takes it from the ledger and the kept components.
    stage.source.remove("components/sis.wasm");
    let fewer = changed(&stage, |it| {
        it["protocols"] = json!([{ "protocol_id": "atomic-ocr.v1", "request_types": ["OCR"], "steps": [step("ocr")] }]);
        it["plugins"].as_array_mut().expect("a list").truncate(1);
    });
    stage.source.remove("components/sis.wasm");
    stage.source.set_manifest(Some(&fewer));
    let other = stage.restarted().await;
    assert_eq!(other.engine.registry().live().generation, Generation(3));
    other.dispatch().await;
    while other.state(old).await != "SUCCEEDED" {
        for directive in other.directives().into_iter().filter(|it| it.job_id == old) {
            other.succeed(&directive).await.expect("answered");
        }
        other.dispatch().await;
    }
    audit_with_gates(&other).await;
}

#[tokio::test]
async fn a_jobs_generation_outlives_the_schema_files_that_its_payload_was_checked_by() {
    let world = World::new();
    world
        .source
        .put("schemas/own.json", b"{\"type\": \"object\"}");
    let with_file = changed(&world, |it| {
        it["protocols"][0]["steps"][0]["payload_schema_ref"] = "schemas/own.json".into();
    });
    world.source.set_manifest(Some(&with_file));
    let stage = world.open(settings()).await.expect("it starts");
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    stage.source.remove("schemas/own.json");
    publish_registry(&stage.source, &manifest());
    let other = stage.restarted().await;
    assert_eq!(other.engine.registry().live().generation, Generation(2));
    other.work_one().await;
    assert_eq!(other.state(id).await, "SUCCEEDED");
}

#[tokio::test]
async fn a_host_whose_registry_is_broken_starts_with_the_last_good_one() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", THREE, "doc-1").await;
    stage.source.put("components/ocr.wasm", b"half written");
    let again = stage.restarted().await;
    assert_eq!(again.engine.registry().live().generation, Generation(1));
    let last = again.engine.registry().last_reload();
    assert!(entries(&last.errors).contains(&"plugin ocr@1.0.0"));
    again.accepted("acme", THREE, "doc-2").await;
    again.engine.cancel(id).await.expect("it is not over");
    publish_registry(&again.source, &manifest());
    assert_eq!(reload(&again).await, Ok(Generation(1)));
    assert!(again.engine.registry().last_reload().errors.is_empty());
}

#[tokio::test]
async fn a_generation_that_cannot_be_had_is_waited_for_and_then_the_job_fails_in_the_open() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", THREE, "doc-1").await;
    let directive = stage.next_directive().await;
    stage.runtime.script(|_, _| Some(Err(trap())));
    assert!(
        stage
            .succeed(&directive)
            .await
            .expect("the RESULT is taken")
    );
    stage.runtime.forget();
    stage.runtime.heal();
    for wait_ms in [60_000, 300_000] {
        stage.later(wait_ms);
        stage.sweep(DRIFT).await;
    }
    assert_eq!(stage.failure_code(id).await, "PLUGIN_FAULT");
    let again = stage.restarted().await;
    again.engine.redrive(id).await.expect("it failed");
    again.work_one().await;
    assert_eq!(again.step_states(id).await[0], "SUCCEEDED");
}

#[tokio::test]
async fn two_hosts_that_reload_at_once_agree() {
    let stage = Stage::new().await;
    let other = stage.restarted().await;
    let next = changed(&stage, |it| it["tenants"] = json!({}));
    stage.source.set_manifest(Some(&next));
    let (left, right) = tokio::join!(reload(&stage), reload(&other));
    assert!(left.is_ok() || right.is_ok());
    assert_eq!(reload(&stage).await, Ok(Generation(2)));
    assert_eq!(reload(&other).await, Ok(Generation(2)));
    assert_eq!(
        stage.refusal(command("closed", "ocr", "x")).await.code(),
        "UNSUPPORTED_REQUEST_TYPE"
    );
    stage.accepted("closed", "OCR", "doc-1").await;
}
