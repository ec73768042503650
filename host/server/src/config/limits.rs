//! When to say no.

use lucius_engine::settings::Limits as EngineLimits;
use serde::{Deserialize, Serialize};

/// When to say no.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Jobs in flight for each tenant.
    pub tenant_inflight: u64,
    /// Jobs in flight in all; when absent 10,000, or twice `burst_inflight` when that is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub global_inflight: Option<u64>,
    /// Jobs in flight in mode BURST; when absent half of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_inflight: Option<u64>,
    /// The largest request body, in bytes.
    pub body_bytes: usize,
    /// Directives in one lane that wait to be published.
    pub outbox_backlog: u64,
    /// Connections at the same time.
    pub connections: usize,
    /// Connections on top of these that only workers may use.
    pub worker_connections: usize,
    /// Requests of clients that are worked on at the same time.
    pub client_requests: usize,
    /// What plugins may work for each tenant, in wasmtime fuel a second.
    pub tenant_fuel_per_second: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let EngineLimits {
            tenant_inflight,
            global_inflight: _,
            burst_inflight: _,
            outbox_backlog,
            tenant_fuel_per_second,
        } = EngineLimits::default();
        Self {
            tenant_inflight,
            global_inflight: None,
            burst_inflight: None,
            body_bytes: 1 << 20,
            outbox_backlog,
            connections: 12_000,
            worker_connections: 1_000,
            client_requests: 2_048,
            tenant_fuel_per_second,
        }
    }
}

impl Limits {
    /// The part that the engine keeps.
    ///
    /// # Errors
    /// In one line, what cannot work and what to set instead.
    pub fn of_engine(&self) -> Result<EngineLimits, String> {
        let usual = EngineLimits::default().global_inflight;
        let (global_inflight, burst_inflight) = match (self.global_inflight, self.burst_inflight) {
            (None, None) => (usual, usual / 2),
            (None, Some(burst)) => (usual.max(burst.saturating_mul(2)), burst),
            (Some(global), None) => (global, (global / 2).max(1)),
            (Some(global), Some(burst)) if burst < global => (global, burst),
            (Some(global), Some(burst)) => {
                return Err(format!(
                    "limits.burst_inflight is {burst} and limits.global_inflight is {global}, so jobs in mode BURST could \
                     leave no place for others: set burst_inflight below {global}, or leave it out for half of that"
                ));
            }
        };
        let nothing = [
            (
                "global_inflight",
                global_inflight == 0,
                "use lucius pause everything to stop accepting",
            ),
            (
                "outbox_backlog",
                self.outbox_backlog == 0,
                "use lucius pause everything to stop accepting",
            ),
            (
                "body_bytes",
                self.body_bytes == 0,
                "the usual size is 1048576",
            ),
            (
                "connections",
                self.connections == 0,
                "the usual number is 12000",
            ),
            (
                "worker_connections",
                self.worker_connections == 0,
                "the usual number is 1000",
            ),
            (
                "client_requests",
                self.client_requests == 0,
                "the usual number is 2048",
            ),
        ];
        if let Some((name, _, remedy)) = nothing.iter().find(|(_, is_zero, _)| *is_zero) {
            return Err(format!(
                "limits.{name} is 0, so nothing could ever be taken: set at least 1; {remedy}"
            ));
        }
        Ok(EngineLimits {
            tenant_inflight: self.tenant_inflight,
            global_inflight,
            burst_inflight,
            outbox_backlog: self.outbox_backlog,
            tenant_fuel_per_second: self.tenant_fuel_per_second,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(global: Option<u64>, burst: Option<u64>) -> Result<(u64, u64), String> {
        let limits = Limits {
            global_inflight: global,
            burst_inflight: burst,
            ..Limits::default()
        };
        limits
            .of_engine()
            .map(|it| (it.global_inflight, it.burst_inflight))
    }

    #[test]
    fn burst_never_gets_all_places() {
        assert_eq!(resolved(None, None), Ok((10_000, 5_000)));
        assert_eq!(resolved(Some(8), None), Ok((8, 4)));
        assert_eq!(resolved(None, Some(100)), Ok((10_000, 100)));
        assert_eq!(resolved(None, Some(9_000)), Ok((18_000, 9_000)));
        assert_eq!(resolved(Some(3), Some(2)), Ok((3, 2)));
        for burst in [3, 4] {
            let refused = resolved(Some(3), Some(burst)).expect_err("no place is left");
            assert!(
                refused.contains("below 3") && !refused.contains('\n'),
                "{refused}"
            );
        }
        assert!(resolved(Some(0), None).is_err());
    }
}
