//! How long to wait, and how often to try. The numbers come from the settings and are pinned in each job.

use serde::{Deserialize, Serialize};

/// The longest wait a plugin may ask for before another attempt: a day.
pub const MAX_RETRY_DELAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// The timings of one step, pinned when its job is accepted. All in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// How long to wait for the ACK of a directive that was sent.
    pub ack_ms: u64,
    /// How long an execution lease lasts; each heartbeat renews it.
    pub lease_ms: u64,
    /// How long one attempt may run from its first sign of life, however often it heartbeats. A lease that is longer
    /// wins.
    pub deadline_ms: u64,
    /// How many attempts a step may have; a redrive gives a fresh budget.
    pub max_attempts: u32,
    /// The waits before attempts 2, 3, 4 ...; the last one serves for all that follow.
    pub retry_backoff_ms: Vec<u64>,
    /// The waits between failed publishes of one attempt; when they are used up, the step ends.
    pub dispatch_backoff_ms: Vec<u64>,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            ack_ms: 30_000,
            lease_ms: 15 * 60_000,
            deadline_ms: 24 * 60 * 60_000,
            max_attempts: 3,
            retry_backoff_ms: vec![60_000, 5 * 60_000, 15 * 60_000],
            dispatch_backoff_ms: vec![30_000, 2 * 60_000, 10 * 60_000],
        }
    }
}

impl Timing {
    /// The wait after `failures` failures (from 1) of an attempt or of a plugin's decision.
    pub fn retry_wait_ms(&self, failures: u32) -> u64 {
        let index = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
        self.retry_backoff_ms
            .get(index)
            .or(self.retry_backoff_ms.last())
            .copied()
            .unwrap_or(0)
    }

    /// The wait after the `failures`-th failed publish (from 1) of one attempt; `None` when they are used up.
    pub fn publish_wait_ms(&self, failures: u32) -> Option<u64> {
        let index = usize::try_from(failures.checked_sub(1)?).ok()?;
        self.dispatch_backoff_ms.get(index).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_retry_wait_serves_for_all_that_follow() {
        let timing = Timing::default();
        let waits: Vec<u64> = (1..=5).map(|n| timing.retry_wait_ms(n)).collect();
        assert_eq!(waits, [60_000, 300_000, 900_000, 900_000, 900_000]);
    }

    #[test]
    fn publish_waits_are_used_up() {
        let timing = Timing::default();
        let waits: Vec<Option<u64>> = (0..=4).map(|n| timing.publish_wait_ms(n)).collect();
        assert_eq!(
            waits,
            [None, Some(30_000), Some(120_000), Some(600_000), None]
        );
    }
}
