//! How fast places become free, and so when a refused client may come again.
//!
//! Places are counted in two windows, the current and the one before, so the rate is that of the last ten to twenty
//! seconds. Clients that are refused come again; each is told a later moment than the one before it in this window, so that they
//! come as fast as places become free and not all at once.

use std::time::Duration;

use lucius_domain::time::Timestamp;

const WINDOW_MS: u64 = 10_000;
/// What a client is told at least and at most.
const SOONEST: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(60);

/// What one gate let go and turned away.
#[derive(Clone, Debug, Default)]
pub(super) struct Drain {
    began: Option<Timestamp>,
    freed: u64,
    freed_before: u64,
    turned_away: u64,
}

impl Drain {
    /// Places became free.
    pub(super) fn freed(&mut self, now: Timestamp) {
        self.roll(now);
        self.freed += 1;
    }

    /// Somebody is turned away; when to come again.
    pub(super) fn turn_away(&mut self, now: Timestamp) -> Duration {
        self.roll(now);
        self.turned_away += 1;
        match self.per_second(now) {
            Some(rate) => {
                let places = u32::try_from(self.turned_away).unwrap_or(u32::MAX);
                Duration::try_from_secs_f64(f64::from(places) / rate)
                    .unwrap_or(LATEST)
                    .clamp(SOONEST, LATEST)
            }
            None => LATEST.min(SOONEST * u32::try_from(self.turned_away).unwrap_or(u32::MAX)),
        }
    }

    /// Places a second; nothing when none became free.
    pub(super) fn per_second(&self, now: Timestamp) -> Option<f64> {
        let began = self.began?;
        let since = began.until(now).as_secs_f64() + Duration::from_millis(WINDOW_MS).as_secs_f64();
        let freed = u32::try_from(self.freed + self.freed_before).unwrap_or(u32::MAX);
        (freed > 0).then(|| f64::from(freed) / since)
    }

    fn roll(&mut self, now: Timestamp) {
        let Some(began) = self.began else {
            self.began = Some(now);
            return;
        };
        let next = began.plus_ms(WINDOW_MS);
        if now < next {
            return;
        }
        // A window that nobody looked at had nothing in it.
        let skipped = now >= next.plus_ms(WINDOW_MS);
        self.freed_before = if skipped { 0 } else { self.freed };
        self.began = Some(if skipped { now } else { next });
        self.freed = 0;
        self.turned_away = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_to_come_as_fast_as_places_become_free() {
        let mut drain = Drain::default();
        let start = Timestamp(1_000_000);
        for place in 0..20 {
            drain.freed(start.plus_ms(place));
        }
        // 20 places in the ten seconds before: two a second.
        let later = start.plus_ms(WINDOW_MS);
        let told: Vec<u128> = (0..4).map(|_| drain.turn_away(later).as_millis()).collect();
        assert_eq!(told, [1_000, 1_000, 1_500, 2_000]);
    }

    #[test]
    fn a_gate_that_lets_nothing_go_is_asked_ever_later() {
        let mut drain = Drain::default();
        let now = Timestamp(1_000_000);
        let told: Vec<Duration> = (0..100).map(|_| drain.turn_away(now)).collect();
        assert_eq!(told[0], SOONEST);
        assert!(told.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(told[99], LATEST);
        assert_eq!(drain.turn_away(now.plus_ms(WINDOW_MS)), SOONEST);
    }

    #[test]
    fn what_was_long_ago_does_not_count() {
        let mut drain = Drain::default();
        drain.freed(Timestamp(0));
        drain.turn_away(Timestamp(5 * 10_000));
        assert_eq!(drain.per_second(Timestamp(5 * 10_000)), None);
    }
}
