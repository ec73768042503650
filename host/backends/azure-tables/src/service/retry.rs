//! When to try again, and when to stop.
//!
//! Waits double from one try to the next and are drawn at random below that, so that many who were refused together do
//! not come back together. A budget keeps retries a small share of all requests: when the service is down, a host adds
//! no load of its own to what is wrong.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// How to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Tries in all, the first included.
    pub tries: u32,
    /// The longest first wait; it doubles with each further one.
    pub base: Duration,
    /// The longest wait, also when the service asks for a longer one.
    pub cap: Duration,
    /// How many retries may be made at once without successes between them.
    pub budget: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            tries: 6,
            base: Duration::from_millis(100),
            cap: Duration::from_secs(5),
            budget: 100,
        }
    }
}

/// What one retry takes, in the budget's own coin; a success gives back one, so that in the long run one request in
/// ten may be a retry.
const PRICE: i64 = 10;

/// Retries that may still be made.
#[derive(Debug)]
pub(super) struct Budget {
    left: AtomicI64,
    full: i64,
}

impl Budget {
    pub(super) fn new(retries: u32) -> Self {
        let full = i64::from(retries) * PRICE;
        Self {
            left: AtomicI64::new(full),
            full,
        }
    }

    /// Takes one retry; false when there is none left.
    pub(super) fn take(&self) -> bool {
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                (left >= PRICE).then_some(left - PRICE)
            });
        taken.is_ok()
    }

    /// Notes a success.
    pub(super) fn refill(&self) {
        let full = self.full;
        // It is full already when nothing is put in.
        let _ = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                (left < full).then_some(left + 1)
            });
    }
}

impl Retry {
    /// How long to wait after the `failed`-th try (from 1): at random below a bound that doubles, and no shorter than
    /// the service asked for.
    pub(super) fn wait(&self, failed: u32, asked: Option<Duration>, random: u128) -> Duration {
        let doubled = self
            .base
            .saturating_mul(2_u32.saturating_pow(failed.saturating_sub(1)));
        let bound = u64::try_from(doubled.min(self.cap).as_millis()).unwrap_or(u64::MAX);
        let drawn = random % u128::from(bound.max(1));
        let drawn = Duration::from_millis(u64::try_from(drawn).unwrap_or(bound));
        drawn.max(asked.unwrap_or_default()).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_cap_and_are_drawn_at_random() {
        let retry = Retry::default();
        for (failed, below_ms) in [(1, 100), (2, 200), (5, 1_600), (7, 5_000), (40, 5_000)] {
            let longest = retry.wait(failed, None, u128::from(below_ms - 1_u64));
            assert_eq!(longest, Duration::from_millis(below_ms - 1));
            assert_eq!(
                retry.wait(failed, None, u128::from(below_ms)),
                Duration::ZERO
            );
        }
    }

    #[test]
    fn a_wait_that_the_service_asks_for_is_honoured_up_to_the_cap() {
        let retry = Retry::default();
        let asked = |seconds| retry.wait(1, Some(Duration::from_secs(seconds)), 0);
        assert_eq!(asked(3), Duration::from_secs(3));
        assert_eq!(asked(300), Duration::from_secs(5));
    }

    #[test]
    fn a_service_that_is_down_uses_the_budget_up_and_successes_fill_it_again() {
        let budget = Budget::new(2);
        assert!(budget.take() && budget.take());
        assert!(!budget.take());
        (0..PRICE).for_each(|_| budget.refill());
        assert!(budget.take());
        assert!(!budget.take());
        (0..1_000).for_each(|_| budget.refill());
        assert!(budget.take() && budget.take());
        assert!(!budget.take(), "no more than it began with");
    }
}
