//! What the writer has done, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the writer has done since the ledger was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Jobs created and versions replaced.
    pub commits: u64,
    /// Transactions, each with one sync; `commits / transactions` is what a sync serves.
    pub transactions: u64,
    /// Rows inserted, updated and deleted.
    pub rows: u64,
    /// Changes that were decided on another version.
    pub conflicts: u64,
    /// Transactions that failed; their callers were told that the ledger is unavailable, or their changes were
    /// written one by one.
    pub failures: u64,
    /// Requests that waited when the last batch was taken and did not fit into it.
    pub queue_depth: u64,
    /// Requests in the last batch.
    pub last_batch: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    commits: AtomicU64,
    transactions: AtomicU64,
    rows: AtomicU64,
    conflicts: AtomicU64,
    failures: AtomicU64,
    queue_depth: AtomicU64,
    last_batch: AtomicU64,
}

impl Counters {
    pub(crate) fn committed(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn conflicted(&self) {
        self.conflicts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn wrote(&self, rows: u64) {
        self.rows.store(rows, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn batch(&self, len: usize, waiting: usize) {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.last_batch
            .store(u64::try_from(len).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.queue_depth.store(
            u64::try_from(waiting).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    pub(crate) fn read(&self) -> Stats {
        Stats {
            commits: self.commits.load(Ordering::Relaxed),
            transactions: self.transactions.load(Ordering::Relaxed),
            rows: self.rows.load(Ordering::Relaxed),
            conflicts: self.conflicts.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            queue_depth: self.queue_depth.load(Ordering::Relaxed),
            last_batch: self.last_batch.load(Ordering::Relaxed),
        }
    }
}
