//! What plugins may use, and how they are replaced.

use std::time::Duration;

use lucius_engine::registry::{Options, Settings as RegistrySettings, Threshold};
use lucius_ports::plugin::Limits as PluginLimits;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

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
    pub breaker_payloads: NonZeroUsize,
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
fn breaker_payloads() -> NonZeroUsize {
    let payloads = Threshold::default().payloads;
    NonZeroUsize::new(payloads).unwrap_or(NonZeroUsize::MIN)
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
