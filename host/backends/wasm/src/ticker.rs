//! The clock behind every deadline: a thread that advances the engine's epoch once a millisecond.
//!
//! A guest's deadline is a number of ticks. Ticks are counted, not measured, so a host that was paused does not kill
//! the calls it was in the middle of. The thread sleeps while no guest runs: an idle host wakes nobody up.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::Engine;

/// The length of a tick.
const TICK: Duration = Duration::from_millis(1);
/// Ticks without a running guest before the thread goes to sleep; waking it costs more than a few ticks.
const IDLE_TICKS: u32 = 100;

/// Ticks that cover at least this many milliseconds; the first may be nearly over when a call starts.
pub(crate) fn ticks(milliseconds: u64) -> u64 {
    milliseconds.saturating_add(1)
}

/// The thread; it ends when this is dropped.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Says how many guests run.
#[derive(Clone)]
pub(crate) struct Running(Arc<Shared>);

/// While this lives, the epoch advances.
pub(crate) struct Ticking<'a>(&'a Shared);

#[derive(Default)]
struct Shared {
    running: AtomicUsize,
    asleep: AtomicBool,
    stopped: AtomicBool,
    // Guards nothing but the moment between looking at `running` and falling asleep.
    gate: Mutex<()>,
    wake: Condvar,
}

impl Ticker {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let seen = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("lucius-epoch".to_owned())
            .spawn(move || seen.tick(|| engine.increment_epoch()))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// For those who run guests.
    pub(crate) fn running(&self) -> Running {
        Running(Arc::clone(&self.shared))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.shared.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the epoch thread panicked");
        }
    }
}

impl Running {
    /// Keeps the epoch advancing until the answer is dropped.
    pub(crate) fn enter(&self) -> Ticking<'_> {
        // Sequentially consistent with `tick`: either this sees `asleep`, or the thread sees the new count.
        self.0.running.fetch_add(1, Ordering::SeqCst);
        if self.0.asleep.load(Ordering::SeqCst) {
            self.0.wake();
        }
        Ticking(&self.0)
    }
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    fn wake(&self) {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.wake.notify_all();
    }

    fn busy(&self) -> bool {
        self.running.load(Ordering::SeqCst) > 0
    }

    fn stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    fn tick(&self, mut advance: impl FnMut()) {
        let mut idle = 0;
        while !self.stopped() {
            idle = if self.busy() { 0 } else { idle + 1 };
            if idle > IDLE_TICKS {
                self.sleep();
                idle = 0;
            }
            std::thread::sleep(TICK);
            advance();
        }
    }

    fn sleep(&self) {
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.asleep.store(true, Ordering::SeqCst);
        while !self.busy() && !self.stopped() {
            gate = self.wake.wait(gate).unwrap_or_else(PoisonError::into_inner);
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}
