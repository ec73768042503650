//! A message in hand: its lock is renewed for as long as the value lives.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::Shared;
use crate::bus::{Delivery, Error, Settled};
use crate::contract::AttemptKey;

/// A message in hand. Dropping it stops the renewals and leaves the message to the bus.
pub(super) struct Held {
    shared: Arc<Shared>,
    key: AttemptKey,
    newest: watch::Receiver<Delivery>,
    renewals: JoinSet<()>,
}

impl Held {
    /// Takes the message in hand, unless its attempt already is; then its lock goes there.
    pub(super) fn take(shared: &Arc<Shared>, key: AttemptKey, delivery: Delivery) -> Option<Self> {
        let newest = shared.in_flight.enter(&key, delivery)?;
        let mut renewals = JoinSet::new();
        renewals.spawn(renew(Arc::clone(shared), newest.clone()));
        Some(Self {
            shared: Arc::clone(shared),
            key,
            newest,
            renewals,
        })
    }

    /// The message is dealt with.
    pub(super) async fn complete(self) {
        let delivery = self.newest_lock();
        note("complete", self.shared.bus.complete(&delivery).await);
    }

    /// The message goes back to the bus.
    pub(super) async fn abandon(self) {
        let delivery = self.newest_lock();
        note("abandon", self.shared.bus.abandon(&delivery).await);
    }

    /// Leaves the list first: a delivery that comes later is a new one, with the record to go by.
    fn newest_lock(&self) -> Delivery {
        self.shared.in_flight.leave(&self.key);
        self.newest.borrow().clone()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.renewals.abort_all();
        self.shared.in_flight.leave(&self.key);
    }
}

async fn renew(shared: Arc<Shared>, mut newest: watch::Receiver<Delivery>) {
    loop {
        tokio::time::sleep(shared.timing.lock_renewal).await;
        let delivery = newest.borrow_and_update().clone();
        match shared.bus.renew(&delivery).await {
            Ok(Settled::Done) => {}
            Ok(Settled::LockLost) => {
                // The attempt's lease, not this lock, decides whose RESULT counts: go on, and wait
                // for the bus to deliver the message again.
                debug!("the lock of a message was lost; going on under the lease");
                if newest.changed().await.is_err() {
                    return;
                }
            }
            Err(error) => debug!(%error, "cannot renew a lock; trying again"),
        }
    }
}

fn note(verb: &str, settled: Result<Settled, Error>) {
    match settled {
        Ok(Settled::Done) => {}
        Ok(Settled::LockLost) => debug!(verb, "the message was no longer locked for this worker"),
        Err(error) => warn!(verb, %error, "cannot settle a message; the bus will deliver it again"),
    }
}
