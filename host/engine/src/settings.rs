//! What an operator can set about the pipeline, already checked.

use std::time::Duration;

use lucius_domain::contract::RefRules;
use lucius_domain::retry::Timing;
use lucius_domain::routing::Mode;
use lucius_ports::plugin;

use crate::fleet;
use crate::registry;
use crate::retention::Retention;

/// The settings of one host.
#[derive(Clone)]
pub struct Settings {
    /// Waits and budgets, where a protocol does not set its own.
    pub timing: Timing,
    /// How often the sweepers and the outbox scan look for what hints missed.
    pub sweep_interval: Duration,
    /// When to say no.
    pub limits: Limits,
    /// The mode of jobs that neither ask for one nor belong to a tenant that has one.
    pub default_mode: Mode,
    /// Which references are let in.
    pub refs: RefRules,
    /// What any plugin may use at most; its own registry entry may ask for less.
    pub plugin_cap: plugin::Limits,
    /// How the registry is reloaded.
    pub registry: registry::Settings,
    /// The base URL under which services reach this host's callbacks.
    pub callback_base: String,
    /// The root under which services write.
    pub workspace_ref: String,
    /// The key of the callback tokens. Hosts that share a ledger share it.
    pub token_key: [u8; 32],
    /// What this host is among others on the same ledger.
    pub fleet: fleet::Settings,
    /// How long what is over is kept.
    pub retention: Retention,
    /// How many directives are published at once.
    pub publish_concurrency: usize,
    /// How long a directive that the bus has taken waits for a callback before SENT is committed. A callback proves
    /// that it was sent, so the ACK of a service that is ready saves that commit; zero commits at once.
    pub sent_delay: Duration,
}

impl Settings {
    /// The defaults, for a host at this address (`host:port`) that has its ledger to itself, with this key for its
    /// callback tokens. SENT is committed at once.
    pub fn alone(address: &str, token_key: [u8; 32]) -> Self {
        Self {
            timing: Timing::default(),
            sweep_interval: Duration::from_secs(1),
            limits: Limits::default(),
            default_mode: Mode::Default,
            refs: RefRules::default(),
            plugin_cap: plugin::Limits::default(),
            registry: registry::Settings::default(),
            callback_base: format!("http://{address}/"),
            workspace_ref: "file:///workspace/".to_owned(),
            token_key,
            fleet: fleet::Settings::alone(fleet::HostId("host".to_owned()), address.to_owned()),
            retention: Retention::default(),
            publish_concurrency: 8,
            sent_delay: Duration::ZERO,
        }
    }
}

/// When to say no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Jobs in flight for each tenant, unless the registry sets the tenant's own.
    pub tenant_inflight: u64,
    /// Jobs in flight in all.
    pub global_inflight: u64,
    /// Jobs in flight in mode BURST.
    pub burst_inflight: u64,
    /// Directives in one lane that wait to be published.
    pub outbox_backlog: u64,
    /// What plugins may work for each tenant, in wasmtime fuel a second.
    pub tenant_fuel_per_second: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tenant_inflight: 100,
            global_inflight: 10_000,
            burst_inflight: 5_000,
            outbox_backlog: 10_000,
            tenant_fuel_per_second: 2_000_000_000,
        }
    }
}
