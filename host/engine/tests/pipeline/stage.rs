//! One host on a stage, with a client and a worker played by the test.

use std::sync::Arc;

use lucius_domain::contract::Directive;
use lucius_domain::id::{Digest, JobId, LeaseId};
use lucius_domain::job::Job;
use lucius_domain::routing::Lane;
use lucius_domain::time::Timestamp;
use lucius_engine::accept::Accepted;
use lucius_engine::engine::OpenError;
use lucius_engine::redrive::Redrive;
use lucius_engine::settings::Limits;
use lucius_engine::sweep::{self, Sweeper};
use lucius_engine::{Engine, Ports, Refusal, Settings};
use lucius_memory::bus::MemoryBus;
use lucius_memory::faulty::Faulty;
use lucius_memory::ledger::MemoryLedger;
use lucius_memory::records::MemoryRecords;
use lucius_ports::clock::Clock as _;
use lucius_ports::ledger::Ledger as _;
use lucius_ports::records::{Records, Written};
use serde_json::{Value, json};

use crate::doubles::{CountingIds, ManualClock, MemorySource, ScriptedRuntime, Yielding};

/// When the clock starts.
pub(crate) const START: Timestamp = Timestamp(1_800_000_000_000);

/// What outlives a host.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) ledger: Arc<MemoryLedger>,
    /// The same ledger as the host sees it.
    pub(crate) faulty: Arc<Faulty<MemoryLedger>>,
    pub(crate) records: Arc<MemoryRecords>,
    pub(crate) bus: Arc<MemoryBus>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) runtime: Arc<ScriptedRuntime>,
    pub(crate) source: Arc<MemorySource>,
    ids: Arc<CountingIds>,
}

/// A world with a host in it.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) engine: Arc<Engine>,
    pub(crate) settings: Settings,
}

impl std::ops::Deref for Stage {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let ledger = Arc::new(MemoryLedger::new());
        let source = Arc::new(MemorySource::default());
        publish_registry(&source, &manifest());
        Self {
            faulty: Arc::new(Faulty::new(Arc::clone(&ledger))),
            ledger,
            records: Arc::default(),
            bus: Arc::new(MemoryBus::default()),
            clock: Arc::new(ManualClock::new(START)),
            runtime: Arc::default(),
            source,
            ids: Arc::default(),
        }
    }

    pub(crate) fn ports(&self) -> Ports {
        Ports {
            ledger: Arc::new(Yielding(Arc::clone(&self.faulty))),
            pins: Arc::clone(&self.faulty) as Arc<_>,
            generations: Arc::clone(&self.faulty) as Arc<_>,
            records: Arc::clone(&self.records) as Arc<_>,
            upkeep: Arc::clone(&self.ledger) as Arc<_>,
            dead_queues: Arc::clone(&self.bus) as Arc<_>,
            bus: Arc::clone(&self.bus) as Arc<_>,
            runtime: Arc::clone(&self.runtime) as Arc<_>,
            source: Arc::clone(&self.source) as Arc<_>,
            clock: Arc::clone(&self.clock) as Arc<_>,
            ids: Arc::clone(&self.ids) as Arc<_>,
        }
    }

    pub(crate) async fn open(&self, settings: Settings) -> Result<Stage, OpenError> {
        self.open_on(self.ports(), settings).await
    }

    /// A host that has some ports of its own.
    pub(crate) async fn open_on(
        &self,
        ports: Ports,
        settings: Settings,
    ) -> Result<Stage, OpenError> {
        let engine = Engine::open(ports, settings.clone()).await?;
        let world = self.clone();
        Ok(Stage {
            world,
            engine,
            settings,
        })
    }
}

pub(crate) fn settings() -> Settings {
    Settings::alone("127.0.0.1:7420", [7; 32])
}

fn description(id: &str, version: &str) -> String {
    let (name, service) = (id.to_uppercase(), format!("platform-{id}"));
    json!({ "id": id, "version": version, "step_types": [name], "services": [service] }).to_string()
}

/// A registry entry whose component is in the registry too.
pub(crate) fn plugin_entry(source: &MemorySource, id: &str) -> Value {
    let path = format!("components/{id}.wasm");
    plugin_version(source, id, "1.0.0", &path)
}

pub(crate) fn plugin_version(source: &MemorySource, id: &str, version: &str, path: &str) -> Value {
    let component = description(id, version);
    source.put(path, component.as_bytes());
    json!({
        "id": id, "version": version, "component": path,
        "sha256": Digest::of(component.as_bytes()).to_string(),
        "services": [format!("platform-{id}")], "config": { "from": "registry" },
    })
}

pub(crate) fn step(id: &str) -> Value {
    json!({
        "step_id": id, "step_type": id.to_uppercase(), "service": format!("platform-{id}"),
        "plugin": format!("{id}@1.0.0"), "payload_schema_ref": format!("steps/{id}.v1"),
    })
}

/// The shipped protocols in short, and one without plugin or schema.
pub(crate) fn manifest() -> Value {
    json!({
        "schema_version": "v1",
        "protocols": [
            { "protocol_id": "atomic-ocr.v1", "request_types": ["OCR"], "steps": [step("ocr")] },
            {
                "protocol_id": "ocr-embedding-sis.v1", "request_types": ["OCR->EMBEDDING->SIS"],
                "steps": [step("ocr"), step("embedding"), step("sis")],
            },
            {
                "protocol_id": "plain.v1", "request_types": ["PLAIN"],
                "steps": [{ "step_id": "plain", "step_type": "PLAIN", "service": "anyone" }],
            },
        ],
        "plugins": [],
        "tenants": { "small": { "inflight": 2 }, "closed": { "inflight": 0 }, "wide": { "mode": "BURST" } },
    })
}

/// Puts a manifest with the three plugins into the registry.
pub(crate) fn publish_registry(source: &MemorySource, manifest: &Value) {
    let mut manifest = manifest.clone();
    let plugins = ["ocr", "embedding", "sis"].map(|id| plugin_entry(source, id));
    manifest["plugins"] = plugins.to_vec().into();
    source.set_manifest(Some(&manifest));
}

/// Puts a manifest into the registry whose OCR steps are decided by another version, after `change` had its way.
pub(crate) fn publish_version(
    source: &MemorySource,
    version: &str,
    change: impl FnOnce(&mut Value),
) {
    let mut manifest = manifest();
    let path = format!("components/ocr-{version}.wasm");
    manifest["plugins"] = json!([
        plugin_version(source, "ocr", version, &path),
        plugin_entry(source, "embedding"),
        plugin_entry(source, "sis"),
    ]);
    for protocol in 0..2 {
        manifest["protocols"][protocol]["steps"][0]["plugin"] = format!("ocr@{version}").into();
    }
    change(&mut manifest);
    source.set_manifest(Some(&manifest));
}

/// A command of a tenant for a request type, different for each `doc_id`.
pub(crate) fn command(tenant: &str, request_type: &str, doc_id: &str) -> Value {
    json!({
        "tenant_id": tenant, "request_type": request_type, "doc_id": doc_id,
        "input_ref": "file:///in/a.pdf", "output_ref": "file:///out/",
        "payload": {}, "schema_version": "v1",
    })
}

pub(crate) const THREE: &str = "OCR->EMBEDDING->SIS";

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(settings()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        World::new()
            .open(settings)
            .await
            .expect("the registry is good")
    }

    pub(crate) async fn with_limits(limits: Limits) -> Self {
        Self::with(Settings {
            limits,
            ..settings()
        })
        .await
    }

    /// Another host on the same world, as after a kill.
    pub(crate) async fn restarted(&self) -> Self {
        self.runtime.forget();
        self.world
            .open(self.settings.clone())
            .await
            .expect("it started before")
    }

    /// Writes a redrive as a host left it that died.
    pub(crate) async fn overwrite(&self, redrive: &Redrive) {
        let records: &dyn Records = &*self.records;
        let found = records.all::<Redrive>().await.expect("the records answer");
        let stored = found
            .iter()
            .find(|it| it.document.id == redrive.id)
            .expect("it is there");
        let written = records
            .write(&stored.key, redrive, Some(stored.version))
            .await;
        assert!(matches!(written, Ok(Written::Done(_))), "{written:?}");
    }

    pub(crate) async fn submit(&self, command: &Value) -> Result<Accepted, Refusal> {
        self.engine.accept(command.clone()).await
    }

    /// A new job; its id.
    pub(crate) async fn accepted(&self, tenant: &str, request_type: &str, doc_id: &str) -> JobId {
        let accepted = self.submit(&command(tenant, request_type, doc_id)).await;
        let accepted = accepted.expect("a good command is accepted");
        assert!(!accepted.duplicate);
        accepted.job.id
    }

    pub(crate) async fn refusal(&self, command: Value) -> Refusal {
        match self.submit(&command).await {
            Err(refusal) => refusal,
            Ok(accepted) => panic!("accepted as {}: {command}", accepted.job.id),
        }
    }

    pub(crate) async fn job(&self, id: JobId) -> Arc<Job> {
        let loaded = self
            .ledger
            .load(id)
            .await
            .expect("the memory ledger answers");
        loaded.expect("the job exists")
    }

    pub(crate) async fn state(&self, id: JobId) -> &'static str {
        self.job(id).await.progress.status.name()
    }

    pub(crate) async fn step_states(&self, id: JobId) -> Vec<&'static str> {
        let job = self.job(id).await;
        job.progress
            .steps
            .iter()
            .map(|step| step.state_name())
            .collect()
    }

    /// The code of the failure that ended a job.
    pub(crate) async fn failure_code(&self, id: JobId) -> String {
        let job = self.job(id).await;
        let lucius_domain::job::Status::FailedFinal { failure } = &job.progress.status else {
            panic!("the job is {}", job.progress.status.name())
        };
        failure.code.clone()
    }

    /// The names of all events of a job.
    pub(crate) async fn events(&self, id: JobId) -> Vec<&'static str> {
        let events = self
            .ledger
            .events(id, 0, usize::MAX)
            .await
            .expect("the memory ledger answers");
        events.iter().map(|it| it.event.name()).collect()
    }

    pub(crate) fn later(&self, ms: i64) {
        self.clock.advance(ms);
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// One outbox scan of all lanes; how many publishes were tried.
    pub(crate) async fn dispatch(&self) -> usize {
        let mut tried = 0;
        for lane in Lane::all() {
            tried += self
                .engine
                .dispatch_tick(lane)
                .await
                .expect("the ledger answers");
        }
        tried
    }

    /// One sweep of all lanes; how many jobs were moved.
    pub(crate) async fn sweep(&self, sweeper: Sweeper) -> usize {
        let mut moved = 0;
        for lane in Lane::all() {
            moved += self
                .engine
                .sweep_tick(sweeper, lane)
                .await
                .expect("the ledger answers")
                .moved;
        }
        moved
    }

    /// Lets time pass, then all sweepers and the dispatcher do their work.
    pub(crate) async fn after(&self, ms: i64) {
        self.later(ms);
        for sweeper in sweep::ALL {
            self.sweep(sweeper).await;
        }
        self.dispatch().await;
    }

    /// All directives that the bus ever took, in order.
    pub(crate) fn directives(&self) -> Vec<Directive> {
        let messages = self.bus.accepted();
        messages
            .iter()
            .map(|message| serde_json::from_str(&message.body).expect("a directive"))
            .collect()
    }

    /// Publishes what is due and gives the newest directive.
    pub(crate) async fn next_directive(&self) -> Directive {
        let before = self.bus.accepted().len();
        self.dispatch().await;
        let mut all = self.directives();
        assert_eq!(all.len(), before + 1, "one more directive is published");
        all.pop().expect("there is one more")
    }

    pub(crate) async fn ack(&self, directive: &Directive) -> Result<bool, Refusal> {
        let body = ack_body(directive, self.now());
        self.engine.ack(body, Some(&directive.callback_token)).await
    }

    pub(crate) async fn beat(&self, directive: &Directive) -> Result<bool, Refusal> {
        let mut body = callback(directive, self.now());
        body["progress"] = json!({ "percent": 50, "message": "page 1 of 2" });
        self.engine
            .heartbeat(body, Some(&directive.callback_token))
            .await
    }

    pub(crate) async fn result(&self, directive: &Directive, body: Value) -> Result<bool, Refusal> {
        self.engine
            .result(body, Some(&directive.callback_token))
            .await
    }

    pub(crate) async fn succeed(&self, directive: &Directive) -> Result<bool, Refusal> {
        self.result(directive, success(directive, self.now())).await
    }

    pub(crate) async fn fail(&self, directive: &Directive, class: &str) -> Result<bool, Refusal> {
        self.result(directive, failure(directive, self.now(), class))
            .await
    }

    /// Publishes what is due, and lets the directives of jobs about one document succeed.
    pub(crate) async fn work_one_of(&self, doc_id: &str) {
        self.dispatch().await;
        for directive in self.directives() {
            if self.job(directive.job_id).await.spec.doc_id.as_deref() == Some(doc_id) {
                assert!(self.succeed(&directive).await.expect("the RESULT counts"));
            }
        }
    }

    /// Publishes, acknowledges and succeeds the one directive that is due.
    pub(crate) async fn work_one(&self) -> Directive {
        let directive = self.next_directive().await;
        assert!(self.ack(&directive).await.expect("the ACK counts"));
        assert!(self.succeed(&directive).await.expect("the RESULT counts"));
        directive
    }
}

fn lease(LeaseId(id): LeaseId) -> String {
    id.hyphenated().to_string()
}

pub(crate) fn callback(directive: &Directive, at: Timestamp) -> Value {
    json!({
        "jobId": directive.job_id.to_string(), "stepId": directive.step_id.as_str(),
        "attempt_no": directive.attempt_no.0, "lease_id": lease(directive.lease_id),
        "timestamp": at.to_string(),
    })
}

pub(crate) fn ack_body(directive: &Directive, at: Timestamp) -> Value {
    let mut body = callback(directive, at);
    body["status"] = "ACKED".into();
    body
}

pub(crate) fn success(directive: &Directive, at: Timestamp) -> Value {
    let mut body = callback(directive, at);
    body["status"] = "SUCCEEDED".into();
    body["artifact_refs"] = json!([format!("file:///workspace/{}.json", directive.step_id)]);
    body
}

pub(crate) fn failure(directive: &Directive, at: Timestamp, class: &str) -> Value {
    let mut body = callback(directive, at);
    body["status"] = "FAILED".into();
    body["failure_class"] = class.into();
    body["error"] = json!({ "code": "UNREADABLE", "message": "cannot read page 3", "details": {} });
    body
}
