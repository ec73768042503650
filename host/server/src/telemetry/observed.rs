//! Ledger, bus and plugin runtime with somebody watching: they do what they do, and it is counted.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use lucius_domain::event::Recorded;
use lucius_domain::id::{Digest, JobId, TenantId};
use lucius_domain::job::{DueKind, Job};
use lucius_domain::plugin::Description;
use lucius_domain::routing::Lane;
use lucius_domain::time::Timestamp;
use lucius_domain::transition::Change;
use lucius_ports::bus::{self, Bus, Message};
use lucius_ports::ledger::{Committed, Counts, Created, Error, Filter, Idempotency, Ledger};
use lucius_ports::plugin::{AdmissionError, Answered, Call, Fault, Limits, Runtime};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use super::levels::Levels;
use super::pipeline::{Pipeline, quick};
use crate::http::metrics::Metrics;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    call: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SweeperLabels {
    sweeper: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabels {
    lane: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PluginLabels {
    plugin: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FunctionLabels {
    plugin: String,
    function: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    plugin: String,
    function: &'static str,
    outcome: &'static str,
}

/// A gauge of seconds.
type Seconds = Gauge<f64, std::sync::atomic::AtomicU64>;

/// What ports are wrapped with.
#[derive(Default)]
pub struct Observers {
    /// What jobs go through.
    pub pipeline: Pipeline,
    stores: Stores,
    plugins: Plugins,
}

struct Stores {
    commit_duration: Family<CallLabels, Histogram, fn() -> Histogram>,
    conflicts: Counter,
    store_errors: Family<CallLabels, Counter>,
    bus_duration: Histogram,
    bus_errors: Family<CallLabels, Counter>,
    last_run: Family<SweeperLabels, Seconds>,
    found: Family<SweeperLabels, Counter>,
    oldest: Family<LaneLabels, Seconds>,
}

impl Default for Stores {
    fn default() -> Self {
        Self {
            commit_duration: Family::new_with_constructor(quick),
            conflicts: Counter::default(),
            store_errors: Family::default(),
            bus_duration: quick(),
            bus_errors: Family::default(),
            last_run: Family::default(),
            found: Family::default(),
            oldest: Family::default(),
        }
    }
}

struct Plugins {
    calls: Family<OutcomeLabels, Counter>,
    duration: Family<FunctionLabels, Histogram, fn() -> Histogram>,
    fuel: Family<FunctionLabels, Counter>,
    memory_peak: Family<PluginLabels, Gauge>,
}

impl Default for Plugins {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            duration: Family::new_with_constructor(quick),
            fuel: Family::default(),
            memory_peak: Family::default(),
        }
    }
}

impl Observers {
    /// Nothing observed yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Adds the metrics to those of the host.
    pub fn register(&self, to: &mut Registry) {
        self.pipeline.register(to);
        let stores = &self.stores;
        // Visible as zeros, so that the first error already is a rise.
        for call in [
            "create", "find", "load", "commit", "due", "list", "events", "counts",
        ] {
            drop(stores.store_errors.get_or_create(&CallLabels { call }));
        }
        for call in ["unavailable", "refused"] {
            drop(stores.bus_errors.get_or_create(&CallLabels { call }));
        }
        to.register_with_unit(
            "commit_duration",
            "Time until a change to the ledger is durable, by call",
            Unit::Seconds,
            stores.commit_duration.clone(),
        );
        to.register(
            "commit_conflicts",
            "Changes that were decided on a version that another writer had replaced",
            stores.conflicts.clone(),
        );
        to.register(
            "store_errors",
            "Calls that the ledger did not answer, by call",
            stores.store_errors.clone(),
        );
        to.register_with_unit(
            "bus_publish_duration",
            "Time until the bus has a directive",
            Unit::Seconds,
            stores.bus_duration.clone(),
        );
        to.register(
            "bus_errors",
            "Directives that the bus did not take, by why: unavailable, refused",
            stores.bus_errors.clone(),
        );
        to.register(
            "sweeper_last_run_timestamp_seconds",
            "When a sweeper last looked for what is due",
            stores.last_run.clone(),
        );
        to.register(
            "sweeper_found",
            "Jobs that a sweeper found due",
            stores.found.clone(),
        );
        to.register(
            "outbox_oldest_age_seconds",
            "For how long the oldest directive of a lane could have been published, as the last scan saw it",
            stores.oldest.clone(),
        );
        let plugins = &self.plugins;
        to.register(
            "plugin_calls",
            "Calls of plugins, by version, function and outcome",
            plugins.calls.clone(),
        );
        to.register_with_unit(
            "plugin_duration",
            "Time that a call of a plugin takes, by version and function",
            Unit::Seconds,
            plugins.duration.clone(),
        );
        to.register(
            "plugin_fuel",
            "Fuel that plugins used, by version and function",
            plugins.fuel.clone(),
        );
        to.register_with_unit(
            "plugin_memory_peak",
            "The most memory that a call of a plugin has had since the host started, by version",
            Unit::Bytes,
            plugins.memory_peak.clone(),
        );
    }

    /// Adds these and the levels to what the API shows.
    pub fn register_with(&self, metrics: &Metrics, levels: Levels) {
        metrics.register(|registry| {
            self.register(registry);
            levels.register(registry);
        });
        metrics.on_read(move || levels.read());
    }

    /// The ledger, watched.
    pub fn ledger(self: &Arc<Self>, inner: Arc<dyn Ledger>) -> Arc<dyn Ledger> {
        let observers = Arc::clone(self);
        Arc::new(Observed { observers, inner })
    }

    /// The bus, watched.
    pub fn bus(self: &Arc<Self>, inner: Arc<dyn Bus>) -> Arc<dyn Bus> {
        let observers = Arc::clone(self);
        Arc::new(Observed { observers, inner })
    }

    /// The plugin runtime, watched.
    pub fn runtime(self: &Arc<Self>, inner: Arc<dyn Runtime>) -> Arc<dyn Runtime> {
        Arc::new(ObservedRuntime {
            observers: Arc::clone(self),
            inner,
            names: Mutex::default(),
        })
    }

    fn store<T>(&self, call: &'static str, answer: Result<T, Error>) -> Result<T, Error> {
        answer.inspect_err(|_| {
            let labels = CallLabels { call };
            self.stores.store_errors.get_or_create(&labels).inc();
        })
    }

    fn wrote(&self, call: &'static str, began: Instant) {
        let durations = &self.stores.commit_duration;
        let seconds = began.elapsed().as_secs_f64();
        durations
            .get_or_create(&CallLabels { call })
            .observe(seconds);
    }
}

struct Observed<T: ?Sized> {
    observers: Arc<Observers>,
    inner: Arc<T>,
}

#[async_trait]
impl Ledger for Observed<dyn Ledger> {
    async fn create(&self, change: Change, idempotency: Idempotency) -> Result<Created, Error> {
        let began = Instant::now();
        let created = self.inner.create(change.clone(), idempotency).await;
        self.observers.wrote("create", began);
        if matches!(created, Ok(Created::New)) {
            self.observers.pipeline.committed(&change);
        }
        self.observers.store("create", created)
    }

    async fn find(
        &self,
        tenant: &TenantId,
        idempotency: &Idempotency,
    ) -> Result<Option<Created>, Error> {
        let found = self.inner.find(tenant, idempotency).await;
        self.observers.store("find", found)
    }

    async fn load(&self, job: JobId) -> Result<Option<Arc<Job>>, Error> {
        self.observers.store("load", self.inner.load(job).await)
    }

    async fn commit(&self, change: Change) -> Result<Committed, Error> {
        let began = Instant::now();
        let committed = self.inner.commit(change.clone()).await;
        self.observers.wrote("commit", began);
        match &committed {
            Ok(Committed::Done) => self.observers.pipeline.committed(&change),
            Ok(Committed::Conflict) => {
                self.observers.stores.conflicts.inc();
            }
            Err(_) => {}
        }
        self.observers.store("commit", committed)
    }

    async fn due(
        &self,
        lane: Lane,
        kinds: &[DueKind],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<JobId>, Error> {
        let due = self.inner.due(lane, kinds, now, limit).await;
        let due = self.observers.store("due", due)?;
        for kind in kinds {
            self.swept(*kind, now, due.len());
        }
        if kinds == [DueKind::Dispatch] {
            self.aged(lane, now, due.first().copied()).await;
        }
        Ok(due)
    }

    async fn list(&self, filter: Filter) -> Result<Vec<Arc<Job>>, Error> {
        self.observers.store("list", self.inner.list(filter).await)
    }

    async fn events(
        &self,
        job: JobId,
        after_seq: u64,
        limit: usize,
    ) -> Result<Vec<Recorded>, Error> {
        let events = self.inner.events(job, after_seq, limit).await;
        self.observers.store("events", events)
    }

    async fn counts(&self) -> Result<Counts, Error> {
        self.observers.store("counts", self.inner.counts().await)
    }
}

impl Observed<dyn Ledger> {
    fn swept(&self, kind: DueKind, now: Timestamp, found: usize) {
        let labels = SweeperLabels {
            sweeper: match kind {
                DueKind::Dispatch => "outbox",
                DueKind::Ack => "ack",
                DueKind::Lease => "lease",
                DueKind::Decision => "drift",
            },
        };
        let stores = &self.observers.stores;
        stores.last_run.get_or_create(&labels).set(seconds(now));
        let found = u64::try_from(found).unwrap_or(u64::MAX);
        stores.found.get_or_create(&labels).inc_by(found);
    }

    /// For how long the lane's oldest directive waits; the first that is due is the oldest.
    async fn aged(&self, lane: Lane, now: Timestamp, oldest: Option<JobId>) {
        let job = match oldest {
            Some(id) => self.inner.load(id).await.ok().flatten(),
            None => None,
        };
        let since = job.and_then(|job| job.due()).map(|(_, at)| at);
        let age = since.map_or(0.0, |at| at.until(now).as_secs_f64());
        let lane = lane.number();
        let oldest = &self.observers.stores.oldest;
        oldest.get_or_create(&LaneLabels { lane }).set(age);
    }
}

#[async_trait]
impl Bus for Observed<dyn Bus> {
    async fn publish(&self, message: &Message) -> Result<(), bus::Error> {
        let began = Instant::now();
        let published = self.inner.publish(message).await;
        let stores = &self.observers.stores;
        stores.bus_duration.observe(began.elapsed().as_secs_f64());
        if let Err(error) = &published {
            let call = match error {
                bus::Error::Unavailable(_) => "unavailable",
                bus::Error::Refused(_) => "refused",
            };
            stores.bus_errors.get_or_create(&CallLabels { call }).inc();
        }
        published
    }

    async fn check(&self) -> Result<(), bus::Error> {
        self.inner.check().await
    }
}

struct ObservedRuntime {
    observers: Arc<Observers>,
    inner: Arc<dyn Runtime>,
    /// `id@version` by digest, as the components said when they were admitted.
    names: Mutex<HashMap<Digest, String>>,
}

impl ObservedRuntime {
    fn names(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Runtime for ObservedRuntime {
    async fn admit(
        &self,
        component: Arc<[u8]>,
        limits: Limits,
    ) -> Result<Description, AdmissionError> {
        let digest = Digest::of(&component);
        let description = self.inner.admit(component, limits).await?;
        let name = format!("{}@{}", description.id, description.version);
        self.names().insert(digest, name);
        Ok(description)
    }

    async fn call(
        &self,
        component: &Digest,
        limits: Limits,
        call: Call,
    ) -> Result<Answered, Fault> {
        let function = match &call {
            Call::Validate { .. } => "validate",
            Call::Route { .. } => "route",
            Call::Settle { .. } => "settle",
        };
        let began = Instant::now();
        let plugin = self.names().get(component).cloned().unwrap_or_default();
        // Part of whatever asks; what asks for itself, as a sweeper, is no trace.
        let span = match Span::current().is_none() {
            true => Span::none(),
            false => tracing::info_span!("plugin", plugin, function),
        };
        let call = self.inner.call(component, limits, call);
        let answered = call.instrument(span).await;
        let plugins = &self.observers.plugins;
        let outcome = answered.as_ref().map_or_else(Fault::code, |_| "ok");
        let of_function = FunctionLabels {
            plugin: plugin.clone(),
            function,
        };
        let of_plugin = PluginLabels {
            plugin: plugin.clone(),
        };
        let of_outcome = OutcomeLabels {
            plugin,
            function,
            outcome,
        };
        plugins.calls.get_or_create(&of_outcome).inc();
        let seconds = began.elapsed().as_secs_f64();
        plugins
            .duration
            .get_or_create(&of_function)
            .observe(seconds);
        if let Ok(answered) = &answered {
            plugins
                .fuel
                .get_or_create(&of_function)
                .inc_by(answered.fuel);
            let memory = i64::try_from(answered.memory_bytes).unwrap_or(i64::MAX);
            let peak = plugins.memory_peak.get_or_create(&of_plugin);
            peak.inner().fetch_max(memory, Ordering::Relaxed);
        }
        answered
    }

    fn drop_component(&self, component: &Digest) {
        self.names().remove(component);
        self.inner.drop_component(component);
    }
}

fn seconds(at: Timestamp) -> f64 {
    #[expect(
        clippy::as_conversions,
        clippy::cast_precision_loss,
        reason = "milliseconds since 1970 are far below 2^53"
    )]
    let ms = at.0 as f64;
    ms / 1_000.0
}
