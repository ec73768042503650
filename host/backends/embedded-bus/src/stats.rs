//! Numbers for the metrics.

use lucius_domain::routing::Lane;

/// The bus at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// All subscriptions that were ever used since the start, in that order.
    pub subscriptions: Vec<Subscription>,
    /// Bodies and properties held in memory, in bytes.
    pub content_bytes: usize,
    /// What was written since the start.
    pub written: Written,
}

/// What the writer has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Messages that were sent.
    pub messages: u64,
    /// Transactions, each with one sync.
    pub transactions: u64,
}

/// One service in one lane, in messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The lane.
    pub lane: Lane,
    /// The service.
    pub service: String,
    /// Waiting for a receiver.
    pub ready: usize,
    /// Held by a receiver.
    pub locked: usize,
    /// In the dead-letter queue.
    pub dead: usize,
}
