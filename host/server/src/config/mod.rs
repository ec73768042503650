//! Settings: defaults, then a TOML file, then `LUCIUS_*` variables, then flags. Unknown keys are refused.
//!
//! A variable is named after its key: `[timing] ack_timeout_ms` is `LUCIUS_TIMING_ACK_TIMEOUT_MS`. Lists are written as
//! in TOML: `LUCIUS_TIMING_RETRY_BACKOFF_MS="[100, 200]"`.

mod access;
mod limits;
mod load;
mod plugins;
mod stores;
mod timing;
mod worker;

use std::net::SocketAddr;
use std::path::PathBuf;

use lucius_domain::routing::Mode;
use serde::{Deserialize, Serialize};

pub use access::{Auth, AuthMode, Refs};
pub use limits::Limits;
pub use load::Error;
pub use plugins::Plugins;
pub use stores::{Bus, BusBackend, Fleet, Ledger, LedgerBackend};
pub use timing::{Retention, Timing};
pub use worker::{Embedding, RecordBackend, Sis, Worker};

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
    /// Hosts that share a ledger.
    pub fleet: Fleet,
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
    /// Traces.
    pub telemetry: Telemetry,
}

/// How jobs travel.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Routing {
    /// The mode of jobs that neither ask for one nor belong to a tenant that has one.
    pub default_mode: Mode,
}

/// The log.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// What is logged, as in `RUST_LOG`: `info`, `lucius=debug,warn`.
    pub filter: String,
}

/// Traces.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// The base URL of an OTLP collector, as `http://127.0.0.1:4318`; nothing is traced when it is empty.
    pub otlp_endpoint: String,
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
            fleet: Fleet::default(),
            refs: Refs::default(),
            auth: Auth::default(),
            plugins: Plugins::default(),
            routing: Routing::default(),
            worker: Worker::default(),
            embedding: Embedding::default(),
            sis: Sis::default(),
            log: Log::default(),
            telemetry: Telemetry::default(),
        }
    }
}
