//! Waits between tries: doubling, bounded, and jittered so that many workers that lost the same
//! host do not come back to it in step.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::Timing;

/// The waits after calls that failed in a row.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    first: Duration,
    longest: Duration,
}

impl Backoff {
    pub(super) const fn new(timing: &Timing) -> Self {
        Self {
            next: timing.retry_first,
            first: timing.retry_first,
            longest: timing.retry_longest,
        }
    }

    /// The wait before the next try: a random half to whole of the doubling value, and no less than
    /// what the host asked for, as far as that stays within the longest wait.
    pub(super) fn wait(&mut self, asked: Option<Duration>) -> Duration {
        // A fresh hasher's keys are random, which is all that jitter needs.
        let random = RandomState::new().hash_one(0_u8) % 1_000;
        let share = 0.5 + f64::from(u32::try_from(random).unwrap_or(0)) / 2_000.0;
        let wait = self.next.mul_f64(share);
        self.next = self.next.saturating_mul(2).min(self.longest);
        wait.max(asked.unwrap_or_default().min(self.longest))
    }

    /// A call went through.
    pub(super) const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_again() {
        let timing = Timing {
            retry_first: Duration::from_millis(100),
            retry_longest: Duration::from_millis(300),
            ..Timing::default()
        };
        let mut backoff = Backoff::new(&timing);
        for ceiling in [100, 200, 300, 300] {
            let wait = backoff.wait(None).as_millis();
            assert!(
                (ceiling / 2..=ceiling).contains(&wait),
                "{wait} of {ceiling}"
            );
        }
        assert_eq!(backoff.wait(Some(Duration::from_secs(60))).as_millis(), 300);
        backoff.reset();
        assert!(backoff.wait(None).as_millis() <= 100);
    }
}
