//! The bus as the engine sees it, without HTTP in between.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use lucius_domain::id::ServiceName;
use lucius_domain::routing::Lane;
use lucius_ports::bus::{Bus, Error, Message, Received, Settled, Subscription};
use lucius_ports::dead_queues::{DeadMessage, DeadQueue, DeadQueues};
use uuid::Uuid;

use crate::index::{Delivery, QueueId, Settle, lock_end};
use crate::message::{Content, Outgoing};
use crate::settings::Fault;
use crate::{EmbeddedBus, Hold, Side};

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let text = fault.to_string();
        match fault {
            Fault::Refused(_) | Fault::TooLarge { .. } => Self::Refused(text),
            Fault::Full(_) | Fault::Broken(_) | Fault::Closing => Self::Unavailable(text),
        }
    }
}

#[async_trait]
impl Bus for EmbeddedBus {
    async fn publish(&self, message: &Message) -> Result<(), Error> {
        Ok(self.send(Outgoing::from_port(message)?).await?)
    }

    async fn check(&self) -> Result<(), Error> {
        Ok(self.ready().await?)
    }
}

#[async_trait]
impl DeadQueues for EmbeddedBus {
    async fn dead_queues(&self) -> Result<Vec<DeadQueue>, Error> {
        let subscriptions = self.stats().subscriptions.into_iter();
        let mut queues: Vec<DeadQueue> = subscriptions
            .filter(|it| it.dead > 0)
            .map(|it| DeadQueue {
                lane: it.lane,
                service: it.service.as_str().into(),
                messages: u64::try_from(it.dead).unwrap_or(u64::MAX),
            })
            .collect();
        queues.sort_by(|a, b| (a.lane, &a.service).cmp(&(b.lane, &b.service)));
        Ok(queues)
    }

    async fn take_dead(
        &self,
        lane: Lane,
        service: &ServiceName,
    ) -> Result<Option<DeadMessage>, Error> {
        let place = (self.queue(lane, service.as_str())?, Side::Dead);
        let Some((delivery, content)) = self.receive(place, Hold::Delete, Duration::ZERO).await?
        else {
            return Ok(None);
        };
        Ok(Some(DeadMessage {
            // What is not text is no directive, and whoever reads this sees that.
            body: String::from_utf8_lossy(&content.body).into_owned(),
            message_id: delivery.message_id.to_string(),
            delivery_count: delivery.delivery_count,
        }))
    }
}

/// One service's messages in one lane of an [`EmbeddedBus`] in the same process.
#[derive(Debug)]
pub struct EmbeddedSubscription {
    bus: Arc<EmbeddedBus>,
    queue: QueueId,
}

impl EmbeddedSubscription {
    pub(crate) fn new(bus: Arc<EmbeddedBus>, queue: QueueId) -> Self {
        Self { bus, queue }
    }

    fn settle(&self, received: &Received, how: Settle) -> Settled {
        let Ok(token) = Uuid::try_parse(&received.lock_token) else {
            return Settled::LockLost;
        };
        let (place, id) = ((self.queue, Side::Active), &received.message_id);
        self.bus
            .shared
            .change(|index| index.settle(place, id, token, how))
    }
}

#[async_trait]
impl Subscription for EmbeddedSubscription {
    async fn peek_lock(&self, wait: Duration) -> Result<Option<Received>, Error> {
        let place = (self.queue, Side::Active);
        self.bus
            .receive(place, Hold::Lock, wait)
            .await?
            .map(received)
            .transpose()
    }

    async fn complete(&self, received: &Received) -> Result<Settled, Error> {
        Ok(self.settle(received, Settle::Complete))
    }

    async fn abandon(&self, received: &Received) -> Result<Settled, Error> {
        Ok(self.settle(received, Settle::Abandon))
    }

    async fn renew(&self, received: &Received) -> Result<Settled, Error> {
        let until = lock_end(Instant::now(), self.bus.shared.settings.lock_duration);
        Ok(self.settle(received, Settle::Renew(until)))
    }

    async fn take_dead_letter(&self) -> Result<Option<Received>, Error> {
        let place = (self.queue, Side::Dead);
        self.bus
            .receive(place, Hold::Delete, Duration::ZERO)
            .await?
            .map(received)
            .transpose()
    }
}

fn received((delivery, content): (Delivery, Arc<Content>)) -> Result<Received, Error> {
    let body = String::from_utf8(content.body.to_vec())
        .map_err(|_| Error::Refused("the message is not UTF-8 text".to_owned()))?;
    Ok(Received {
        body,
        message_id: delivery.message_id.to_string(),
        lock_token: delivery.token.to_string(),
        delivery_count: delivery.delivery_count,
        sequence_number: delivery.sequence,
    })
}
