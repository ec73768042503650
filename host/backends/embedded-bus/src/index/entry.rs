//! What the index is made of.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use lucius_domain::routing::Lane;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::message::Content;

/// One subscription of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct QueueId(pub(super) usize);

/// The subscription proper, or its dead-letter queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Active,
    Dead,
}

/// A line that receivers stand at.
pub(crate) type Place = (QueueId, Side);

/// What a settling call wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settle {
    Complete,
    Abandon,
    /// The lock now ends then.
    Renew(Instant),
}

/// What the file does not say yet about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Keep {
        delivery_count: u32,
        dead_reason: Option<Arc<str>>,
    },
    Delete,
}

/// A message handed to a receiver.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) sequence: u64,
    pub(crate) message_id: Arc<str>,
    pub(crate) token: Uuid,
    pub(crate) delivery_count: u32,
    pub(crate) enqueued_at: i64,
    pub(crate) dead_reason: Option<Arc<str>>,
    /// Nothing when it has to be read from the file.
    pub(crate) content: Option<Arc<Content>>,
}

/// Whether the bus can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    /// The last commit did not fit; the next may.
    Full(String),
    Broken(String),
    Closing,
}

#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) waiting: BTreeSet<u64>,
    pub(super) locked: usize,
    pub(super) arrived: Arc<Notify>,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) lane: Lane,
    pub(super) service: Arc<str>,
    pub(super) active: Line,
    pub(super) dead: Line,
    /// Ids of what is in the active line or locked from it: a second send of one of these is dropped.
    pub(super) ids: HashMap<Arc<str>, u64>,
}

impl Queue {
    pub(super) fn line(&mut self, side: Side) -> &mut Line {
        match side {
            Side::Active => &mut self.active,
            Side::Dead => &mut self.dead,
        }
    }
}

#[derive(Debug)]
pub(super) struct Lock {
    pub(super) token: Uuid,
    /// Nothing while a receive-and-delete waits for its commit, which ends it either way.
    pub(super) until: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) queue: QueueId,
    pub(super) message_id: Arc<str>,
    pub(super) content: Option<Arc<Content>>,
    pub(super) bytes: usize,
    pub(super) enqueued_at: i64,
    pub(super) delivery_count: u32,
    pub(super) dead_reason: Option<Arc<str>>,
    pub(super) lock: Option<Lock>,
}

impl Entry {
    pub(super) fn side(&self) -> Side {
        if self.dead_reason.is_some() {
            Side::Dead
        } else {
            Side::Active
        }
    }

    pub(super) fn change(&self) -> Change {
        Change::Keep {
            delivery_count: self.delivery_count,
            dead_reason: self.dead_reason.clone(),
        }
    }
}
