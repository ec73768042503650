//! One host, put together: the only place that names concrete backends.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lucius_embedded_bus::EmbeddedBus;
use lucius_engine::access::keys::Grant;
use lucius_engine::access::{Scope, Tenants};
use lucius_engine::fleet::{self, HostId};
use lucius_engine::registry::SharedSource;
use lucius_engine::{Engine, Ports, Settings};
use lucius_ports::clock::{Clock as _, Ids as _};
use lucius_ports::records::Records;
use lucius_ports::registry::Source;
use lucius_registry_dir::RegistryDir;
use lucius_sqlite::SqliteLedger;
use lucius_wasm::Sandbox;
use tokio::net::TcpListener;

use crate::config::{AuthMode, BusBackend, Config};
use crate::http::access::{Access, jwt, open};
use crate::storage::{self, Buses, Ledgers};
use crate::system::{SystemClock, SystemIds, random_key};
use crate::telemetry::levels::Levels;
use crate::telemetry::observed::Observers;

/// How many directives are published at once; they share the bus's commits.
const PUBLISH_CONCURRENCY: usize = 64;
/// The shortest claim: several times what the ledger takes to answer.
const SHORTEST_CLAIM_MS: u64 = 1_000;
/// A service that waits for work has sent its ACK long before this.
const SENT_DELAY: std::time::Duration = std::time::Duration::from_millis(25);

/// A host that is ready to serve.
pub struct Host {
    /// The pipeline.
    pub engine: Arc<Engine>,
    /// The ledger, when it is the one in a file.
    pub sqlite: Option<Arc<SqliteLedger>>,
    /// The embedded bus, when that is the one.
    pub embedded_bus: Option<Arc<EmbeddedBus>>,
    /// What the pipeline does, counted.
    pub observers: Arc<Observers>,
    /// How full the stores are.
    pub levels: Levels,
    /// Bound and not yet served.
    pub listener: TcpListener,
    /// Where it really listens.
    pub address: SocketAddr,
    /// Who is let in.
    pub access: Access,
    /// The settings it was made with.
    pub config: Config,
}

/// Why a host does not start; one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `open` would let everyone in.
    #[error("auth.mode \"open\" lets in everyone who reaches {0}: listen on 127.0.0.1 or [::1]")]
    OpenToAll(SocketAddr),
    /// A list of schemes is empty, a number is zero where it may not be.
    #[error("{0}")]
    Setting(String),
    /// Someone listens there already, or the address is not this machine's.
    #[error("cannot listen on {address}: {source}; choose another with --listen")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The data directory cannot be used.
    #[error("cannot use the data directory {}: {source}; choose another with --data-dir", path.display())]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A key is not one.
    #[error(
        "{0} does not hold 32 bytes: remove it to have a new one made (callbacks under way are then refused)"
    )]
    Key(String),
    /// The ledger does not open.
    #[error(transparent)]
    Ledger(#[from] lucius_sqlite::OpenError),
    /// The ledger in tables does not open.
    #[error(transparent)]
    Tables(#[from] lucius_azure_tables::OpenError),
    /// The ledger does not answer.
    #[error("{0}: wait until it is reachable")]
    LedgerAway(#[from] lucius_ports::ledger::Error),
    /// The bus does not open.
    #[error(transparent)]
    Bus(#[from] lucius_embedded_bus::Error),
    /// The bus client does not start.
    #[error(transparent)]
    ServiceBus(#[from] lucius_ports::bus::Error),
    /// The plugin runtime does not start.
    #[error(transparent)]
    Sandbox(#[from] lucius_wasm::StartError),
    /// JWTs cannot be checked.
    #[error(transparent)]
    Tokens(#[from] jwt::Unusable),
    /// The registry is refused, or the ledger does not answer.
    #[error(transparent)]
    Engine(#[from] lucius_engine::engine::OpenError),
}

impl Host {
    /// Binds the address, opens what is durable, and activates the registry.
    ///
    /// # Errors
    /// What is in the way. Nothing is left half made that a later start would trip over.
    pub async fn open(config: Config) -> Result<Self, StartError> {
        check(&config)?;
        let limits = config.limits.of_engine().map_err(StartError::Setting)?;
        let access = access(&config)?;
        let listener =
            TcpListener::bind(config.listen)
                .await
                .map_err(|source| StartError::Listen {
                    address: config.listen,
                    source,
                })?;
        let address = listener.local_addr().map_err(|source| StartError::Listen {
            address: config.listen,
            source,
        })?;

        let data_dir = usable(&config.data_dir)?;
        let own_key = secret(&data_dir, "callback.key")?;
        let cache_key = secret(&data_dir, "compiled.key")?;
        let sandbox = crate::sandbox::settings_of_host(&config.plugins, &data_dir, cache_key);
        let ledgers = Ledgers::open(&config, &data_dir).await?;
        let token_key = ledgers.token_key(&config, own_key).await?;
        let Buses {
            bus,
            dead_queues,
            embedded,
        } = Buses::open(&config, &data_dir)?;
        let clock = Arc::new(SystemClock);
        let host_id = HostId(SystemIds.job_id(clock.now()).to_string());
        let observers = Observers::new();
        let is_shared = ledgers.sqlite.is_none();
        let claim = std::time::Duration::from_millis(config.fleet.claim_ms);
        let own = Arc::new(RegistryDir::new(
            &config.registry,
            data_dir.join("components"),
        ));
        let source: Arc<dyn Source> = match is_shared {
            true => Arc::new(SharedSource::new(own, Arc::clone(&ledgers.records))),
            false => own,
        };
        let ports = Ports {
            ledger: observers.ledger(ledgers.ledger),
            pins: ledgers.pins,
            generations: ledgers.generations,
            records: ledgers.records,
            upkeep: ledgers.upkeep,
            dead_queues,
            bus: observers.bus(bus),
            runtime: observers.runtime(Arc::new(Sandbox::start(sandbox)?)),
            source,
            clock,
            ids: Arc::new(SystemIds),
        };
        let base = match config.public_url.trim_end_matches('/') {
            "" => format!("http://{address}"),
            url => url.to_owned(),
        };
        let settings = Settings {
            timing: config.timing.of_jobs(),
            sweep_interval: config.timing.sweep_interval(),
            limits,
            default_mode: config.routing.default_mode,
            refs: config.refs.rules(),
            plugin_cap: config.plugins.cap(),
            registry: config.plugins.registry(),
            callback_base: base,
            workspace_ref: file_uri(&data_dir.join("workspace")),
            token_key,
            fleet: fleet::Settings {
                claim: is_shared.then_some(claim),
                ..fleet::Settings::alone(host_id, address.to_string())
            },
            retention: config.retention.of_engine(),
            publish_concurrency: PUBLISH_CONCURRENCY,
            sent_delay: SENT_DELAY,
        };
        let engine = Engine::open(ports, settings).await?;
        Ok(Self {
            engine,
            levels: Levels::new(ledgers.sqlite.clone(), embedded.clone(), data_dir),
            observers,
            sqlite: ledgers.sqlite,
            embedded_bus: embedded,
            listener,
            address,
            access,
            config,
        })
    }

    /// A key for workers inside this process, if the host asks for one.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn worker_key(&self) -> anyhow::Result<Option<String>> {
        if let Access::Open(_) = self.access {
            return Ok(None);
        }
        let grant = Grant {
            label: "workers of this process".to_owned(),
            tenants: Tenants::Only([].into()),
            scopes: [Scope::Work].into(),
            services: [].into(),
            expires_at: None,
        };
        let issued = self.engine.keys().issue_own(grant, &random_key()?)?;
        Ok(Some(issued.text))
    }

    /// The base URL of the bus.
    pub fn bus_url(&self) -> String {
        match self.config.bus.backend {
            BusBackend::Embedded => format!("http://{}/bus", self.address),
            // It was read when the bus was opened.
            BusBackend::AzureServicebus => storage::bus_connection()
                .map(|connection| connection.endpoint().to_owned())
                .unwrap_or_default(),
        }
    }
}

fn access(config: &Config) -> Result<Access, StartError> {
    Ok(match config.auth.mode {
        AuthMode::Open => Access::Open(open::Names::with_url(&config.public_url)),
        AuthMode::ApiKey => Access::Keys,
        AuthMode::Jwt => Access::Tokens(Arc::new(jwt::Verifier::new(&config.auth.trust())?)),
    })
}

/// Whether settings make sense together.
///
/// # Errors
/// The first that does not.
pub fn check(config: &Config) -> Result<(), StartError> {
    let setting = |text: &str| Err(StartError::Setting(text.to_owned()));
    match config.auth.mode {
        AuthMode::Open if !config.listen.ip().is_loopback() => {
            return Err(StartError::OpenToAll(config.listen));
        }
        AuthMode::Open => {}
        AuthMode::ApiKey | AuthMode::Jwt if config.listen.ip().is_loopback() => {}
        AuthMode::ApiKey | AuthMode::Jwt => tracing::warn!(
            listen = %config.listen,
            "credentials travel in the clear here: put a proxy that ends TLS in front"
        ),
    }
    config.limits.of_engine().map_err(StartError::Setting)?;
    let timing = &config.timing;
    if timing.max_attempts == 0 {
        return setting("timing.max_attempts is 0, so nothing could ever run: set at least 1");
    }
    let waits = [
        timing.sweep_interval_ms,
        timing.ack_timeout_ms,
        timing.lease_ms,
        timing.attempt_deadline_ms,
    ];
    if waits.contains(&0) {
        return setting(
            "timing: sweep_interval_ms, ack_timeout_ms, lease_ms and attempt_deadline_ms must be at least 1",
        );
    }
    if config.fleet.claim_ms < SHORTEST_CLAIM_MS {
        return setting("fleet.claim_ms is too short to be renewed in time: set at least 1000");
    }
    if config.refs.schemes.is_empty() {
        return setting("refs.schemes is empty, so every command would be refused: name a scheme");
    }
    Ok(())
}

/// The data directory, made if need be, as an absolute path that can be written.
fn usable(data_dir: &Path) -> Result<PathBuf, StartError> {
    let fail = |source| StartError::DataDir {
        path: data_dir.to_owned(),
        source,
    };
    std::fs::create_dir_all(data_dir.join("workspace")).map_err(fail)?;
    tempfile::tempfile_in(data_dir).map_err(fail)?;
    data_dir.canonicalize().map_err(fail)
}

/// The records and the hosts' secret of a data directory that no host runs on.
///
/// # Errors
/// It cannot be used, or a host runs on it.
pub fn records_of(data_dir: &Path) -> Result<(Arc<dyn Records>, [u8; 32]), StartError> {
    let data_dir = usable(data_dir)?;
    let secret = secret(&data_dir, "callback.key")?;
    let ledger = SqliteLedger::open(&data_dir, lucius_sqlite::Settings::default())?;
    Ok((ledger, secret))
}

/// A key of this host, made on first use and readable by the owner alone.
fn secret(data_dir: &Path, name: &str) -> Result<[u8; 32], StartError> {
    let path = data_dir.join(name);
    let fail = |source| StartError::DataDir {
        path: path.clone(),
        source,
    };
    match std::fs::File::open(&path) {
        Ok(mut file) => {
            let mut text = Vec::new();
            file.read_to_end(&mut text).map_err(fail)?;
            text.try_into()
                .map_err(|_| StartError::Key(path.display().to_string()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut key = [0; 32];
            getrandom::fill(&mut key).map_err(|error| fail(std::io::Error::other(error)))?;
            let mut file = private_file(data_dir).map_err(fail)?;
            file.write_all(&key).map_err(fail)?;
            file.as_file().sync_all().map_err(fail)?;
            file.persist(&path).map_err(|error| fail(error.error))?;
            Ok(key)
        }
        Err(error) => Err(fail(error)),
    }
}

/// A temporary file is readable by its owner alone, and stays so under its final name.
fn private_file(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    tempfile::NamedTempFile::new_in(folder)
}

/// An absolute path as a `file` URI.
pub fn file_uri(path: &Path) -> String {
    url::Url::from_file_path(path)
        .map_or_else(|()| format!("file://{}", path.display()), String::from)
}
