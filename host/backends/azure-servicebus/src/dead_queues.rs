//! The dead-letter queues of the namespace. How many messages each holds is shown by the service's own tools, not here;
//! a message is taken out of one as of any subscription.

use async_trait::async_trait;
use lucius_domain::id::ServiceName;
use lucius_domain::routing::Lane;
use lucius_ports::bus::{Error, Subscription as _};
use lucius_ports::dead_queues::{DeadMessage, DeadQueue, DeadQueues};

use crate::ServiceBus;

#[async_trait]
impl DeadQueues for ServiceBus {
    /// None: the counts are the namespace's own to show.
    async fn dead_queues(&self) -> Result<Vec<DeadQueue>, Error> {
        Ok(Vec::new())
    }

    async fn take_dead(
        &self,
        lane: Lane,
        service: &ServiceName,
    ) -> Result<Option<DeadMessage>, Error> {
        let taken = self.subscription(lane, service).take_dead_letter().await?;
        Ok(taken.map(|received| DeadMessage {
            body: received.body,
            message_id: received.message_id,
            delivery_count: received.delivery_count,
        }))
    }
}
