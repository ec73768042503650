//! Time, randomness and ids, so that the simulator and the tests own them.

use std::time::Duration;

use async_trait::async_trait;
use lucius_domain::id::{JobId, LeaseId};
use lucius_domain::time::Timestamp;

/// The wall clock, and waiting by it.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now. It may jump; whoever waits for a moment asks again.
    fn now(&self) -> Timestamp;

    /// Returns after about this long.
    async fn sleep(&self, duration: Duration);
}

/// Where ids come from.
pub trait Ids: Send + Sync {
    /// A new job id, a UUIDv7 of this moment.
    fn job_id(&self, now: Timestamp) -> JobId;

    /// A new lease id, a UUIDv4.
    fn lease_id(&self) -> LeaseId;
}
