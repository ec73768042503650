//! Numbers for the metrics.

use lucius_domain::routing::Lane;

/// The bus at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// All subscriptions that were ever used since the start, in that order.
    pub subscriptions: Vec<Subscription>,
    /// Bodies and properties held in memory, in bytes.
    pub content_bytes: usize,
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
