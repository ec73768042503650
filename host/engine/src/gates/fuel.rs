//! How much work plugins may do for one tenant.
//!
//! Limits on a call bound one call; a tenant could still keep every plugin thread busy with many that stay just below
//! them. So each tenant has a budget of fuel that refills with time. What its calls cost is taken from it afterwards,
//! whatever for: a settle or route of a job that was accepted is never refused, but puts the tenant into debt, and new
//! commands wait until that is paid. The budget is this host's own and begins full at each start.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lucius_domain::id::TenantId;
use lucius_domain::time::Timestamp;

use crate::refusal::Refusal;

/// A budget that was not used for so long is full; the same long a tenant waits at most for its debts.
const SECONDS_KEPT: i64 = 10;
/// With more tenants than this, those are forgotten whose budget is full.
const TENANTS_KEPT: usize = 10_000;

/// The budgets of one host.
pub(crate) struct Budgets {
    per_second: AtomicI64,
    of: Mutex<HashMap<TenantId, Budget>>,
}

#[derive(Clone, Copy)]
struct Budget {
    /// Negative in debt.
    left: i64,
    at: Timestamp,
}

impl Budgets {
    /// Budgets that refill with so much fuel a second.
    pub(crate) fn new(per_second: u64) -> Self {
        Self {
            per_second: AtomicI64::new(bounded(per_second)),
            of: Mutex::default(),
        }
    }

    /// Refills with so much a second from now on. What is left and what is owed stay, up to what is kept of either.
    pub(crate) fn set_per_second(&self, per_second: u64) {
        self.per_second
            .store(bounded(per_second), Ordering::Relaxed);
    }

    fn per_second(&self) -> i64 {
        self.per_second.load(Ordering::Relaxed)
    }

    fn full(&self) -> i64 {
        self.per_second() * SECONDS_KEPT
    }

    /// Lets a new command in while its tenant is not in debt.
    ///
    /// # Errors
    /// TENANT_FUEL_LIMIT, and when the debt is paid.
    pub(crate) fn check(&self, tenant: &TenantId, now: Timestamp) -> Result<(), Refusal> {
        let left = match self.lock().get(tenant) {
            Some(budget) => self.refilled(*budget, now).left,
            None => return Ok(()),
        };
        if left > 0 {
            return Ok(());
        }
        let missing = u64::try_from(1 - left).unwrap_or(u64::MAX);
        let per_second = u64::try_from(self.per_second()).unwrap_or(0).max(1);
        Err(Refusal::TenantFuelLimit {
            tenant: tenant.to_string(),
            limit: per_second,
            retry_after: Duration::from_secs(missing.div_ceil(per_second)),
        })
    }

    /// Takes what a call has cost.
    pub(crate) fn spend(&self, tenant: &TenantId, fuel: u64, now: Timestamp) {
        let mut of = self.lock();
        if of.len() >= TENANTS_KEPT && !of.contains_key(tenant) {
            of.retain(|_, budget| self.refilled(*budget, now).left < self.full());
        }
        let full = Budget {
            left: self.full(),
            at: now,
        };
        let budget = of.entry(tenant.clone()).or_insert(full);
        let fuel = i64::try_from(fuel).unwrap_or(i64::MAX);
        *budget = self.refilled(*budget, now);
        budget.left = budget.left.saturating_sub(fuel).max(-self.full());
    }

    fn refilled(&self, budget: Budget, now: Timestamp) -> Budget {
        let ms = budget.at.until(now).as_millis();
        let ms = i64::try_from(ms)
            .unwrap_or(i64::MAX)
            .min(2 * SECONDS_KEPT * 1_000);
        // Below a few ten thousand years of fuel, see `bounded`.
        let more = i128::from(self.per_second()) * i128::from(ms) / 1_000;
        let more = i64::try_from(more).unwrap_or(i64::MAX);
        let full = self.full();
        Budget {
            left: budget.left.max(-full).saturating_add(more).min(full),
            at: budget.at.max(now),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Budget>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// So much that no sum of what is kept overflows.
fn bounded(per_second: u64) -> i64 {
    let most = i64::MAX / (2 * SECONDS_KEPT);
    i64::try_from(per_second).unwrap_or(most).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name.to_owned())
    }

    #[test]
    fn a_tenant_in_debt_waits_until_it_is_paid_and_others_do_not() {
        let budgets = Budgets::new(100);
        let (acme, other) = (tenant("acme"), tenant("other"));
        budgets.spend(&acme, 1_200, Timestamp(0));
        let Err(Refusal::TenantFuelLimit { retry_after, .. }) = budgets.check(&acme, Timestamp(0))
        else {
            panic!("it is let in")
        };
        assert_eq!(retry_after, Duration::from_secs(3));
        assert!(budgets.check(&other, Timestamp(0)).is_ok());
        assert!(budgets.check(&acme, Timestamp(2_000)).is_err());
        assert!(budgets.check(&acme, Timestamp(2_010)).is_ok());
    }

    #[test]
    fn neither_credit_nor_debt_grows_without_end() {
        let budgets = Budgets::new(100);
        let acme = tenant("acme");
        budgets.spend(&acme, u64::MAX, Timestamp(0));
        budgets.spend(&acme, u64::MAX, Timestamp(0));
        assert!(budgets.check(&acme, Timestamp(10_010)).is_ok());
        let year = 365 * 24 * 3_600 * 1_000;
        budgets.spend(&acme, 1_000, Timestamp(year));
        assert!(budgets.check(&acme, Timestamp(year)).is_err());
    }

    #[test]
    fn a_clock_that_jumps_back_refills_nothing() {
        let budgets = Budgets::new(100);
        let acme = tenant("acme");
        budgets.spend(&acme, 1_000, Timestamp(5_000));
        assert!(budgets.check(&acme, Timestamp(0)).is_err());
        budgets.spend(&acme, 0, Timestamp(0));
        assert!(budgets.check(&acme, Timestamp(5_000)).is_err());
    }

    #[test]
    fn tenants_with_a_full_budget_are_forgotten_when_there_are_many() {
        let budgets = Budgets::new(100);
        for n in 0..TENANTS_KEPT {
            budgets.spend(&tenant(&n.to_string()), 1, Timestamp(0));
        }
        budgets.spend(&tenant("late"), 1, Timestamp(1_000));
        assert_eq!(budgets.lock().len(), 1);
    }

    #[test]
    fn the_largest_budget_overflows_nowhere() {
        let budgets = Budgets::new(u64::MAX);
        let acme = tenant("acme");
        budgets.spend(&acme, u64::MAX, Timestamp(i64::MIN));
        budgets.spend(&acme, u64::MAX, Timestamp(i64::MAX));
        let _ = budgets.check(&acme, Timestamp(i64::MAX));
    }
}
