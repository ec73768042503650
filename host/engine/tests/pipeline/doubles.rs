//! What stands in for the outside: a clock that a test moves, ids that count, plugins that do as a test says, and a
//! registry in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lucius_domain::event::Recorded;
use lucius_domain::id::{Digest, JobId, LeaseId, PluginId, TenantId};
use lucius_domain::job::{DueKind, Job};
use lucius_domain::plugin::{Description, Dispatch, Route, Settle};
use lucius_domain::routing::Lane;
use lucius_domain::time::Timestamp;
use lucius_domain::transition::Change;
use lucius_ports::clock::{Clock, Ids};
use lucius_ports::ledger::{self, Committed, Counts, Created, Filter, Idempotency, Ledger};
use lucius_ports::plugin::{AdmissionError, Answer, Answered, Call, Fault, Limits, Runtime};
use lucius_ports::registry::{Error, Source};
use tokio::sync::watch;
use uuid::Uuid;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stands still until a test moves it; whoever sleeps wakes when their time has come.
#[derive(Debug)]
pub(crate) struct ManualClock {
    now: watch::Sender<i64>,
    sleepers: AtomicI64,
}

impl ManualClock {
    pub(crate) fn new(start: Timestamp) -> Self {
        let (now, _) = watch::channel(start.0);
        let sleepers = AtomicI64::new(0);
        Self { now, sleepers }
    }

    pub(crate) fn advance(&self, ms: i64) {
        self.now.send_modify(|now| *now += ms);
    }

    /// How many sleeps were ever begun.
    pub(crate) fn sleeps(&self) -> i64 {
        self.sleepers.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(*self.now.borrow())
    }

    async fn sleep(&self, duration: Duration) {
        let mut now = self.now.subscribe();
        let until = self
            .now()
            .plus_ms(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        // The sender lives as long as the clock, so waiting can only end by time.
        let _woken = now.wait_for(|now| *now >= until.0).await;
    }
}

/// Ids in the order in which they are asked for.
#[derive(Debug, Default)]
pub(crate) struct CountingIds(AtomicU64);

impl CountingIds {
    fn next(&self) -> u128 {
        u128::from(self.0.fetch_add(1, Ordering::SeqCst) + 1)
    }
}

impl Ids for CountingIds {
    fn job_id(&self, _now: Timestamp) -> JobId {
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

/// What a plugin does instead of what it usually does; `None` for the usual.
type Script = dyn Fn(&PluginId, &Call) -> Option<Result<Answer, Fault>> + Send + Sync;

/// The same for one version.
type VersionScript = dyn Fn(&Call) -> Option<Result<Answer, Fault>> + Send + Sync;

/// Runs "components" whose bytes are their description as JSON. Left alone a plugin takes every payload as it is,
/// routes to the declared service and leaves the verdict to the worker.
pub(crate) struct ScriptedRuntime {
    admitted: Mutex<HashMap<Digest, Description>>,
    script: Mutex<Arc<Script>>,
    calls: Mutex<Vec<(PluginId, &'static str)>>,
    of_versions: Mutex<BTreeMap<String, Arc<VersionScript>>>,
}

impl Default for ScriptedRuntime {
    fn default() -> Self {
        Self {
            admitted: Mutex::default(),
            script: Mutex::new(Arc::new(|_, _| None)),
            calls: Mutex::default(),
            of_versions: Mutex::default(),
        }
    }
}

impl ScriptedRuntime {
    pub(crate) fn script(
        &self,
        script: impl Fn(&PluginId, &Call) -> Option<Result<Answer, Fault>> + Send + Sync + 'static,
    ) {
        *lock(&self.script) = Arc::new(script);
    }

    /// What one version, `<id>@<version>`, does instead.
    pub(crate) fn script_version(
        &self,
        version: &str,
        script: impl Fn(&Call) -> Option<Result<Answer, Fault>> + Send + Sync + 'static,
    ) {
        lock(&self.of_versions).insert(version.to_owned(), Arc::new(script));
    }

    /// The versions that are loaded, `<id>@<version>`, in order.
    pub(crate) fn loaded(&self) -> Vec<String> {
        let admitted = lock(&self.admitted);
        let mut loaded: Vec<String> = admitted
            .values()
            .map(|it| format!("{}@{}", it.id, it.version))
            .collect();
        loaded.sort();
        loaded
    }

    /// Every plugin does what it usually does again.
    pub(crate) fn heal(&self) {
        lock(&self.of_versions).clear();
        self.script(|_, _| None);
    }

    /// Forgets all components, as a host that starts anew.
    pub(crate) fn forget(&self) {
        lock(&self.admitted).clear();
    }

    /// Which plugins were asked what so far.
    pub(crate) fn calls(&self) -> Vec<(PluginId, &'static str)> {
        lock(&self.calls).clone()
    }
}

pub(crate) fn kind(call: &Call) -> &'static str {
    match call {
        Call::Validate { .. } => "validate",
        Call::Route { .. } => "route",
        Call::Settle { .. } => "settle",
    }
}

pub(crate) fn trap() -> Fault {
    Fault::Trap("unreachable".to_owned())
}

fn usual(call: Call) -> Answer {
    match call {
        Call::Validate { payload, .. } => Answer::Validated(Ok(payload)),
        Call::Route { context } => Answer::Routed(Route::Dispatch(Dispatch {
            service: context.service,
            payload: None,
            ack_ms: None,
            lease_ms: None,
        })),
        Call::Settle { report, .. } => Answer::Settled(Settle::by_default(&report)),
    }
}

#[async_trait]
impl Runtime for ScriptedRuntime {
    async fn admit(&self, component: Arc<[u8]>, _: Limits) -> Result<Description, AdmissionError> {
        let description: Description = serde_json::from_slice(&component)
            .map_err(|error| AdmissionError::NotAComponent(error.to_string()))?;
        lock(&self.admitted).insert(Digest::of(&component), description.clone());
        Ok(description)
    }

    async fn call(&self, component: &Digest, _: Limits, call: Call) -> Result<Answered, Fault> {
        // Others get a turn while a plugin runs.
        tokio::task::yield_now().await;
        let found = lock(&self.admitted).get(component).cloned();
        let Description { id, version, .. } = found.ok_or(Fault::NotLoaded)?;
        lock(&self.calls).push((id.clone(), kind(&call)));
        let script = Arc::clone(&lock(&self.script));
        let of_version = lock(&self.of_versions)
            .get(&format!("{id}@{version}"))
            .cloned();
        let own = of_version.and_then(|script| script(&call));
        let answer = own
            .or_else(|| script(&id, &call))
            .unwrap_or_else(|| Ok(usual(call)))?;
        Ok(Answered {
            answer,
            fuel: 1_000,
            memory_bytes: 65_536,
        })
    }

    fn drop_component(&self, component: &Digest) {
        lock(&self.admitted).remove(component);
    }
}

/// A registry in memory.
#[derive(Debug, Default)]
pub(crate) struct MemorySource {
    manifest: Mutex<Option<String>>,
    files: Mutex<BTreeMap<String, Arc<[u8]>>>,
    kept: Mutex<HashMap<Digest, Arc<[u8]>>>,
}

impl MemorySource {
    pub(crate) fn set_manifest(&self, manifest: Option<&serde_json::Value>) {
        *lock(&self.manifest) = manifest.map(ToString::to_string);
    }

    /// What is in the registry.
    pub(crate) fn text(&self) -> Option<serde_json::Value> {
        serde_json::from_str(lock(&self.manifest).as_deref()?).ok()
    }

    pub(crate) fn set_text(&self, text: &str) {
        *lock(&self.manifest) = Some(text.to_owned());
    }

    pub(crate) fn put(&self, path: &str, bytes: &[u8]) {
        lock(&self.files).insert(path.to_owned(), bytes.into());
    }

    /// How many files are kept.
    pub(crate) fn kept_count(&self) -> usize {
        lock(&self.kept).len()
    }

    /// Forgets the registry: whoever asks for it, or for a file of it, fails.
    pub(crate) fn vanish(&self) {
        self.set_manifest(None);
        lock(&self.files).clear();
    }

    pub(crate) fn remove(&self, path: &str) {
        lock(&self.files).remove(path);
    }
}

#[async_trait]
impl Source for MemorySource {
    async fn manifest(&self) -> Result<String, Error> {
        let missing = || Error::Unreadable("registry.json is not there".to_owned());
        lock(&self.manifest).clone().ok_or_else(missing)
    }

    async fn file(&self, path: &str) -> Result<Arc<[u8]>, Error> {
        let missing = || Error::Unreadable(format!("{path} is not there"));
        lock(&self.files).get(path).cloned().ok_or_else(missing)
    }

    async fn keep(&self, digest: Digest, component: Arc<[u8]>) -> Result<(), Error> {
        lock(&self.kept).insert(digest, component);
        Ok(())
    }

    async fn kept(&self, digest: Digest) -> Result<Arc<[u8]>, Error> {
        let missing = || Error::Unreadable(format!("{digest} was not kept"));
        lock(&self.kept).get(&digest).cloned().ok_or_else(missing)
    }

    async fn all_kept(&self) -> Result<Vec<Digest>, Error> {
        Ok(lock(&self.kept).keys().copied().collect())
    }

    async fn forget(&self, digest: Digest) -> Result<(), Error> {
        lock(&self.kept).remove(&digest);
        Ok(())
    }
}

/// A ledger that lets others run before and after each call, so that whatever can interleave does.
#[derive(Debug)]
pub(crate) struct Yielding<L>(pub(crate) Arc<L>);

async fn aside<T>(call: impl Future<Output = T>) -> T {
    tokio::task::yield_now().await;
    let answer = call.await;
    tokio::task::yield_now().await;
    answer
}

#[async_trait]
impl<L: Ledger> Ledger for Yielding<L> {
    async fn create(&self, change: Change, key: Idempotency) -> Result<Created, ledger::Error> {
        aside(self.0.create(change, key)).await
    }

    async fn find(
        &self,
        tenant: &TenantId,
        key: &Idempotency,
    ) -> Result<Option<Created>, ledger::Error> {
        aside(self.0.find(tenant, key)).await
    }

    async fn load(&self, job: JobId) -> Result<Option<Arc<Job>>, ledger::Error> {
        aside(self.0.load(job)).await
    }

    async fn commit(&self, change: Change) -> Result<Committed, ledger::Error> {
        aside(self.0.commit(change)).await
    }

    async fn due(
        &self,
        lane: Lane,
        kinds: &[DueKind],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<JobId>, ledger::Error> {
        aside(self.0.due(lane, kinds, now, limit)).await
    }

    async fn list(&self, filter: Filter) -> Result<Vec<Arc<Job>>, ledger::Error> {
        aside(self.0.list(filter)).await
    }

    async fn events(
        &self,
        job: JobId,
        after_seq: u64,
        limit: usize,
    ) -> Result<Vec<Recorded>, ledger::Error> {
        aside(self.0.events(job, after_seq, limit)).await
    }

    async fn counts(&self) -> Result<Counts, ledger::Error> {
        aside(self.0.counts()).await
    }
}
