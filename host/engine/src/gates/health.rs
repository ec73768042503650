//! Whether ledger and bus take what they are given, and saying no at once while they do not.
//!
//! A store that hangs or fails makes every command wait for the same bad answer, and a bus that is away uses up the
//! publishes of every job that is let in. So what is written is watched ([`watched`]): after [`FAILURES`] failures in a row
//! over at least [`LASTING_MS`] the store counts as sick, and new commands are refused at once. One is let through
//! every [`PROBE_MS`] to try; for the bus, which commands do not touch, the host asks whether it is there. The first
//! write that works, whoever makes it, ends it. Only writes count: a full disk still reads.

mod watched;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lucius_domain::time::Timestamp;
use lucius_ports::bus::Bus;
use lucius_ports::clock::Clock;
use lucius_ports::ledger::Ledger;

use watched::Watched;

/// How many failures in a row ...
pub const FAILURES: u32 = 8;
/// ... over how long make a store sick, in milliseconds.
pub const LASTING_MS: u64 = 2_000;
/// How often somebody tries whether it is well again, in milliseconds.
pub const PROBE_MS: u64 = 1_000;

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// Jobs.
    Ledger,
    /// Directives.
    Bus,
}

impl Store {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Bus => "bus",
        }
    }
}

/// How a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Which one.
    pub store: Store,
    /// Since when every write fails; nothing when the last one worked.
    pub failing_since: Option<Timestamp>,
    /// True while commands are refused for it.
    pub is_sick: bool,
    /// Commands that were refused for it since the host started.
    pub refused: u64,
}

/// The health of what one host writes to.
pub struct Health {
    clock: Arc<dyn Clock>,
    ledger: Mutex<Pulse>,
    bus: Mutex<Pulse>,
}

#[derive(Debug, Default)]
struct Pulse {
    failures: u32,
    since: Option<Timestamp>,
    probed_at: Option<Timestamp>,
    refused: u64,
}

/// What is to be done with somebody who wants to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    Welcome,
    /// It is sick, and this one is to try.
    Probe,
    Refused,
}

impl Pulse {
    fn is_sick(&self, now: Timestamp) -> bool {
        let lasting = self
            .since
            .is_some_and(|since| since.plus_ms(LASTING_MS) <= now);
        self.failures >= FAILURES && lasting
    }

    fn beat(&mut self, worked: bool, now: Timestamp) {
        if worked {
            self.failures = 0;
            self.since = None;
            self.probed_at = None;
        } else {
            self.failures = self.failures.saturating_add(1);
            self.since = self.since.or(Some(now));
        }
    }

    fn admit(&mut self, now: Timestamp) -> Admission {
        if !self.is_sick(now) {
            return Admission::Welcome;
        }
        let is_due = self
            .probed_at
            .is_none_or(|at| at.plus_ms(PROBE_MS) <= now || now < at);
        if is_due {
            self.probed_at = Some(now);
            return Admission::Probe;
        }
        self.refused += 1;
        Admission::Refused
    }
}

impl Health {
    /// Both are well.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            clock,
            ledger: Mutex::default(),
            bus: Mutex::default(),
        })
    }

    /// The ledger, with its writes watched.
    pub fn ledger(self: &Arc<Self>, inner: Arc<dyn Ledger>) -> Arc<dyn Ledger> {
        Arc::new(Watched::new(self, inner))
    }

    /// The bus, watched.
    pub fn bus(self: &Arc<Self>, inner: Arc<dyn Bus>) -> Arc<dyn Bus> {
        Arc::new(Watched::new(self, inner))
    }

    /// How both are.
    pub fn conditions(&self) -> [Condition; 2] {
        let now = self.clock.now();
        [Store::Ledger, Store::Bus].map(|store| {
            let pulse = self.pulse(store);
            Condition {
                store,
                failing_since: pulse.since,
                is_sick: pulse.is_sick(now),
                refused: pulse.refused,
            }
        })
    }

    /// False when a command is to be refused, since the ledger is sick.
    pub(crate) fn ledger_admits(&self) -> bool {
        let admission = self.pulse(Store::Ledger).admit(self.clock.now());
        admission != Admission::Refused
    }

    /// False when a command is to be refused, since the bus is sick. Asks the bus every now and then.
    pub(crate) async fn bus_admits(&self, bus: &dyn Bus) -> bool {
        let admission = self.pulse(Store::Bus).admit(self.clock.now());
        match admission {
            Admission::Welcome => true,
            Admission::Refused => false,
            Admission::Probe => {
                let is_there = bus.check().await.is_ok();
                if is_there {
                    self.beat(Store::Bus, true);
                } else {
                    self.pulse(Store::Bus).refused += 1;
                }
                is_there
            }
        }
    }

    fn beat(&self, store: Store, worked: bool) {
        let now = self.clock.now();
        let mut pulse = self.pulse(store);
        let was_sick = pulse.is_sick(now);
        pulse.beat(worked, now);
        let is_sick = pulse.is_sick(now);
        drop(pulse);
        let store = store.as_str();
        match (was_sick, is_sick) {
            (false, true) => tracing::error!(
                store,
                "every write fails: new commands are refused until one works"
            ),
            (true, false) => tracing::info!(store, "writes work again: commands are taken"),
            (true, true) | (false, false) => {}
        }
    }

    fn pulse(&self, store: Store) -> MutexGuard<'_, Pulse> {
        let pulse = match store {
            Store::Ledger => &self.ledger,
            Store::Bus => &self.bus,
        };
        pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_sick_after_many_failures_over_some_time_and_well_after_one_success() {
        let mut pulse = Pulse::default();
        for ms in 0..100 {
            pulse.beat(false, Timestamp(ms));
        }
        assert_eq!(pulse.admit(Timestamp(1_999)), Admission::Welcome);
        assert_eq!(pulse.admit(Timestamp(2_000)), Admission::Probe);
        assert_eq!(pulse.admit(Timestamp(2_001)), Admission::Refused);
        assert_eq!(pulse.admit(Timestamp(3_000)), Admission::Probe);
        pulse.beat(true, Timestamp(3_001));
        assert_eq!(pulse.admit(Timestamp(3_002)), Admission::Welcome);
        assert_eq!(pulse.refused, 1);
    }

    #[test]
    fn a_few_failures_make_nobody_sick_however_long_ago() {
        let mut pulse = Pulse::default();
        for _ in 1..FAILURES {
            pulse.beat(false, Timestamp(0));
        }
        assert_eq!(pulse.admit(Timestamp(1 << 40)), Admission::Welcome);
    }
}
