//! The bus that carries directives to services.
//!
//! The host only publishes. The receiving verbs are those of a peek-lock subscription; services use them over the
//! Service Bus REST calls, and the conformance suite uses them to see that what went in comes out.

use std::time::Duration;

use async_trait::async_trait;
use lucius_domain::id::{AttemptNo, JobId, ServiceName, StepId, TenantId};
use lucius_domain::routing::{Lane, Mode};

/// A message to one service in one lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `{jobId}:{stepId}:{attempt_no}`: the same publish tried again keeps it, so a broker may drop the copy.
    pub message_id: String,
    /// The lane, and so the topic.
    pub lane: Lane,
    /// The key that chose the lane; the session or partition where the entity uses one.
    pub routing_key: String,
    /// Which subscription it is for.
    pub service: ServiceName,
    /// The job's mode.
    pub mode: Mode,
    /// Who the job belongs to.
    pub tenant_id: TenantId,
    /// The job.
    pub job_id: JobId,
    /// The step.
    pub step_id: StepId,
    /// The attempt.
    pub attempt_no: AttemptNo,
    /// The directive as JSON.
    pub body: String,
}

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The same may work later; also when it is not known whether the message arrived.
    #[error("the bus did not take the message: {0}")]
    Unavailable(String),
    /// This message will never be taken: too large, no such topic.
    #[error("the bus refuses the message: {0}")]
    Refused(String),
}

/// The host's side of the bus.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Returns once the message is durable. A second call with the same `message_id` may deliver it twice.
    async fn publish(&self, message: &Message) -> Result<(), Error>;

    /// Says whether messages can be published now, for readiness.
    async fn check(&self) -> Result<(), Error>;
}

/// A message that a receiver holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The body.
    pub body: String,
    /// As published.
    pub message_id: String,
    /// Settles this delivery, and no other.
    pub lock_token: String,
    /// How often it was delivered, this time included, from 1.
    pub delivery_count: u32,
    /// Its place in the topic.
    pub sequence_number: u64,
}

/// What settling a delivery came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is done.
    Done,
    /// The lock is gone; someone else may have the message.
    LockLost,
}

/// A service's side of the bus: one subscription of one topic.
#[async_trait]
pub trait Subscription: Send + Sync {
    /// Locks the next message and returns it, or nothing after `wait`.
    async fn peek_lock(&self, wait: Duration) -> Result<Option<Received>, Error>;

    /// Removes a message for good.
    async fn complete(&self, received: &Received) -> Result<Settled, Error>;

    /// Gives a message back, for anyone to take at once.
    async fn abandon(&self, received: &Received) -> Result<Settled, Error>;

    /// Keeps the lock for another lock duration.
    async fn renew(&self, received: &Received) -> Result<Settled, Error>;

    /// Takes the next message out of the dead-letter queue.
    async fn take_dead_letter(&self) -> Result<Option<Received>, Error>;
}
