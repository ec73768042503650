//! How a gate stands, for people to see. Of many tenants or lanes it shows the fullest one.

use std::cmp::Ordering;

use lucius_domain::id::TenantId;

use super::{OfTenant, Tally};
use crate::gates::drain::Drain;
use crate::gates::{Gate, Standing};
use crate::settings::Limits;

/// The limits that count: those of the host, and the own ones of tenants.
pub(in crate::gates) struct Kept<'a> {
    pub(in crate::gates) limits: Limits,
    pub(in crate::gates) tenant_limit: &'a dyn Fn(&TenantId) -> Option<u64>,
}

impl Tally {
    pub(in crate::gates) fn standing(&self, gate: Gate, kept: &Kept<'_>) -> Standing {
        let of_host = gate.limit(&kept.limits);
        let (fullest, used, limit, drain) = match gate {
            Gate::Tenant => match self.fullest_tenant(kept) {
                Some((tenant, it, limit)) => {
                    (Some(tenant.to_string()), it.jobs, limit, Some(&it.drain))
                }
                None => (None, 0, of_host, None),
            },
            Gate::Lane => match self.fullest_lane() {
                Some((lane, waiting, drain)) => {
                    (Some(lane.to_string()), waiting, of_host, Some(drain))
                }
                None => (None, 0, of_host, None),
            },
            Gate::Burst => (None, self.burst, of_host, Some(&self.burst_drain)),
            Gate::Global => (None, self.all, of_host, Some(&self.global_drain)),
        };
        Standing {
            gate,
            fullest,
            used,
            limit,
            refused: self.refused[gate as usize],
            freed_per_second: drain
                .and_then(|drain| drain.per_second(self.now))
                .unwrap_or(0.0),
        }
    }

    /// The tenant of which the greatest part of its own limit is taken, and that limit.
    fn fullest_tenant(&self, kept: &Kept<'_>) -> Option<(&TenantId, &OfTenant, u64)> {
        let tenants = self.by_tenant.iter().map(|(tenant, it)| {
            let own = (kept.tenant_limit)(tenant);
            (tenant, it, own.unwrap_or(kept.limits.tenant_inflight))
        });
        tenants.max_by(|(_, one, its_limit), (_, other, others_limit)| {
            by_fullness((one.jobs, *its_limit), (other.jobs, *others_limit))
        })
    }

    fn fullest_lane(&self) -> Option<(usize, u64, &Drain)> {
        let lanes = (0_usize..).zip(self.backlog).zip(&self.lanes);
        let (lane, waiting, drain) = lanes
            .map(|((lane, waiting), drain)| (lane, waiting, drain))
            .max_by_key(|(_, waiting, _)| *waiting)?;
        (waiting > 0).then_some((lane, waiting, drain))
    }
}

/// Compares used places of a limit by the part that is taken, without a division: a limit may be zero.
fn by_fullness(one: (u64, u64), other: (u64, u64)) -> Ordering {
    let of_one = u128::from(one.0) * u128::from(other.1);
    let of_other = u128::from(other.0) * u128::from(one.1);
    of_one.cmp(&of_other).then(one.0.cmp(&other.0))
}
