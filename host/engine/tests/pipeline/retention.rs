//! Deleting what ended long ago, at a pace.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lucius_domain::id::JobId;
use lucius_engine::audit::Entry;
use lucius_engine::redrive::{Order, PluginChoice, Redrive, Selection, Target};
use lucius_engine::retention::Retention;
use lucius_engine::{Ports, Settings};
use lucius_memory::records::MemoryRecords;
use lucius_ports::ledger::{self, Ledger as _};
use lucius_ports::records::{Document as _, Key, Kind, Record, Records, Removed, Written};

use crate::stage::{Stage, World, command, settings};

async fn tick(stage: &Stage) -> usize {
    stage
        .engine
        .retention_tick()
        .await
        .expect("the ledger answers")
}

fn keeping(keep: Option<Duration>) -> Settings {
    let retention = Retention {
        keep,
        keep_audit: Some(Duration::from_secs(120)),
        deletes_per_second: 2,
    };
    Settings {
        retention,
        ..settings()
    }
}

#[tokio::test]
async fn what_ended_long_ago_goes_at_a_pace_and_what_is_under_way_stays() {
    let stage = Stage::with(keeping(Some(Duration::from_secs(60)))).await;
    let live = stage.accepted("acme", "OCR", "live").await;
    for doc in ["a", "b", "c"] {
        let job = stage.accepted("acme", "OCR", doc).await;
        stage.engine.cancel(job).await.expect("it is under way");
    }
    assert_eq!(tick(&stage).await, 0);
    stage.later(60_000);
    assert_eq!(tick(&stage).await, 0, "kept for a minute, to the end of it");
    stage.later(1);
    assert_eq!(
        (tick(&stage).await, tick(&stage).await),
        (2, 1),
        "two a second"
    );
    assert_eq!(tick(&stage).await, 0);
    assert_eq!(stage.state(live).await, "QUEUED");
}

#[tokio::test]
async fn a_command_is_a_duplicate_for_as_long_as_its_job_is_kept() {
    let stage = Stage::with(keeping(Some(Duration::from_secs(60)))).await;
    let job = stage.accepted("acme", "OCR", "a").await;
    stage.engine.cancel(job).await.expect("it is under way");
    let again = stage.submit(&command("acme", "OCR", "a")).await;
    assert!(again.expect("it is known").duplicate);
    stage.later(60_001);
    assert_eq!(tick(&stage).await, 1);
    let anew = stage.accepted("acme", "OCR", "a").await;
    assert_ne!(anew, job);
    assert_eq!(stage.ledger.load(job).await.expect("it answers"), None);
}

#[tokio::test]
async fn nothing_goes_when_all_is_kept() {
    let stage = Stage::with(keeping(None)).await;
    let job = stage.accepted("acme", "OCR", "a").await;
    stage.engine.cancel(job).await.expect("it is under way");
    stage.later(1 << 40);
    assert_eq!(tick(&stage).await, 0);
}

#[tokio::test]
async fn redrives_that_ended_long_ago_are_forgotten() {
    let stage = Stage::with(keeping(Some(Duration::from_secs(60)))).await;
    let order = Order {
        target: Target::Jobs {
            selection: Selection::default(),
        },
        rate: 1,
        version: PluginChoice::Pinned,
        requested_by: "test".to_owned(),
        reason: None,
    };
    let ended = stage
        .engine
        .begin_redrive(order.clone())
        .await
        .expect("it begins");
    stage
        .engine
        .redrive_tick()
        .await
        .expect("the ledger answers");
    stage.later(60_001);
    let running = stage.engine.begin_redrive(order).await.expect("it begins");
    tick(&stage).await;
    let left = stage.engine.redrives().await.expect("the ledger answers");
    let left: Vec<_> = left.iter().map(|redrive| redrive.id).collect();
    assert_eq!(left, [running.id]);
    assert_ne!(left, [ended.id]);
}

#[tokio::test]
async fn the_audit_trail_is_kept_for_its_time_and_goes_at_a_pace() {
    let stage = Stage::with(keeping(None)).await;
    for number in 0..4_u32 {
        let entry = Entry {
            at: stage.now(),
            who: format!("operator-{number}"),
            act: "POST /v1/pauses".to_owned(),
            path: "/v1/pauses".to_owned(),
            why: None,
            request_id: None,
            detail: None,
            status: None,
        };
        let id = JobId(uuid::Uuid::from_u128(u128::from(number)));
        let begun = stage.engine.audit().begin(entry, id).await;
        let begun = begun.expect("the records answer");
        let ended = stage.engine.audit().end(begun, 200, None).await;
        ended.expect("the records answer");
        if number == 2 {
            stage.later(1);
        }
    }
    let left = async || {
        let listed = stage.engine.audit().list(None, 10).await;
        listed.expect("the records answer").0.len()
    };
    stage.later(120_000 - 1);
    tick(&stage).await;
    assert_eq!(left().await, 4, "kept for two minutes, to the end of them");
    stage.later(1);
    tick(&stage).await;
    assert_eq!(left().await, 2, "two a second");
    tick(&stage).await;
    assert_eq!(left().await, 1);
    stage.later(1);
    tick(&stage).await;
    assert_eq!(left().await, 0);
}

/// Records that can be read one by one and not listed.
struct Unlisted(Arc<MemoryRecords>);

#[async_trait]
impl Records for Unlisted {
    async fn get(&self, kind: Kind, key: &Key) -> Result<Option<Record>, ledger::Error> {
        self.0.get(kind, key).await
    }

    async fn put(
        &self,
        kind: Kind,
        key: &Key,
        body: String,
        expected: Option<u64>,
    ) -> Result<Written, ledger::Error> {
        self.0.put(kind, key, body, expected).await
    }

    async fn remove(&self, kind: Kind, key: &Key, expected: u64) -> Result<Removed, ledger::Error> {
        self.0.remove(kind, key, expected).await
    }

    async fn list(
        &self,
        kind: Kind,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Record>, ledger::Error> {
        match kind {
            Entry::KIND | Redrive::KIND => Err(ledger::Error::Unavailable("by plan".to_owned())),
            _ => self.0.list(kind, after, limit).await,
        }
    }
}

#[tokio::test]
async fn jobs_go_also_while_the_audit_trail_and_the_redrives_cannot_be_listed() {
    let world = World::new();
    let ports = Ports {
        records: Arc::new(Unlisted(Arc::clone(&world.records))),
        ..world.ports()
    };
    let opened = world.open_on(ports, keeping(Some(Duration::from_secs(60))));
    let stage = opened.await.expect("the registry is good");
    let job = stage.accepted("acme", "OCR", "a").await;
    stage.engine.cancel(job).await.expect("it is under way");
    stage.later(120_001);
    assert_eq!(tick(&stage).await, 1);
}
