//! A service's side: peek-lock, complete, abandon, renew, and what is dead.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::StatusCode;
use azure_core::error::ErrorKind;
use azure_messaging_servicebus::service_bus::{
    PeekLockResponse, SubscriptionReceiver, TopicClient,
};
use lucius_domain::id::ServiceName;
use lucius_ports::bus::{Error, Received, Settled, Subscription};

use crate::reason;

/// How long one request waits for a message; the service waits for no longer than about a minute.
const LOOK: Duration = Duration::from_secs(50);

/// One service's subscription in one lane.
pub struct LaneSubscription {
    live: SubscriptionReceiver,
    dead: SubscriptionReceiver,
    /// The locks that are held, by token: only the crate's own answer can settle a message.
    held: Mutex<HashMap<String, Arc<PeekLockResponse>>>,
}

impl fmt::Debug for LaneSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneSubscription").finish_non_exhaustive()
    }
}

impl LaneSubscription {
    pub(crate) fn new(topic: &TopicClient, service: &ServiceName) -> Self {
        let dead = format!("{service}/$DeadLetterQueue");
        Self {
            live: topic.subscription_receiver(service.as_str()),
            dead: topic.subscription_receiver(&dead),
            held: Mutex::default(),
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Arc<PeekLockResponse>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock of a delivery; `None` when it was settled before.
    fn lock_of(&self, received: &Received) -> Option<Arc<PeekLockResponse>> {
        self.held().get(&received.lock_token).cloned()
    }
}

async fn look(
    receiver: &SubscriptionReceiver,
    wait: Duration,
) -> Result<Option<(Received, PeekLockResponse)>, Error> {
    let answer = receiver.peek_lock_message2(Some(wait)).await;
    let answer = answer.map_err(|error| Error::Unavailable(reason(&error)))?;
    match u16::from(*answer.status()) {
        200 | 201 => {}
        204 => return Ok(None),
        status => {
            return Err(Error::Unavailable(format!(
                "receiving is answered {status}"
            )));
        }
    }
    let broker = answer
        .broker_properties()
        .ok_or_else(|| Error::Unavailable("a message came without BrokerProperties".to_owned()))?;
    let received = Received {
        body: answer.body(),
        message_id: broker.message_id,
        lock_token: broker.lock_token,
        delivery_count: u32::try_from(broker.delivery_count).unwrap_or(0),
        sequence_number: u64::try_from(broker.sequence_number).unwrap_or(0),
    };
    Ok(Some((received, answer)))
}

/// What settling came to: a lock that is gone is no error.
fn settled<T>(outcome: Result<T, azure_core::Error>) -> Result<Settled, Error> {
    match outcome {
        Ok(_) => Ok(Settled::Done),
        Err(error) => match error.kind() {
            ErrorKind::HttpResponse {
                status: StatusCode::NotFound | StatusCode::Gone,
                ..
            } => Ok(Settled::LockLost),
            ErrorKind::HttpResponse { .. }
            | ErrorKind::Io
            | ErrorKind::DataConversion
            | ErrorKind::Credential
            | ErrorKind::MockFramework
            | ErrorKind::Other => Err(Error::Unavailable(reason(&error))),
        },
    }
}

#[async_trait]
impl Subscription for LaneSubscription {
    async fn peek_lock(&self, wait: Duration) -> Result<Option<Received>, Error> {
        let mut left = wait;
        loop {
            let now = left.min(LOOK);
            if let Some((received, lock)) = look(&self.live, now).await? {
                self.held()
                    .insert(received.lock_token.clone(), Arc::new(lock));
                return Ok(Some(received));
            }
            left = left.saturating_sub(now);
            if left.is_zero() {
                return Ok(None);
            }
        }
    }

    async fn complete(&self, received: &Received) -> Result<Settled, Error> {
        let Some(lock) = self.lock_of(received) else {
            return Ok(Settled::LockLost);
        };
        let settled = settled(lock.delete_message().await)?;
        self.held().remove(&received.lock_token);
        Ok(settled)
    }

    async fn abandon(&self, received: &Received) -> Result<Settled, Error> {
        let Some(lock) = self.lock_of(received) else {
            return Ok(Settled::LockLost);
        };
        let settled = settled(lock.unlock_message().await)?;
        self.held().remove(&received.lock_token);
        Ok(settled)
    }

    async fn renew(&self, received: &Received) -> Result<Settled, Error> {
        match self.lock_of(received) {
            Some(lock) => settled(lock.renew_message_lock().await),
            None => Ok(Settled::LockLost),
        }
    }

    async fn take_dead_letter(&self) -> Result<Option<Received>, Error> {
        let Some((received, lock)) = look(&self.dead, Duration::ZERO).await? else {
            return Ok(None);
        };
        match settled(lock.delete_message().await)? {
            Settled::Done => Ok(Some(received)),
            Settled::LockLost => Ok(None),
        }
    }
}
