//! Whichever call to a port fails, and however, the job comes to its one end.
//!
//! One host drives a scripted job of two steps, the first of them decided about by a plugin: it starts, accepts,
//! publishes, takes ACKs, heartbeats and RESULTs, sweeps and is opened again; in some lives it retries, skips, cancels,
//! is redriven, or its directive dies in the bus. A month after its end it is deleted. Each call of such a life to the
//! ledger, the generations, the records, the upkeep, the bus, its dead-letter queues, the registry and the plugins
//! fails in turn, once before it takes effect and once after; client, worker, operator and host only try again. On the
//! memory ledger and on SQLite.

mod ports;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use lucius_domain::contract::Directive;
use lucius_domain::event::Event;
use lucius_domain::evolve::evolve;
use lucius_domain::id::{AttemptNo, JobId};
use lucius_domain::job::Job;
use lucius_domain::retry::Timing;
use lucius_domain::routing::Lane;
use lucius_engine::{Engine, Ports, Refusal, Settings, sweep};
use lucius_memory::bus::MemoryBus;
use lucius_memory::faulty::{Fault, Faulty};
use lucius_memory::ledger::MemoryLedger;
use lucius_memory::records::MemoryRecords;
use lucius_ports::bus::{Message, Settled, Subscription as _};
use lucius_ports::clock::Clock as _;
use lucius_ports::ledger::{Generations, Ledger};
use lucius_ports::upkeep::Upkeep;
use lucius_sqlite::SqliteLedger;
use serde_json::json;

use crate::ports::{Folder, Numbers, Plan, Planned, Time};

/// How often everyone tries; one fault is planned, so a few times are enough.
const TRIES: usize = 5;

/// What happens in a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    /// Nothing but work.
    Work,
    /// The first attempt fails and may be tried again.
    Retry,
    /// The plugin skips the first step.
    Skip,
    /// A client cancels when the first service has begun.
    Cancel,
    /// The first attempt fails for good, and an operator starts the job again.
    Redrive,
    /// The first directive dies in the bus, and an operator drains the dead-letter queue.
    Dead,
}

impl Script {
    const ALL: [Self; 6] = [
        Self::Work,
        Self::Retry,
        Self::Skip,
        Self::Cancel,
        Self::Redrive,
        Self::Dead,
    ];
}

impl Script {
    /// How the job ends, and after how many attempts. A fault costs none, but for the message that is taken from a
    /// dead-letter queue: there is no other copy of it, so its attempt may have to end by the ACK timeout.
    fn end(self) -> (&'static str, RangeInclusive<u32>) {
        match self {
            Self::Work => ("SUCCEEDED", 2..=2),
            Self::Retry | Self::Redrive => ("SUCCEEDED", 3..=3),
            Self::Skip => ("SUCCEEDED", 1..=1),
            Self::Cancel => ("CANCELLED", 1..=1),
            Self::Dead => ("SUCCEEDED", 2..=3),
        }
    }

    /// Whether the worker's first attempt fails, and if so, whether it may be tried again.
    fn first_fails(self) -> Option<&'static str> {
        match self {
            Self::Work | Self::Skip | Self::Cancel | Self::Dead => None,
            Self::Retry => Some("RETRYABLE"),
            Self::Redrive => Some("NON_RETRYABLE"),
        }
    }
}

/// What a life needs of its ledger.
trait Store: Ledger + Generations + Upkeep {}
impl<T: Ledger + Generations + Upkeep> Store for T {}

/// The world of one life.
struct World<S: Store + 'static> {
    script: Script,
    store: Arc<Faulty<S>>,
    plan: Arc<Plan>,
    bus: Arc<MemoryBus>,
    records: Arc<MemoryRecords>,
    folder: Arc<Folder>,
    time: Arc<Time>,
    ids: Arc<Numbers>,
}

impl<S: Store + 'static> World<S> {
    fn around(store: Arc<S>, script: Script) -> Self {
        Self {
            script,
            store: Arc::new(Faulty::new(store)),
            plan: Arc::default(),
            bus: Arc::new(MemoryBus::new(1)),
            records: Arc::new(MemoryRecords::new()),
            folder: Arc::default(),
            time: Arc::new(Time(AtomicI64::new(1_800_000_000_000))),
            ids: Arc::default(),
        }
    }

    fn planned<P>(&self, inner: P) -> Arc<Planned<P>> {
        let plan = Arc::clone(&self.plan);
        Arc::new(Planned { plan, inner })
    }

    fn ports(&self) -> Ports {
        Ports {
            ledger: Arc::clone(&self.store) as _,
            pins: Arc::clone(&self.store) as _,
            generations: Arc::clone(&self.store) as _,
            records: self.planned(Arc::clone(&self.records)),
            upkeep: self.planned(Arc::clone(self.store.inner())),
            dead_queues: self.planned(Arc::clone(&self.bus)),
            bus: self.planned(Arc::clone(&self.bus)),
            runtime: self.planned(self.script),
            source: self.planned(Arc::clone(&self.folder)),
            clock: Arc::clone(&self.time) as _,
            ids: Arc::clone(&self.ids) as _,
        }
    }

    /// A host, after as many starts as it takes.
    async fn host(&self) -> Arc<Engine> {
        for _ in 0..TRIES {
            if let Ok(engine) = Engine::open(self.ports(), settings()).await {
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
        for round in 0..24 {
            // The host's loops go on after a failed tick, as they do when it runs.
            let _again_next_time = engine.dispatch_tick(lane).await;
            for message in self.bus.accepted().drain(..).skip(handled) {
                handled += 1;
                if self.script == Script::Dead && handled == 1 {
                    self.die(&engine, &message).await;
                    continue;
                }
                let directive = serde_json::from_str(&message.body).expect("a directive");
                self.work(&engine, &directive).await;
            }
            for sweeper in sweep::ALL {
                let _again_next_time = engine.sweep_tick(sweeper, lane).await;
            }
            self.time.0.fetch_add(1_000, Ordering::Relaxed);
            if round == 2 {
                engine = self.host().await;
            }
            if self.script == Script::Redrive && self.status(id).await == "FAILED_FINAL" {
                let groups = answered(async || engine.dead_letters(None, 10).await).await;
                let groups: Vec<_> = groups
                    .iter()
                    .map(|it| (it.count, it.samples[0].id))
                    .collect();
                assert_eq!(groups, [(1, id)], "it is found by why it failed");
                insist(async || engine.redrive(id).await).await;
            }
        }
        id
    }

    /// A service takes a message and never completes it, so the bus gives it up; an operator drains the queue.
    async fn die(&self, engine: &Engine, message: &Message) {
        let (lane, service) = (message.lane, &message.service);
        let subscription = self.bus.subscription(lane, service);
        let taken = subscription.peek_lock(Duration::ZERO).await;
        let taken = taken.expect("it answers").expect("it is there");
        let given_up = subscription.abandon(&taken).await.expect("it answers");
        assert_eq!(given_up, Settled::Done);
        let queues = answered(async || engine.dead_queues().await).await;
        assert_eq!(queues.len(), 1, "{queues:?}");
        while answered(async || engine.drain_one(lane, service).await)
            .await
            .is_some()
        {}
    }

    /// A month after its end all of it goes, and its command is a new one.
    async fn forget(&self, id: JobId, place: &str) {
        const MONTH_MS: i64 = 31 * 24 * 60 * 60 * 1_000;
        let engine = self.host().await;
        self.time.0.fetch_add(MONTH_MS, Ordering::Relaxed);
        for _ in 0..TRIES {
            let _again_next_time = engine.retention_tick().await;
        }
        let store = self.store.inner();
        let left = store.load(id).await.expect("it answers");
        assert_eq!(left, None, "{place}: it is kept");
        let events = store.events(id, 0, usize::MAX).await.expect("it answers");
        assert_eq!(events, [], "{place}: its events are kept");
        assert_ne!(submit(&engine).await, id, "{place}: its key is kept");
    }

    async fn status(&self, id: JobId) -> &'static str {
        let job = self.store.inner().load(id).await.expect("it answers");
        job.expect("it is there").progress.status.name()
    }

    async fn work(&self, engine: &Engine, directive: &Directive) {
        let mut body = json!({
            "jobId": directive.job_id.to_string(), "stepId": directive.step_id.as_str(),
            "attempt_no": directive.attempt_no.0, "timestamp": self.time.now().to_string(),
            "lease_id": directive.lease_id.0.hyphenated().to_string(),
        });
        let token = Some(directive.callback_token.as_str());
        insist(async || engine.heartbeat(body.clone(), token).await).await;
        body["status"] = "ACKED".into();
        insist(async || engine.ack(body.clone(), token).await).await;
        if self.script == Script::Cancel {
            insist(async || engine.cancel(directive.job_id).await).await;
        }
        let first = directive.step_id.as_str() == "one" && directive.attempt_no == AttemptNo(1);
        match self.script.first_fails().filter(|_| first) {
            Some(class) => {
                body["status"] = "FAILED".into();
                body["failure_class"] = class.into();
                body["error"] = json!({ "code": "BUSY", "message": "no room", "details": {} });
            }
            None => {
                body["status"] = "SUCCEEDED".into();
                body["artifact_refs"] = json!(["s3://made"]);
            }
        }
        insist(async || engine.result(body.clone(), token).await).await;
    }

    /// What must hold once it is over, looked up without faults.
    async fn audit(&self, id: JobId, place: &str) {
        let store = self.store.inner();
        let job = store.load(id).await.expect("it answers");
        let job = job.expect("it is there");
        let ((end, attempts), used) = (self.script.end(), job.attempts_total());
        assert_eq!(job.progress.status.name(), end, "{place}");
        assert!(attempts.contains(&used), "{place}: {used} attempts");
        let events = store.events(id, 0, usize::MAX).await.expect("it answers");
        let mut folded = Job::new(id, Arc::clone(&job.spec));
        events.iter().for_each(|event| evolve(&mut folded, event));
        folded.progress.version = job.progress.version;
        assert_eq!(folded, *job, "{place}: the trail is the job");
        let is_end = |event: &Event| matches!(event, Event::JobSucceeded | Event::JobCancelled);
        let ends = events.iter().filter(|it| is_end(&it.event));
        assert_eq!(ends.count(), 1, "{place}");
        for recorded in &events {
            if let Event::AttemptCreated { attempt, .. } = &recorded.event {
                let published = self.bus.accepted().into_iter();
                let mut leases = published.map(|message| {
                    let directive: Directive = serde_json::from_str(&message.body).expect("ours");
                    directive.lease_id
                });
                let lease = attempt.key.lease_id;
                assert!(leases.any(|it| it == lease), "{place}: never published");
            }
        }
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
            ack_ms: 5_000,
            retry_backoff_ms: vec![1_000],
            dispatch_backoff_ms: vec![100, 100, 100],
            ..Timing::default()
        },
        ..Settings::alone("127.0.0.1:7420", [7; 32])
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
            Err(refusal) => assert!(
                matches!(refusal.code(), "LEDGER_UNAVAILABLE" | "PLUGIN_FAULT"),
                "{refusal:?}"
            ),
        }
    }
    panic!("the command is never accepted")
}

/// Tries until there is an answer. A directive that came twice is stale the second time; a verb whose answer was lost
/// has been done already.
async fn insist<T>(call: impl AsyncFn() -> Result<T, Refusal>) {
    for _ in 0..TRIES {
        match call().await {
            Ok(_) => return,
            Err(refusal) => match refusal.code() {
                "STALE_ATTEMPT" | "JOB_NOT_FAILED" | "JOB_TERMINAL" => return,
                code => assert_eq!(code, "LEDGER_UNAVAILABLE"),
            },
        }
    }
    panic!("there is never an answer")
}

/// Tries until there is an answer.
async fn answered<T, E: std::fmt::Debug>(call: impl AsyncFn() -> Result<T, E>) -> T {
    let mut refused = Vec::new();
    for _ in 0..TRIES {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => refused.push(error),
        }
    }
    panic!("there is never an answer: {refused:?}")
}

/// Every call of a life fails in turn. `open` gives a fresh, empty ledger.
async fn every_call<S: Store + 'static>(script: Script, open: impl Fn() -> Arc<S>) {
    let quiet = World::around(open(), script);
    let id = quiet.live().await;
    quiet.audit(id, "nothing failed").await;
    quiet.forget(id, "nothing failed").await;
    let (of_ledger, of_others) = (quiet.store.calls(), quiet.plan.calls());
    assert!(of_ledger > 50, "{of_ledger} calls are not a whole life");
    assert!(of_others > 10, "{of_others} calls are not a whole life");
    for fault in [Fault::Before, Fault::After] {
        for number in 1..=of_ledger {
            let world = World::around(open(), script);
            world.store.fail_call(number, fault);
            let id = world.live().await;
            let place = format!("{script:?}: call {number} to the ledger failed {fault:?}");
            world.audit(id, &place).await;
            world.forget(id, &place).await;
            assert_eq!(world.store.failed(), 1, "{place}");
        }
        for number in 1..=of_others {
            let world = World::around(open(), script);
            world.plan.fail_call(number, fault);
            let id = world.live().await;
            let place = format!("{script:?}: call {number} to another port failed {fault:?}");
            world.audit(id, &place).await;
            world.forget(id, &place).await;
            assert_eq!(world.plan.failed(), 1, "{place}");
        }
    }
}

#[tokio::test]
async fn f25_f32_every_call_fails_once_before_and_once_after_in_memory() {
    for script in Script::ALL {
        every_call(script, || Arc::new(MemoryLedger::new())).await;
    }
}

#[tokio::test]
async fn f25_f32_every_call_fails_once_before_and_once_after_on_sqlite() {
    let folders = std::cell::RefCell::new(Vec::new());
    every_call(Script::Work, || {
        let folder = tempfile::tempdir().expect("there is room");
        let ledger = SqliteLedger::open(folder.path(), lucius_sqlite::Settings::default());
        folders.borrow_mut().push(folder);
        ledger.expect("an empty folder will do")
    })
    .await;
}
