//! What the callers, the writer and the lock watcher have in common: the index behind one lock.

use std::fmt;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use lucius_ports::clock::Clock;
use tokio::sync::oneshot;

use crate::index::{Index, State};
use crate::settings::{Fault, Settings};
use crate::writer::{Ask, Reply};

/// Held by everyone who works on the bus.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    index: Mutex<Index>,
    asks: Sender<Ask>,
    /// Told when there is a first lock to watch, and when the bus closes.
    watch: Condvar,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(
        settings: Settings,
        clock: Arc<dyn Clock>,
        index: Index,
        asks: Sender<Ask>,
    ) -> Self {
        Self {
            settings,
            clock,
            index: Mutex::new(index),
            asks,
            watch: Condvar::new(),
        }
    }

    /// The index, to look at. Whoever panicked with it in hand left it whole: no method of it panics half-way.
    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the index and wakes whom that concerns.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Index) -> T) -> T {
        let mut index = self.index();
        let (was_dirty, had_deadlines) = (index.is_dirty(), index.has_deadlines());
        let result = change(&mut index);
        let dirtied = !was_dirty && index.is_dirty();
        let first_deadline = !had_deadlines && index.has_deadlines();
        drop(index);
        if dirtied {
            self.tell(Ask::Tick);
        }
        if first_deadline {
            self.watch.notify_one();
        }
        result
    }

    /// Asks the writer and waits for its answer. What was asked happens also when the caller goes away.
    pub(crate) async fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T, Fault> {
        let (reply, answer) = oneshot::channel();
        self.tell(ask(reply));
        answer.await.unwrap_or(Err(Fault::Closing))
    }

    /// Tells the writer something. One that has ended needs to know nothing any more.
    pub(crate) fn tell(&self, ask: Ask) {
        if self.asks.send(ask).is_err() {
            tracing::debug!("the bus is closed");
        }
    }

    /// Takes no more sends and hands nothing out; what is locked can still be settled.
    pub(crate) fn close(&self) {
        let mut index = self.index();
        if !matches!(index.state, State::Broken(_)) {
            index.state = State::Closing;
        }
        index.wake_all();
        drop(index);
        self.watch.notify_one();
    }

    /// Ends locks when they are over, until the bus closes. Sleeps exactly until the next one is: all locks last
    /// equally long, so that a new one never ends before those it joins.
    pub(crate) fn watch_locks(&self) {
        let mut index = self.index();
        while index.usable().is_ok() {
            let was_dirty = index.is_dirty();
            let next = index.expire(Instant::now());
            if !was_dirty && index.is_dirty() {
                self.tell(Ask::Tick);
            }
            index = match next {
                None => self
                    .watch
                    .wait(index)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let wait = at.saturating_duration_since(Instant::now());
                    self.watch
                        .wait_timeout(index, wait)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
    }
}
