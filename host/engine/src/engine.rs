//! The engine: ports, settings and the registry put together, and the loops that move jobs along.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use lucius_domain::id::JobId;
use lucius_domain::job::Job;
use lucius_ports::bus::Bus;
use lucius_ports::clock::{Clock, Ids};
use lucius_ports::dead_queues::DeadQueues;
use lucius_ports::ledger::{self, Generations, Ledger};
use lucius_ports::pins::Pins;
use lucius_ports::plugin::Runtime;
use lucius_ports::records::Records;
use lucius_ports::registry::Source;
use lucius_ports::upkeep::Upkeep;
use tokio::sync::mpsc;

use crate::access::keys::Keys;
use crate::audit::Audit;
use crate::fleet::Fleet;
use crate::gates::Gates;
use crate::gates::fuel::Budgets;
use crate::gates::health::Health;
use crate::gates::pause::Pauses;
use crate::hints::Hints;
use crate::outgoing::Outgoing;
use crate::registry::comparison::Trials;
use crate::registry::{Breaker, Registry, StartError};
use crate::schema::Schemas;
use crate::settings::{Limits, Settings};
use crate::token::Tokens;

/// What the engine needs of the outside.
#[derive(Clone)]
pub struct Ports {
    /// Jobs, steps, outbox, events.
    pub ledger: Arc<dyn Ledger>,
    /// Which jobs hold what of the registry.
    pub pins: Arc<dyn Pins>,
    /// Registry generations.
    pub generations: Arc<dyn Generations>,
    /// Small documents: what operators decided, and what hosts tell each other.
    pub records: Arc<dyn Records>,
    /// Failures in groups, and deleting what is over.
    pub upkeep: Arc<dyn Upkeep>,
    /// Messages that the bus gave up on.
    pub dead_queues: Arc<dyn DeadQueues>,
    /// Carries directives.
    pub bus: Arc<dyn Bus>,
    /// Runs plugins.
    pub runtime: Arc<dyn Runtime>,
    /// Holds the registry.
    pub source: Arc<dyn Source>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// New ids.
    pub ids: Arc<dyn Ids>,
}

/// The pipeline of one host.
pub struct Engine {
    pub(crate) ports: Ports,
    pub(crate) settings: Settings,
    pub(crate) schemas: Schemas,
    pub(crate) registry: Registry,
    pub(crate) breaker: Breaker,
    pub(crate) trials: Trials,
    pub(crate) tokens: Tokens,
    keys: Keys,
    audit: Audit,
    pub(crate) pauses: Pauses,
    pub(crate) gates: Gates,
    pub(crate) budgets: Budgets,
    pub(crate) health: Arc<Health>,
    pub(crate) hints: Hints,
    pub(crate) fleet: Fleet,
    pub(crate) outgoing: Outgoing,
    dispatch_hints: Mutex<Option<mpsc::Receiver<Arc<Job>>>>,
    draining: AtomicBool,
}

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no registry to start with.
    #[error(transparent)]
    Registry(#[from] StartError),
    /// The ledger does not answer.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// A schema that ships with the host does not compile.
    #[error("this build is broken: {0}")]
    Build(String),
}

impl Engine {
    /// Compiles the schemas, activates the registry, and counts what is in flight. Nothing runs yet, see
    /// [`Engine::run`].
    ///
    /// # Errors
    /// Why it cannot start.
    pub async fn open(mut ports: Ports, settings: Settings) -> Result<Arc<Self>, OpenError> {
        let health = Health::new(Arc::clone(&ports.clock));
        ports.ledger = health.ledger(ports.ledger);
        ports.bus = health.bus(ports.bus);
        let schemas = Schemas::compile().map_err(OpenError::Build)?;
        let registry = Registry::start(&ports, &schemas, &settings).await?;
        let budgets = Budgets::new(settings.limits.tenant_fuel_per_second);
        let gates = Gates::new(
            settings.limits,
            ports.ledger.counts().await?,
            Arc::clone(&ports.clock),
        );
        let pauses = Pauses::new(Arc::clone(&ports.records));
        let tokens = Tokens::new(&settings.token_key);
        let keys = Keys::new(
            Arc::clone(&ports.records),
            Arc::clone(&ports.clock),
            &settings.token_key,
        );
        let audit = Audit::new(Arc::clone(&ports.records));
        let (hints, dispatch_hints) = Hints::new();
        let fleet = Fleet::new(settings.fleet.clone(), ports.clock.now());
        Ok(Arc::new(Self {
            ports,
            settings,
            schemas,
            registry,
            breaker: Breaker::default(),
            trials: Trials::default(),
            tokens,
            keys,
            audit,
            pauses,
            gates,
            budgets,
            health,
            hints,
            fleet,
            outgoing: Outgoing::default(),
            dispatch_hints: Mutex::new(Some(dispatch_hints)),
            draining: AtomicBool::new(false),
        }))
    }

    /// Runs the dispatcher and the sweepers, keeps this host's lanes and tidies up after the registry, until the future is
    /// dropped. Dropping it is safe at any point: what was
    /// not committed has not happened.
    pub async fn run(self: Arc<Self>) {
        let receiver = {
            let mut hints = self
                .dispatch_hints
                .lock()
                .unwrap_or_else(|error| error.into_inner());
            hints.take()
        };
        let dispatch = crate::dispatch::run(&self, receiver);
        let sweep = crate::sweep::run(&self);
        let fleet = crate::fleet::run(&self);
        let tidy = crate::registry::tidy::run(&self);
        let follow = crate::registry::follow::run(&self);
        let recount = crate::gates::recount::run(&self);
        let trials = crate::registry::comparison::run(&self);
        let moving = futures_util::future::join4(dispatch, sweep, fleet, tidy);
        futures_util::future::join4(moving, follow, recount, trials).await;
    }

    /// Works on redrives and deletes what ended long ago, until the future is dropped, which is safe at any point. No
    /// job waits for it.
    pub async fn look_after(self: Arc<Self>) {
        let redrives = crate::redrive::run(&self);
        let retention = crate::retention::run(&self);
        futures_util::future::join(redrives, retention).await;
    }

    /// From now on no command is accepted; everything else goes on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// True after [`Engine::drain`].
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// The registry.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The keys that clients call with.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Who did what, and why.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// What operators have stopped.
    pub fn pauses(&self) -> &Pauses {
        &self.pauses
    }

    /// The gates.
    pub fn gates(&self) -> &Gates {
        &self.gates
    }

    /// Other limits from now on. Who is in stays in.
    pub fn set_limits(&self, limits: Limits) {
        self.gates.set_limits(limits);
        self.budgets.set_per_second(limits.tenant_fuel_per_second);
    }

    /// Whether ledger and bus take what they are given.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// The ledger, for the read side.
    pub fn ledger(&self) -> &dyn Ledger {
        &*self.ports.ledger
    }

    /// The ports.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Tells of every job that changes from now on. A watcher that is too slow is told that it missed some.
    pub fn watch(&self) -> tokio::sync::broadcast::Receiver<JobId> {
        self.hints.watch()
    }
}
