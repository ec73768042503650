//! Several hosts on one ledger: they follow each other's registry and count each other's jobs.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lucius_domain::id::{Digest, Generation};
use lucius_engine::Settings;
use lucius_engine::fleet::{self, HostId};
use lucius_engine::registry::{Options, SharedSource};
use lucius_memory::ledger::MemoryLedger;
use lucius_ports::ledger::{Committed, Error, GenerationRecord, Generations};
use lucius_ports::records::{Kind, Records};
use lucius_ports::registry::Source as _;
use serde_json::json;

use crate::doubles::{MemorySource, ScriptedRuntime, trap};
use crate::stage::{Stage, World, command, manifest, publish_registry, publish_version, settings};

fn of_fleet(name: &str) -> Settings {
    let alone = fleet::Settings::alone(HostId(name.to_owned()), name.to_owned());
    Settings {
        fleet: fleet::Settings {
            claim: Some(Duration::from_secs(15)),
            ..alone
        },
        ..settings()
    }
}

/// A host on the same ledger, with a registry and a runtime of its own.
async fn join(world: &World, name: &str) -> (Stage, Arc<MemorySource>) {
    let generations = Arc::clone(&world.ledger) as _;
    join_with(world, name, generations).await
}

/// The same, with generations that it sees in its own way.
async fn join_with(
    world: &World,
    name: &str,
    generations: Arc<dyn Generations>,
) -> (Stage, Arc<MemorySource>) {
    let own = Arc::new(MemorySource::default());
    publish_registry(&own, &manifest());
    let mut other = world.clone();
    other.source = Arc::clone(&own);
    other.runtime = Arc::new(ScriptedRuntime::default());
    let mut ports = other.ports();
    ports.generations = generations;
    ports.source = Arc::new(SharedSource::new(
        Arc::clone(&own) as _,
        Arc::clone(&world.records) as _,
    ));
    let stage = other.open_on(ports, of_fleet(name)).await;
    (stage.expect("it starts"), own)
}

fn live(stage: &Stage) -> u64 {
    stage.engine.registry().live().generation.0
}

async fn reload(stage: &Stage) {
    let outcome = stage.engine.reload(Options::default()).await;
    outcome.expect("the ledger answers").expect("it is good");
}

#[tokio::test]
async fn a_generation_of_another_host_goes_live_with_components_that_only_that_host_has() {
    let world = World::new();
    let (first, registry) = join(&world, "first").await;
    let (second, own) = join(&world, "second").await;
    assert_eq!((live(&first), live(&second)), (1, 1), "the same registry");
    publish_version(&registry, "1.1.0", |_| {});
    reload(&first).await;
    assert_eq!(live(&second), 1);
    let followed = second.engine.follow().await.expect("the ledger answers");
    assert_eq!(followed.map(|it| it.generation), Some(Generation(2)));
    assert!(second.runtime.loaded().contains(&"ocr@1.1.0".to_owned()));
    let again = second.engine.follow().await.expect("the ledger answers");
    assert!(again.is_none(), "it is live already");
    // It has them for itself now.
    assert_eq!(own.kept_count(), registry.kept_count());
    let accepted = second.accepted("acme", "OCR", "doc-1").await;
    assert_eq!(second.job(accepted).await.generation(), Generation(2));
}

/// Puts something else in the place of every piece of a component.
async fn damage(world: &World, with: &str) {
    const PIECES: Kind = Kind("kept-piece");
    let records: &dyn Records = &*world.records;
    let pieces = records.list(PIECES, None, usize::MAX).await;
    for piece in pieces.expect("the records answer") {
        let body = with.to_owned();
        let version = Some(piece.version);
        let written = records.put(PIECES, &piece.key, body, version).await;
        written.expect("the records answer");
    }
}

#[tokio::test]
async fn a_generation_whose_bytes_are_damaged_does_not_go_live_and_the_status_says_why() {
    let world = World::new();
    let (first, registry) = join(&world, "first").await;
    let (second, _) = join(&world, "second").await;
    publish_version(&registry, "1.1.0", |_| {});
    reload(&first).await;
    damage(&world, "\"AAAA\"").await;
    let followed = second.engine.follow().await.expect("the ledger answers");
    assert_eq!((followed.is_none(), live(&second)), (true, 1));
    let errors = second.engine.registry().last_reload().errors;
    assert!(errors[0].entry.contains("generation 2"), "{errors:?}");
}

#[tokio::test]
async fn damaged_bytes_are_written_anew_by_a_reload_on_a_host_that_has_them() {
    for with in ["\"AAAA\"", "\"no base64\"", "{}"] {
        let world = World::new();
        let (first, registry) = join(&world, "first").await;
        let (second, _) = join(&world, "second").await;
        publish_version(&registry, "1.1.0", |_| {});
        reload(&first).await;
        damage(&world, with).await;
        for _ in 0..2 {
            let followed = second.engine.follow().await.expect("the ledger answers");
            assert!(followed.is_none(), "{with}");
            let errors = second.engine.registry().last_reload().errors;
            let remedy = "reload the registry on a host that has them";
            assert!(errors[0].reason.contains(remedy), "{with}: {errors:?}");
        }
        reload(&first).await;
        second.engine.follow().await.expect("the ledger answers");
        assert_eq!((live(&first), live(&second)), (2, 2), "{with}");
        let errors = second.engine.registry().last_reload().errors;
        assert!(errors.is_empty(), "{with}: {errors:?}");
    }
}

/// Generations that another host with the same registry appends a moment earlier.
struct Overtaken(Arc<MemoryLedger>);

#[async_trait]
impl Generations for Overtaken {
    async fn append(&self, record: GenerationRecord) -> Result<Committed, Error> {
        self.0.append(record.clone()).await?;
        self.0.append(record).await
    }

    async fn generation(&self, number: Generation) -> Result<Option<GenerationRecord>, Error> {
        self.0.generation(number).await
    }

    async fn latest(&self, limit: usize) -> Result<Vec<GenerationRecord>, Error> {
        self.0.latest(limit).await
    }
}

#[tokio::test]
async fn of_hosts_that_start_together_with_a_new_registry_none_is_degraded() {
    let world = World::new();
    let overtaken = Arc::new(Overtaken(Arc::clone(&world.ledger)));
    let (second, _) = join_with(&world, "second", overtaken).await;
    assert_eq!(live(&second), 1);
    let errors = second.engine.registry().last_reload().errors;
    assert!(errors.is_empty(), "{errors:?}");
}

#[tokio::test]
async fn a_host_that_starts_with_an_older_registry_follows_and_a_reload_goes_back_to_it() {
    let world = World::new();
    let (first, registry) = join(&world, "first").await;
    publish_version(&registry, "1.1.0", |_| {});
    reload(&first).await;
    let (late, _) = join(&world, "late").await;
    assert_eq!(live(&late), 2, "what it has was replaced before it started");
    reload(&late).await;
    assert_eq!(live(&late), 3, "somebody asked for it");
    first.engine.follow().await.expect("the ledger answers");
    assert_eq!(live(&first), 3);
}

#[tokio::test]
async fn jobs_that_end_on_another_host_free_their_places_when_they_are_counted_again() {
    let world = World::new();
    let (first, _) = join(&world, "first").await;
    let (second, _) = join(&world, "second").await;
    let job = first.accepted("acme", "PLAIN", "doc-1").await;
    assert_eq!(first.engine.gates().occupancy().jobs, 1);
    assert_eq!(second.engine.gates().occupancy().jobs, 0);
    second.engine.recount().await.expect("the ledger answers");
    assert_eq!(second.engine.gates().occupancy().jobs, 1);
    let cancelled = second.engine.cancel(job).await;
    cancelled.expect("it can be cancelled");
    assert_eq!(first.engine.gates().occupancy().jobs, 1);
    first.engine.recount().await.expect("the ledger answers");
    assert_eq!(first.engine.gates().occupancy(), Default::default());
}

#[tokio::test]
async fn bytes_of_any_size_come_back_whole_on_another_host() {
    let world = World::new();
    let source = || {
        let own = Arc::new(MemorySource::default());
        SharedSource::new(own, Arc::clone(&world.records) as _)
    };
    for size in [0, 1, 20_999, 21_000, 21_001, 3_000_000] {
        let bytes: Vec<u8> = (0..size).map(|at: u32| (at % 251) as u8).collect();
        let digest = Digest::of(&bytes);
        let unknown = source().kept(digest).await;
        assert!(unknown.is_err(), "{size}");
        for _ in 0..2 {
            source()
                .keep(digest, bytes.clone().into())
                .await
                .expect("it is kept");
        }
        assert_eq!(*source().kept(digest).await.expect("it is there"), *bytes);
    }
}

#[tokio::test]
async fn a_host_that_lags_does_not_undo_a_later_generation_when_a_version_breaks_down_on_it() {
    let world = World::new();
    let (first, registry) = join(&world, "first").await;
    let (second, _) = join(&world, "second").await;
    publish_version(&registry, "1.1.0", |_| {});
    reload(&first).await;
    second.engine.follow().await.expect("the ledger answers");
    publish_version(&registry, "1.2.0", |_| {});
    reload(&first).await;
    second
        .runtime
        .script_version("ocr@1.1.0", |_| Some(Err(trap())));
    for page in 0..second.settings.registry.breaker.payloads {
        let mut command = command("acme", "OCR", "doc-1");
        command["payload"] = json!({ "page_range": page.to_string() });
        assert_eq!(second.refusal(command).await.code(), "PLUGIN_FAULT");
    }
    let quarantined = second.engine.registry().quarantined();
    assert_eq!(quarantined.len(), 1, "it is on record");
    assert_eq!(live(&second), 2, "the mended version is to come");
    second.engine.follow().await.expect("the ledger answers");
    let newest = world.ledger.latest(1).await.expect("it answers").remove(0);
    assert_eq!((live(&second), newest.generation), (3, Generation(3)));
}
