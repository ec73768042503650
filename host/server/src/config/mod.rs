//! Settings: defaults, then a TOML file, then `LUCIUS_*` variables, then flags. Unknown keys are refused.
//!
//! A variable is named after its key: `[timing] ack_timeout_ms` is `LUCIUS_TIMING_ACK_TIMEOUT_MS`. Lists are written as
//! in TOML: `LUCIUS_TIMING_RETRY_BACKOFF_MS="[100, 200]"`.

mod load;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use lucius_domain::contract::RefRules;
use lucius_domain::retry::Timing as JobTiming;
use lucius_domain::routing::Mode;
use lucius_engine::registry::{Options, Settings as RegistrySettings, Threshold};
use lucius_engine::retention::Retention as EngineRetention;
use lucius_engine::settings::Limits as EngineLimits;
use lucius_ports::plugin::Limits as PluginLimits;
use serde::{Deserialize, Serialize};

use crate::http::access::jwt::{SignedWith, Trust};

pub use load::Error;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// Where everything durable is kept.
    pub data_dir: PathBuf,
    /// The registry folder.
    pub registry: PathBuf,
    /// The base URL under which services reach this host; `http://<listen>` when empty.
    pub public_url: String,
    /// The ledger.
    pub ledger: Ledger,
    /// The bus.
    pub bus: Bus,
    /// Waits and budgets.
    pub timing: Timing,
    /// When to say no.
    pub limits: Limits,
    /// How long what is over is kept.
    pub retention: Retention,
    /// Which references are let in.
    pub refs: Refs,
    /// Who may call.
    pub auth: Auth,
    /// What plugins may use.
    pub plugins: Plugins,
    /// How jobs travel.
    pub routing: Routing,
    /// The platform workers.
    pub worker: Worker,
    /// The embedding service.
    pub embedding: Embedding,
    /// The semantic service.
    pub sis: Sis,
    /// The log.
    pub log: Log,
}

/// The ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ledger {
    /// Which one.
    pub backend: LedgerBackend,
    /// What the names of the tables begin with, in Azure Table Storage.
    pub table_prefix: String,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            backend: LedgerBackend::Sqlite,
            table_prefix: "lucius".to_owned(),
        }
    }
}

/// Which ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LedgerBackend {
    /// One SQLite file in the data directory.
    #[default]
    Sqlite,
    /// Tables that hosts share, named by `LUCIUS_TABLES_CONNECTION`.
    AzureTables,
}

/// The bus.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bus {
    /// Which one.
    pub backend: BusBackend,
    /// How long a message stays locked, in milliseconds.
    pub lock_ms: u64,
    /// How often a message is delivered before it goes to the dead-letter queue.
    pub max_delivery_count: u32,
}

/// Which bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BusBackend {
    /// In this process, below `/bus`.
    #[default]
    Embedded,
    /// A Service Bus namespace, named by `LUCIUS_SERVICEBUS_CONNECTION`.
    AzureServicebus,
}

impl Default for Bus {
    fn default() -> Self {
        Self {
            backend: BusBackend::Embedded,
            lock_ms: 60_000,
            max_delivery_count: 10,
        }
    }
}

/// Waits and budgets, in milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timing {
    /// How long to wait for an ACK.
    pub ack_timeout_ms: u64,
    /// How long a lease lasts.
    pub lease_ms: u64,
    /// How long one attempt may run, however often it heartbeats.
    pub attempt_deadline_ms: u64,
    /// Attempts a step may have.
    pub max_attempts: u32,
    /// The waits between failed publishes.
    pub dispatch_backoff_ms: Vec<u64>,
    /// The waits before attempts 2, 3, 4 ...
    pub retry_backoff_ms: Vec<u64>,
    /// How often the sweepers and the outbox scan run.
    pub sweep_interval_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        let JobTiming {
            ack_ms,
            lease_ms,
            deadline_ms,
            max_attempts,
            retry_backoff_ms,
            dispatch_backoff_ms,
        } = JobTiming::default();
        Self {
            ack_timeout_ms: ack_ms,
            lease_ms,
            attempt_deadline_ms: deadline_ms,
            max_attempts,
            dispatch_backoff_ms,
            retry_backoff_ms,
            sweep_interval_ms: 1_000,
        }
    }
}

impl Timing {
    /// The part that jobs pin.
    pub fn of_jobs(&self) -> JobTiming {
        JobTiming {
            ack_ms: self.ack_timeout_ms,
            lease_ms: self.lease_ms,
            deadline_ms: self.attempt_deadline_ms,
            max_attempts: self.max_attempts,
            retry_backoff_ms: self.retry_backoff_ms.clone(),
            dispatch_backoff_ms: self.dispatch_backoff_ms.clone(),
        }
    }

    /// How often the sweepers run.
    pub fn sweep_interval(&self) -> Duration {
        Duration::from_millis(self.sweep_interval_ms)
    }
}

/// When to say no.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Jobs in flight for each tenant.
    pub tenant_inflight: u64,
    /// Jobs in flight in all.
    pub global_inflight: u64,
    /// Jobs in flight in mode BURST.
    pub burst_inflight: u64,
    /// The largest request body, in bytes.
    pub body_bytes: usize,
    /// Directives in one lane that wait to be published.
    pub outbox_backlog: u64,
    /// Connections at the same time.
    pub connections: usize,
    /// What plugins may work for each tenant, in wasmtime fuel a second.
    pub tenant_fuel_per_second: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let EngineLimits {
            tenant_inflight,
            global_inflight,
            burst_inflight,
            outbox_backlog,
            tenant_fuel_per_second,
        } = EngineLimits::default();
        Self {
            tenant_inflight,
            global_inflight,
            burst_inflight,
            body_bytes: 1 << 20,
            outbox_backlog,
            connections: 12_000,
            tenant_fuel_per_second,
        }
    }
}

impl Limits {
    /// The part that the engine keeps.
    pub fn of_engine(&self) -> EngineLimits {
        EngineLimits {
            tenant_inflight: self.tenant_inflight,
            global_inflight: self.global_inflight,
            burst_inflight: self.burst_inflight,
            outbox_backlog: self.outbox_backlog,
            tenant_fuel_per_second: self.tenant_fuel_per_second,
        }
    }
}

/// How long what is over is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// For how long a job is kept once it is over, in milliseconds; 0 for ever. Its idempotency key goes with it.
    pub keep_ms: u64,
    /// How many jobs a second are deleted at most.
    pub deletes_per_second: u32,
}

impl Default for Retention {
    fn default() -> Self {
        let EngineRetention {
            keep,
            deletes_per_second,
        } = EngineRetention::default();
        let keep_ms = keep.map_or(0, |keep| u64::try_from(keep.as_millis()).unwrap_or(0));
        Self {
            keep_ms,
            deletes_per_second,
        }
    }
}

impl Retention {
    /// As the engine takes it.
    pub fn of_engine(&self) -> EngineRetention {
        EngineRetention {
            keep: (self.keep_ms > 0).then(|| Duration::from_millis(self.keep_ms)),
            deletes_per_second: self.deletes_per_second,
        }
    }
}

/// Which references are let in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Refs {
    /// Schemes.
    pub schemes: Vec<String>,
    /// Hosts; every host when empty.
    pub hosts: Vec<String>,
}

impl Default for Refs {
    fn default() -> Self {
        let RefRules { schemes, hosts } = RefRules::default();
        Self { schemes, hosts }
    }
}

impl Refs {
    /// The rules, in lower case.
    pub fn rules(&self) -> RefRules {
        let lower = |list: &[String]| list.iter().map(|name| name.to_ascii_lowercase()).collect();
        RefRules {
            schemes: lower(&self.schemes),
            hosts: lower(&self.hosts),
        }
    }
}

/// Who may call.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// How callers are known.
    pub mode: AuthMode,
    /// How JWTs are signed.
    pub jwt_algorithm: SignedWith,
    /// What `iss` of a JWT says.
    pub jwt_issuer: String,
    /// What `aud` of a JWT says, or holds.
    pub jwt_audience: String,
    /// The file with the issuer's public keys, a JWK set.
    pub jwt_keys: PathBuf,
}

impl Auth {
    /// Whose JWTs are taken.
    pub fn trust(&self) -> Trust {
        Trust {
            algorithm: self.jwt_algorithm,
            issuer: self.jwt_issuer.clone(),
            audience: self.jwt_audience.clone(),
            keys: self.jwt_keys.clone(),
        }
    }
}

/// How callers are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthMode {
    /// Everyone who reaches the port; refused on any address but loopback.
    #[default]
    Open,
    /// Who has an API key.
    ApiKey,
    /// Who has a JWT of one issuer, or an API key.
    Jwt,
}

/// What any plugin may use at most; its registry entry may ask for less.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plugins {
    /// Memory of one instance.
    pub memory_bytes: u64,
    /// Wall-clock time of one call.
    pub deadline_ms: u64,
    /// Work of one call, in wasmtime fuel.
    pub fuel: u64,
    /// What one call may return.
    pub output_bytes: u64,
    /// Memory of the process that compiles a component.
    pub compile_memory_bytes: u64,
    /// Processor time for compiling a component, in seconds.
    pub compile_cpu_seconds: u64,
    /// How many past decisions of a plugin are put to the version that would replace it.
    pub replay: usize,
    /// How many of them it may decide otherwise before a reload is refused; -1 for any number.
    pub max_diff: i64,
    /// How many different questions may break a version and not another before it is quarantined ...
    pub breaker_payloads: std::num::NonZeroUsize,
    /// ... within this time, in milliseconds.
    pub breaker_window_ms: u64,
    /// How often the registry folder is looked at for changes, in milliseconds; 0 for never.
    pub watch_ms: u64,
}

impl Default for Plugins {
    fn default() -> Self {
        // Room for components of interpreted languages; first-party plugins ask for far less.
        Self {
            memory_bytes: 64 << 20,
            deadline_ms: 1_000,
            fuel: 2_000_000_000,
            output_bytes: 1 << 20,
            compile_memory_bytes: 2 << 30,
            compile_cpu_seconds: 60,
            replay: Options::default().replay,
            max_diff: -1,
            breaker_payloads: breaker_payloads(),
            breaker_window_ms: 300_000,
            watch_ms: 0,
        }
    }
}

/// The engine's own default, which is not zero.
fn breaker_payloads() -> std::num::NonZeroUsize {
    let payloads = Threshold::default().payloads;
    std::num::NonZeroUsize::new(payloads).unwrap_or(std::num::NonZeroUsize::MIN)
}

impl Plugins {
    /// How the registry is reloaded, as the engine takes it.
    pub fn registry(&self) -> RegistrySettings {
        RegistrySettings {
            options: Options {
                replay: self.replay,
                max_diff: u64::try_from(self.max_diff).ok(),
            },
            breaker: Threshold {
                payloads: self.breaker_payloads.get(),
                window: Duration::from_millis(self.breaker_window_ms),
            },
        }
    }

    /// The cap as the engine takes it.
    pub fn cap(&self) -> PluginLimits {
        let Self {
            memory_bytes,
            deadline_ms,
            fuel,
            output_bytes,
            ..
        } = *self;
        PluginLimits {
            memory_bytes,
            deadline_ms,
            fuel,
            output_bytes,
        }
    }
}

/// How jobs travel.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Routing {
    /// The mode of jobs that neither ask for one nor belong to a tenant that has one.
    pub default_mode: Mode,
}

/// The platform workers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Worker {
    /// Attempts that one worker works on at once.
    pub concurrency: std::num::NonZeroUsize,
    /// Folders below which `file` references may be read, besides `workspace` and `output` in the data directory.
    pub read_roots: Vec<PathBuf>,
    /// Folders below which results may be written, besides `workspace` and `output` in the data directory.
    pub write_roots: Vec<PathBuf>,
    /// The largest input, in bytes.
    pub input_bytes: u64,
    /// The folder that holds models, each in a folder of its own.
    pub models_dir: PathBuf,
    /// Pages of one document that are recognised at once.
    pub ocr_pages_at_once: std::num::NonZeroUsize,
    /// How long one page may take, in milliseconds.
    pub ocr_page_ms: u64,
    /// How long a program of `lucius worker -- PROGRAM` may take, in milliseconds.
    pub program_ms: u64,
}

impl Default for Worker {
    fn default() -> Self {
        const TWO: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN.saturating_add(1);
        Self {
            concurrency: TWO,
            read_roots: vec![PathBuf::from(".")],
            write_roots: Vec::new(),
            input_bytes: 256 << 20,
            models_dir: PathBuf::from("target/models"),
            ocr_pages_at_once: TWO,
            ocr_page_ms: 120_000,
            program_ms: 600_000,
        }
    }
}

/// The embedding service.
pub type Embedding = lucius_platform::embedding::Settings;

/// The semantic service.
pub type Sis = lucius_platform::sis::Settings;

/// The log.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// What is logged, as in `RUST_LOG`: `info`, `lucius=debug,warn`.
    pub filter: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Human,
            filter: "warn,lucius=info,plugin=info".to_owned(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7420)),
            data_dir: PathBuf::from("./lucius-data"),
            registry: PathBuf::from("./registry"),
            public_url: String::new(),
            ledger: Ledger::default(),
            bus: Bus::default(),
            timing: Timing::default(),
            limits: Limits::default(),
            retention: Retention::default(),
            refs: Refs::default(),
            auth: Auth::default(),
            plugins: Plugins::default(),
            routing: Routing::default(),
            worker: Worker::default(),
            embedding: Embedding::default(),
            sis: Sis::default(),
            log: Log::default(),
        }
    }
}
