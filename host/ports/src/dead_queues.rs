//! The bus's dead-letter queues: messages that were delivered so often without being completed that the bus gave up
//! on them.

use async_trait::async_trait;
use lucius_domain::id::ServiceName;
use lucius_domain::routing::Lane;

use crate::bus::Error;

/// A dead-letter queue that holds something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadQueue {
    /// The lane, and so the topic.
    pub lane: Lane,
    /// The subscription.
    pub service: ServiceName,
    /// How many messages it holds.
    pub messages: u64,
}

/// A message that was taken out of a dead-letter queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadMessage {
    /// The body.
    pub body: String,
    /// As published.
    pub message_id: String,
    /// How often it was delivered.
    pub delivery_count: u32,
}

/// The dead-letter queues of all subscriptions.
#[async_trait]
pub trait DeadQueues: Send + Sync {
    /// Those that hold anything, by lane and then by service. [`Error::Refused`] when the bus does not show them to this
    /// host, which can take messages out of them all the same.
    async fn dead_queues(&self) -> Result<Vec<DeadQueue>, Error>;

    /// Takes the next message out of one of them, for good; nothing when it is empty.
    async fn take_dead(
        &self,
        lane: Lane,
        service: &ServiceName,
    ) -> Result<Option<DeadMessage>, Error>;
}
