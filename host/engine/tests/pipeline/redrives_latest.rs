//! Redrives to the registry generation that is live: who decides from then on, what is asked again and when.

use lucius_engine::redrive::{Order, PluginChoice, Selection};
use lucius_engine::registry::Options;
use lucius_engine::settings::Limits;
use lucius_ports::plugin::Call;
use serde_json::json;

use crate::doubles::trap;
use crate::redrives::{begin, failed, order, status, tick};
use crate::stage::{
    Stage, manifest, plugin_entry, plugin_version, publish_registry, publish_version,
};

fn to_latest() -> Order {
    Order {
        version: PluginChoice::Latest,
        ..order(Selection::default())
    }
}

async fn reload(stage: &Stage) {
    let outcome = stage.engine.reload(Options::default()).await;
    outcome.expect("the ledger answers").expect("it is good");
}

#[tokio::test]
async fn a_mended_plugin_decides_when_the_latest_is_asked_for() {
    let stage = Stage::new().await;
    stage.runtime.script(|_, call| match call {
        Call::Settle { .. } => Some(Err(trap())),
        Call::Validate { .. } | Call::Route { .. } => None,
    });
    let broken = stage.accepted("acme", "OCR", "broken").await;
    stage.work_one().await;
    while stage.state(broken).await != "FAILED_FINAL" {
        stage.after(1_000_000).await;
    }
    let groups = stage.engine.dead_letters(None, 9).await.expect("groups");
    let [group] = &groups[..] else {
        panic!("one reason: {groups:?}")
    };
    assert_eq!(group.signature.plugin.as_deref(), Some("ocr@1.0.0"));
    assert_eq!((group.count, group.samples[0].id), (1, broken));

    // The same id with another configuration: a new generation, whose plugin answers.
    stage.runtime.heal();
    let mut mended = manifest();
    let mut plugin = plugin_entry(&stage.source, "ocr");
    plugin["config"] = json!({ "from": "the mended registry" });
    mended["plugins"] = json!([
        plugin,
        plugin_entry(&stage.source, "embedding"),
        plugin_entry(&stage.source, "sis")
    ]);
    stage.source.set_manifest(Some(&mended));
    reload(&stage).await;
    let generation = stage.engine.registry().live().generation;
    stage.runtime.script(move |_, call| match call {
        Call::Route { context } if context.config["from"] == "registry" => Some(Err(trap())),
        Call::Validate { .. } | Call::Route { .. } | Call::Settle { .. } => None,
    });
    let redrive = begin(
        &stage,
        Order {
            version: PluginChoice::Latest,
            ..order(Selection {
                signature: Some(group.signature.id()),
                ..Selection::default()
            })
        },
    )
    .await;
    assert_eq!(tick(&stage).await, 1);
    let job = stage.job(broken).await;
    assert_eq!(job.generation(), generation);
    assert!(
        job.spec.generation < generation,
        "what it was accepted with stays on record"
    );
    stage.work_one().await;
    assert_eq!(stage.state(broken).await, "SUCCEEDED");
    assert_eq!(status(&stage, &redrive).await.redriven, 1);
}

#[tokio::test]
async fn a_job_that_does_not_fit_the_latest_registry_stays_and_says_why() {
    let stage = Stage::new().await;
    let jobs = failed(&stage, "acme", 1).await;
    let mut other = manifest();
    other["protocols"] = json!([other["protocols"][2]]);
    publish_registry(&stage.source, &other);
    reload(&stage).await;
    let redrive = begin(&stage, to_latest()).await;
    assert_eq!(tick(&stage).await, 0);
    let now = status(&stage, &redrive).await;
    assert_eq!((now.redriven, now.refused), (0, 1));
    let [refused] = &now.refusals[..] else {
        panic!("one refusal: {now:?}")
    };
    assert_eq!(refused.job, jobs[0]);
    assert!(
        refused.reason.contains("atomic-ocr.v1 is not in"),
        "{refused:?}"
    );
    assert_eq!(stage.state(jobs[0]).await, "FAILED_FINAL");
}

#[tokio::test]
async fn no_plugin_is_asked_about_a_job_for_which_there_is_no_place() {
    let limits = Limits {
        tenant_inflight: 1,
        ..Limits::default()
    };
    let stage = Stage::with_limits(limits).await;
    failed(&stage, "acme", 1).await;
    let in_the_way = stage.accepted("acme", "PLAIN", "in the way").await;
    publish_version(&stage.source, "1.1.0", |_| {});
    reload(&stage).await;
    let redrive = begin(&stage, to_latest()).await;
    let asked = stage.runtime.calls().len();
    for _ in 0..3 {
        assert_eq!(tick(&stage).await, 0);
        stage.later(1_000);
    }
    let waits = status(&stage, &redrive).await.waits_for;
    assert_eq!(waits.as_deref(), Some("tenant_inflight"));
    assert_eq!(stage.runtime.calls().len(), asked);
    let cancelled = stage.engine.cancel(in_the_way).await;
    cancelled.expect("it is under way");
    assert_eq!(tick(&stage).await, 1);
}

#[tokio::test]
async fn a_job_of_a_tenant_in_the_share_of_a_canary_moves_to_the_canary() {
    let stage = Stage::new().await;
    let jobs = failed(&stage, "acme", 1).await;
    publish_version(&stage.source, "1.1.0", |manifest| {
        let tried = "components/ocr-1.2.0.wasm";
        let tried = plugin_version(&stage.source, "ocr", "1.2.0", tried);
        manifest["plugins"]
            .as_array_mut()
            .expect("a list")
            .push(tried);
        manifest["trials"] = json!([{
            "plugin": "ocr@1.1.0", "candidate": "ocr@1.2.0", "mode": "canary", "percent": 100,
        }]);
    });
    reload(&stage).await;
    // Whoever decides from now on is the one to ask about the payload.
    stage
        .runtime
        .script_version("ocr@1.1.0", |_| Some(Err(trap())));
    begin(&stage, to_latest()).await;
    assert_eq!(tick(&stage).await, 1);
    let job = stage.job(jobs[0]).await;
    let pin = job.plugin(0).expect("a plugin");
    assert_eq!(pin.to_string(), "ocr@1.2.0");
}
