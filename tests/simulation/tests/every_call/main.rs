//! Whichever call to a port fails, and however, the job ends exactly once.
//!
//! One host drives one scripted job of two steps: it starts, accepts, publishes, takes ACKs, heartbeats and RESULTs,
//! sweeps and is opened again. Each call of that life to the ledger, the generations and the bus fails in turn, once
//! before it takes effect and once after; client, worker and host only try again. On the memory ledger and on SQLite.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use lucius_domain::contract::{Directive, RefRules};
use lucius_domain::event::Event;
use lucius_domain::evolve::evolve;
use lucius_domain::id::{Digest, JobId, LeaseId};
use lucius_domain::job::{Job, Status};
use lucius_domain::retry::Timing;
use lucius_domain::routing::{Lane, Mode};
use lucius_domain::time::Timestamp;
use lucius_engine::settings::Limits;
use lucius_engine::{Engine, Ports, Refusal, Settings, sweep};
use lucius_memory::bus::{self, MemoryBus};
use lucius_memory::faulty::{Fault, Faulty};
use lucius_memory::ledger::MemoryLedger;
use lucius_memory::records::MemoryRecords;
use lucius_ports::clock::{Clock, Ids};
use lucius_ports::ledger::{Generations, Ledger};
use lucius_ports::plugin::{self, AdmissionError, Answered, Call, Runtime};
use lucius_ports::registry::{Error, Source};
use lucius_sqlite::SqliteLedger;
use serde_json::json;
use uuid::Uuid;

/// How often client and worker try; one fault is planned, so a few times are enough.
const TRIES: usize = 5;

struct Time(AtomicI64);

#[async_trait]
impl Clock for Time {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }

    async fn sleep(&self, _: Duration) {
        std::future::pending::<()>().await;
    }
}

#[derive(Default)]
struct Numbers(AtomicU64);

impl Numbers {
    fn next(&self) -> u128 {
        u128::from(self.0.fetch_add(1, Ordering::Relaxed)) + 1
    }
}

impl Ids for Numbers {
    fn job_id(&self, _: Timestamp) -> JobId {
        JobId(Uuid::from_u128(
            0x0192_0000_0000_7000_8000_0000_0000_0000 + self.next(),
        ))
    }

    fn lease_id(&self) -> LeaseId {
        LeaseId(Uuid::from_u128(
            0x1ea5_e000_0000_4000_8000_0000_0000_0000 + self.next(),
        ))
    }
}

/// A registry of one protocol, which needs no plugin.
struct Plain;

#[async_trait]
impl Source for Plain {
    async fn manifest(&self) -> Result<String, Error> {
        let step =
            |id: &str| json!({ "step_id": id, "step_type": id.to_uppercase(), "service": id });
        let protocol = json!({
            "protocol_id": "two.v1", "request_types": ["TWO"], "steps": [step("one"), step("two")],
        });
        Ok(json!({ "schema_version": "v1", "protocols": [protocol], "plugins": [] }).to_string())
    }

    async fn file(&self, path: &str) -> Result<Arc<[u8]>, Error> {
        panic!("nothing names {path}")
    }

    async fn keep(&self, _: Digest, _: Arc<[u8]>) -> Result<(), Error> {
        Ok(())
    }

    async fn kept(&self, digest: Digest) -> Result<Arc<[u8]>, Error> {
        panic!("nothing names {digest}")
    }

    async fn all_kept(&self) -> Result<Vec<Digest>, Error> {
        Ok(Vec::new())
    }

    async fn forget(&self, digest: Digest) -> Result<(), Error> {
        panic!("nothing names {digest}")
    }
}

struct NoPlugins;

#[async_trait]
impl Runtime for NoPlugins {
    async fn admit(
        &self,
        _: Arc<[u8]>,
        _: plugin::Limits,
    ) -> Result<lucius_domain::plugin::Description, AdmissionError> {
        panic!("there is no plugin")
    }

    async fn call(
        &self,
        _: &Digest,
        _: plugin::Limits,
        _: Call,
    ) -> Result<Answered, plugin::Fault> {
        panic!("there is no plugin")
    }

    fn drop_component(&self, _: &Digest) {}
}

/// What a life needs of its ledger.
trait Store: Ledger + Generations {}
impl<T: Ledger + Generations> Store for T {}

/// The world of one life.
struct World<S: Store + 'static> {
    store: Arc<Faulty<S>>,
    bus: Arc<MemoryBus>,
    time: Arc<Time>,
    ids: Arc<Numbers>,
}

impl<S: Store + 'static> World<S> {
    fn around(store: Arc<S>) -> Self {
        Self {
            store: Arc::new(Faulty::new(store)),
            bus: Arc::default(),
            time: Arc::new(Time(AtomicI64::new(1_800_000_000_000))),
            ids: Arc::default(),
        }
    }

    /// A host, after as many starts as it takes.
    async fn host(&self) -> Arc<Engine> {
        for _ in 0..TRIES {
            let ports = Ports {
                ledger: Arc::clone(&self.store) as _,
                pins: Arc::clone(&self.store) as _,
                generations: Arc::clone(&self.store) as _,
                records: Arc::new(MemoryRecords::new()),
                // Nobody looks after anything in these lives.
                upkeep: Arc::new(MemoryLedger::new()),
                dead_queues: Arc::clone(&self.bus) as _,
                bus: Arc::clone(&self.bus) as _,
                runtime: Arc::new(NoPlugins),
                source: Arc::new(Plain),
                clock: Arc::clone(&self.time) as _,
                ids: Arc::clone(&self.ids) as _,
            };
            if let Ok(engine) = Engine::open(ports, settings()).await {
                return engine;
            }
        }
        panic!("the host never starts")
    }

    /// From the command to the end of the job, with a new host in the middle.
    async fn live(&self) -> JobId {
        let mut engine = self.host().await;
        let id = submit(&engine).await;
        let lane = Lane::of("acme");
        let mut handled = 0;
        for round in 0..20 {
            // The host's loops go on after a failed tick, as they do when it runs.
            let _again_next_time = engine.dispatch_tick(lane).await;
            for message in self.bus.accepted().drain(..).skip(handled) {
                handled += 1;
                let directive = serde_json::from_str(&message.body).expect("a directive");
                work(&engine, &directive, self.time.now()).await;
            }
            for sweeper in sweep::ALL {
                let _again_next_time = engine.sweep_tick(sweeper, lane).await;
            }
            self.time.0.fetch_add(1_000, Ordering::Relaxed);
            if round == 2 {
                engine = self.host().await;
            }
        }
        id
    }

    /// What must hold once it is over, looked up without faults.
    async fn audit(&self, id: JobId, place: &str) {
        let store = self.store.inner();
        let job = store
            .load(id)
            .await
            .expect("it answers")
            .expect("it is there");
        assert_eq!(job.progress.status, Status::Succeeded, "{place}");
        assert_eq!(job.attempts_total(), 2, "{place}: no attempt is wasted");
        let events = store.events(id, 0, usize::MAX).await.expect("it answers");
        let mut folded = Job::new(id, Arc::clone(&job.spec));
        events.iter().for_each(|event| evolve(&mut folded, event));
        folded.progress.version = job.progress.version;
        assert_eq!(folded, *job, "{place}: the trail is the job");
        let ends = events.iter().filter(|it| it.event == Event::JobSucceeded);
        assert_eq!(ends.count(), 1, "{place}");
        let all = lucius_ports::ledger::Filter {
            limit: 10,
            ..Default::default()
        };
        let jobs = store.list(all).await.expect("it answers");
        assert_eq!(jobs.len(), 1, "{place}: one command is one job");
    }
}

fn settings() -> Settings {
    Settings {
        timing: Timing {
            dispatch_backoff_ms: vec![100, 100, 100],
            ..Timing::default()
        },
        sweep_interval: Duration::from_secs(1),
        limits: Limits::default(),
        default_mode: Mode::Default,
        refs: RefRules::default(),
        plugin_cap: plugin::Limits::default(),
        registry: lucius_engine::registry::Settings::default(),
        callback_base: "http://127.0.0.1:7420/".to_owned(),
        workspace_ref: "file:///workspace/".to_owned(),
        token_key: [7; 32],
        fleet: lucius_engine::fleet::Settings::alone(
            lucius_engine::fleet::HostId("host".to_owned()),
            "127.0.0.1:7420".to_owned(),
        ),
        retention: lucius_engine::retention::Retention::default(),
        publish_concurrency: 4,
        sent_delay: Duration::ZERO,
    }
}

async fn submit(engine: &Engine) -> JobId {
    let command = json!({
        "tenant_id": "acme", "request_type": "TWO", "schema_version": "v1", "payload": {},
        "input_ref": "s3://in/a.pdf", "output_ref": "s3://out/",
    });
    for _ in 0..TRIES {
        match engine.accept(command.clone()).await {
            Ok(accepted) => return accepted.job.id,
            Err(refusal) => assert_eq!(refusal.code(), "LEDGER_UNAVAILABLE"),
        }
    }
    panic!("the command is never accepted")
}

async fn work(engine: &Engine, directive: &Directive, now: Timestamp) {
    let mut body = json!({
        "jobId": directive.job_id.to_string(), "stepId": directive.step_id.as_str(),
        "attempt_no": directive.attempt_no.0, "timestamp": now.to_string(),
        "lease_id": directive.lease_id.0.hyphenated().to_string(),
    });
    insist(async || {
        engine
            .heartbeat(body.clone(), Some(&directive.callback_token))
            .await
    })
    .await;
    body["status"] = "ACKED".into();
    insist(async || {
        engine
            .ack(body.clone(), Some(&directive.callback_token))
            .await
    })
    .await;
    body["status"] = "SUCCEEDED".into();
    body["artifact_refs"] = json!(["s3://made"]);
    insist(async || {
        engine
            .result(body.clone(), Some(&directive.callback_token))
            .await
    })
    .await;
}

/// Tries until there is an answer. A directive that came twice is stale the second time.
async fn insist(call: impl AsyncFn() -> Result<bool, Refusal>) {
    for _ in 0..TRIES {
        match call().await {
            Ok(_) | Err(Refusal::StaleAttempt) => return,
            Err(refusal) => assert_eq!(refusal.code(), "LEDGER_UNAVAILABLE"),
        }
    }
    panic!("the callback is never answered")
}

/// Every call of a life fails in turn. `open` gives a fresh, empty ledger.
async fn every_call<S: Store + 'static>(open: impl Fn() -> Arc<S>) {
    let quiet = World::around(open());
    let id = quiet.live().await;
    quiet.audit(id, "nothing failed").await;
    let calls = quiet.store.calls();
    assert!(calls > 50, "{calls} calls are not a whole life");
    for number in 1..=calls {
        for fault in [Fault::Before, Fault::After] {
            let world = World::around(open());
            world.store.fail_call(number, fault);
            let id = world.live().await;
            let place = format!("call {number} failed {fault:?}");
            assert_eq!(world.store.failed(), 1, "{place}");
            world.audit(id, &place).await;
        }
    }
    let publishes = quiet.bus.accepted().len();
    assert_eq!(publishes, 2);
    for number in 1..=u64::try_from(publishes).expect("two") {
        for fault in [bus::Fault::BeforeEffect, bus::Fault::AfterEffect] {
            let world = World::around(open());
            world.bus.fail_publish(number, fault);
            let id = world.live().await;
            world
                .audit(id, &format!("publish {number} failed {fault:?}"))
                .await;
        }
    }
}

#[tokio::test]
async fn f25_f32_every_call_fails_once_before_and_once_after_in_memory() {
    every_call(|| Arc::new(MemoryLedger::new())).await;
}

#[tokio::test]
async fn f25_f32_every_call_fails_once_before_and_once_after_on_sqlite() {
    let folders = std::cell::RefCell::new(Vec::new());
    every_call(|| {
        let folder = tempfile::tempdir().expect("there is room");
        let ledger = SqliteLedger::open(folder.path(), lucius_sqlite::Settings::default());
        folders.borrow_mut().push(folder);
        ledger.expect("an empty folder will do")
    })
    .await;
}
