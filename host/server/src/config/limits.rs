//! When to say no.

use lucius_engine::settings::Limits as EngineLimits;
use serde::{Deserialize, Serialize};

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
