//! The bus as the engine sees it, without HTTP in between.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use lucius_ports::bus::{Bus, Error, Message, Received, Settled, Subscription};
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
