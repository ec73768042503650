//! What the host counts, for Prometheus.
//!
//! Every label has a bounded set of values: routes as the router has them, codes and kinds of this program's own,
//! lanes. Tenants and job ids are no labels.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use lucius_domain::contract::CallbackKind;
use lucius_engine::Engine;
use lucius_engine::gates::Gate;
use lucius_ports::upkeep::{COUNTED, States};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::Shared;
use super::problem::Problem;

/// Upper bounds of the latency buckets, in seconds.
const LATENCIES: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AcceptedLabels {
    duplicate: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallbackLabels {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: &'static str,
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModeLabels {
    mode: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GateLabels {
    gate: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabels {
    lane: u8,
}

/// A gauge of a number that is never negative.
type Level = Gauge<u64, AtomicU64>;
type Latencies = Family<RouteLabels, Histogram, fn() -> Histogram>;

/// The metrics of one host.
pub struct Metrics {
    registry: Mutex<Registry>,
    accepted: Family<AcceptedLabels, Counter>,
    refused: Family<CodeLabels, Counter>,
    denied: Family<CodeLabels, Counter>,
    callbacks: Family<CallbackLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    latencies: Latencies,
    in_flight: Family<ModeLabels, Level>,
    limits: Family<GateLabels, Level>,
    held: Level,
    pauses: Level,
    tenants: Level,
    backlog: Family<LaneLabels, Level>,
    states: Family<StateLabels, Level>,
    generation: Level,
    swap: Gauge<f64, AtomicU64>,
    degraded: Level,
    quarantined: Level,
    reload_ok: Level,
    plugins: Level,
    readers: Mutex<Vec<Reader>>,
}

/// Sets levels to what they are.
type Reader = Box<dyn Fn() + Send>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("lucius");
        let metrics = Self {
            registry: Mutex::default(),
            accepted: Family::default(),
            refused: Family::default(),
            denied: Family::default(),
            callbacks: Family::default(),
            requests: Family::default(),
            latencies: Family::new_with_constructor(|| Histogram::new(LATENCIES)),
            in_flight: Family::default(),
            limits: Family::default(),
            held: Level::default(),
            pauses: Level::default(),
            tenants: Level::default(),
            backlog: Family::default(),
            states: Family::default(),
            generation: Level::default(),
            swap: Gauge::default(),
            degraded: Level::default(),
            quarantined: Level::default(),
            reload_ok: Level::default(),
            plugins: Level::default(),
            readers: Mutex::default(),
        };
        // Visible as zeros, so that the first refusal already is a rise.
        for code in ["TENANT_LIMIT", "LANE_LIMIT", "GLOBAL_LIMIT"] {
            drop(metrics.refused.get_or_create(&CodeLabels { code }));
        }
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program that runs", build);
        registry.register(
            "jobs_accepted",
            "Commands that were accepted, by whether they were before",
            metrics.accepted.clone(),
        );
        registry.register(
            "jobs_refused",
            "Commands that were refused, by code",
            metrics.refused.clone(),
        );
        registry.register(
            "requests_denied",
            "Requests whose caller was not let in, by code",
            metrics.denied.clone(),
        );
        registry.register(
            "callbacks",
            "Callbacks, by kind and by what became of them: applied, ignored, or a code",
            metrics.callbacks.clone(),
        );
        registry.register(
            "http_requests",
            "HTTP requests, by route and status",
            metrics.requests.clone(),
        );
        registry.register_with_unit(
            "http_request_duration",
            "Time from a request's head to its answer's head, by route",
            Unit::Seconds,
            metrics.latencies.clone(),
        );
        registry.register(
            "jobs_in_flight",
            "Jobs that are not over, by mode",
            metrics.in_flight.clone(),
        );
        registry.register(
            "gate_limit",
            "The limits of the gates",
            metrics.limits.clone(),
        );
        registry.register(
            "jobs_held",
            "Jobs whose directive is held by a pause",
            metrics.held.clone(),
        );
        registry.register("pauses", "Pauses in force", metrics.pauses.clone());
        registry.register(
            "tenants_in_flight",
            "Tenants with jobs that are not over",
            metrics.tenants.clone(),
        );
        registry.register(
            "outbox_pending",
            "Directives that wait to be published, by lane",
            metrics.backlog.clone(),
        );
        registry.register(
            "jobs",
            "Jobs in each state but those in which they rest for good",
            metrics.states.clone(),
        );
        registry.register(
            "registry_reload_ok",
            "1 when the last reload of the registry went live, 0 when it was refused",
            metrics.reload_ok.clone(),
        );
        registry.register(
            "plugins_live",
            "Plugin versions in the live registry generation",
            metrics.plugins.clone(),
        );
        registry.register(
            "registry_generation",
            "The registry generation that is live",
            metrics.generation.clone(),
        );
        registry.register(
            "registry_swap_seconds",
            "How long requests could notice the last change of the registry: the swap of one pointer",
            metrics.swap.clone(),
        );
        registry.register(
            "registry_degraded",
            "1 when the registry was refused and an older generation is live",
            metrics.degraded.clone(),
        );
        registry.register(
            "plugins_quarantined",
            "Plugin versions that were taken out of service",
            metrics.quarantined.clone(),
        );
        Self {
            registry: Mutex::new(registry),
            ..metrics
        }
    }

    /// Lets another part of the host add its own. Names get the prefix `lucius_`; labels have bounded values.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Lets another part of the host set its levels whenever somebody asks for the metrics.
    pub fn on_read(&self, read: impl Fn() + Send + 'static) {
        self.readers().push(Box::new(read));
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, Vec<Reader>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what only the ledger knows.
    fn stand(&self, states: &States) {
        for state in COUNTED {
            let jobs = states.get(state).copied().unwrap_or(0);
            self.states.get_or_create(&StateLabels { state }).set(jobs);
        }
    }

    pub(super) fn job_accepted(&self, duplicate: bool) {
        let duplicate = if duplicate { "true" } else { "false" };
        self.accepted
            .get_or_create(&AcceptedLabels { duplicate })
            .inc();
    }

    pub(super) fn job_refused(&self, code: &'static str) {
        self.refused.get_or_create(&CodeLabels { code }).inc();
    }

    pub(super) fn denied(&self, code: &'static str) {
        self.denied.get_or_create(&CodeLabels { code }).inc();
    }

    pub(super) fn callback(&self, kind: CallbackKind, outcome: &'static str) {
        let kind = match kind {
            CallbackKind::Ack => "ack",
            CallbackKind::Heartbeat => "heartbeat",
            CallbackKind::Result => "result",
        };
        self.callbacks
            .get_or_create(&CallbackLabels { kind, outcome })
            .inc();
    }

    pub(super) fn request(
        &self,
        method: &'static str,
        route: &str,
        status: u16,
        elapsed: Duration,
    ) {
        let route = route.to_owned();
        let labels = RouteLabels {
            method,
            route: route.clone(),
        };
        self.latencies
            .get_or_create(&labels)
            .observe(elapsed.as_secs_f64());
        self.requests
            .get_or_create(&RequestLabels {
                method,
                route,
                status,
            })
            .inc();
    }

    /// All of them as OpenMetrics text, the engine's levels as they are now.
    pub fn render(&self, engine: &Engine) -> Result<String, std::fmt::Error> {
        let occupancy = engine.gates().occupancy();
        let default_jobs = occupancy.jobs.saturating_sub(occupancy.burst_jobs);
        for (mode, jobs) in [("DEFAULT", default_jobs), ("BURST", occupancy.burst_jobs)] {
            self.in_flight.get_or_create(&ModeLabels { mode }).set(jobs);
        }
        let limits = engine.gates().limits();
        for gate in Gate::ALL {
            let limit = gate.limit(&limits);
            let gate = gate.as_str();
            self.limits.get_or_create(&GateLabels { gate }).set(limit);
        }
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        self.held.set(count(engine.pauses().held()));
        self.pauses.set(count(engine.pauses().seen().len()));
        self.tenants
            .set(u64::try_from(occupancy.tenants).unwrap_or(u64::MAX));
        for (lane, pending) in (0..).zip(occupancy.backlog) {
            self.backlog
                .get_or_create(&LaneLabels { lane })
                .set(pending);
        }
        let registry = engine.registry();
        let live = registry.live();
        self.generation.set(live.generation.0);
        self.swap.set(engine.registry().last_swap().as_secs_f64());
        let plugins = u64::try_from(live.plugins.len()).unwrap_or(u64::MAX);
        self.plugins.set(plugins);
        let refused = !registry.last_reload().errors.is_empty();
        self.reload_ok.set(u64::from(!refused));
        self.degraded.set(u64::from(refused));
        let quarantined = registry.quarantined().len();
        self.quarantined
            .set(u64::try_from(quarantined).unwrap_or(u64::MAX));
        for read in self.readers().iter() {
            read();
        }
        let mut out = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        text::encode(&mut out, &registry)?;
        Ok(out)
    }
}

/// What the host counts
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "operation",
    responses((
        status = 200, description = "OpenMetrics text, for Prometheus",
        body = String, content_type = "application/openmetrics-text",
    ))
)]
pub(super) async fn show(State(shared): State<Arc<Shared>>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let states = shared.engine.ports().upkeep.states();
    match tokio::time::timeout(shared.settings.check_timeout, states).await {
        Ok(Ok(states)) => shared.metrics.stand(&states),
        // What it said last is better than no metrics at the time when they are needed most.
        Ok(Err(error)) => tracing::warn!(%error, "the ledger does not count its jobs"),
        Err(_) => tracing::warn!("the ledger does not count its jobs in time"),
    }
    match shared.metrics.render(&shared.engine) {
        Ok(text) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "a metric cannot be written");
            Problem::internal().into_response()
        }
    }
}
