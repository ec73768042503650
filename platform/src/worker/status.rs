//! How a worker is, for whoever watches over it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Shared by the worker and whoever asks.
#[derive(Debug, Default)]
pub struct Status {
    bus_answers: AtomicBool,
    stopping: AtomicBool,
    in_hand: AtomicUsize,
}

impl Status {
    /// Whether the bus answered when it was last asked.
    pub fn bus_answers(&self) -> bool {
        self.bus_answers.load(Ordering::Relaxed)
    }

    /// Whether it was told to stop: what is in hand may end, and nothing new starts.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Attempts that it has: at work, or waiting for a slot.
    pub fn in_hand(&self) -> usize {
        self.in_hand.load(Ordering::Relaxed)
    }

    pub(super) fn note_bus(&self, answers: bool) {
        self.bus_answers.store(answers, Ordering::Relaxed);
    }

    pub(super) fn note_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// One attempt more, until what is returned is dropped.
    pub(super) fn take(&self) -> InHand<'_> {
        self.in_hand.fetch_add(1, Ordering::Relaxed);
        InHand(self)
    }
}

/// An attempt in hand.
pub(super) struct InHand<'a>(&'a Status);

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.in_hand.fetch_sub(1, Ordering::Relaxed);
    }
}
