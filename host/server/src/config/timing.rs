//! Waits and budgets, and how long what is over is kept.

use std::time::Duration;

use lucius_domain::retry::Timing as JobTiming;
use lucius_engine::retention::Retention as EngineRetention;
use serde::{Deserialize, Serialize};

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

/// How long what is over is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// For how long a job is kept once it is over, in milliseconds; 0 for ever. Its idempotency key goes with it.
    pub keep_ms: u64,
    /// For how long the audit trail is kept, in milliseconds; 0 for ever.
    pub audit_keep_ms: u64,
    /// How many jobs, and how many entries of the trail, a second are deleted at most.
    pub deletes_per_second: u32,
}

impl Default for Retention {
    fn default() -> Self {
        let EngineRetention {
            keep,
            keep_audit,
            deletes_per_second,
        } = EngineRetention::default();
        let ms = |keep: Option<Duration>| {
            keep.map_or(0, |keep| u64::try_from(keep.as_millis()).unwrap_or(0))
        };
        Self {
            keep_ms: ms(keep),
            audit_keep_ms: ms(keep_audit),
            deletes_per_second,
        }
    }
}

impl Retention {
    /// As the engine takes it.
    pub fn of_engine(&self) -> EngineRetention {
        let keep = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
        EngineRetention {
            keep: keep(self.keep_ms),
            keep_audit: keep(self.audit_keep_ms),
            deletes_per_second: self.deletes_per_second,
        }
    }
}
