//! The durable bus inside the host, so that a first job needs no cloud: Azure Service Bus's topics, subscriptions,
//! peek-lock and dead letters, over one SQLite file and the same REST calls.
//!
//! What holds:
//! - **What was answered is on the disk.** A send returns after the commit that holds it (`writer`); sends that
//!   wait together share one.
//! - **At least once.** Completes and delivery counts follow within about 50 milliseconds, in a commit of their own
//!   or somebody else's. A crash in between delivers a completed message once more, or counts a delivery less.
//! - **A crash frees all locks.** They live in memory only (`index`), so whatever a dead process had locked is
//!   delivered at once by its successor.
//! - **Order.** Within a subscription of a lane the oldest waiting message comes first; one that is given back has
//!   its old place.
//! - **Duplicates.** A message whose id is still in the subscription, waiting or locked, is answered as sent and
//!   dropped. Once the first copy is completed or dead, the same id is a new message: a broker that remembers ids for
//!   longer would swallow a deliberate re-drive.
//! - **Subscriptions** exist from their first use, one for each value of the property `service`.
//!
//! When the disk is full, sends fail and all else goes on. After any other write error the file's state is unknown:
//! the bus then refuses everything until the host starts anew.

use std::path::Path;
use std::pin::pin;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lucius_domain::id::ServiceName;
use lucius_domain::routing::Lane;
use lucius_ports::clock::Clock;

use crate::disk::Disk;
use crate::index::{Delivery, Index, Place, Side, State, lock_end};
use crate::message::{Content, Outgoing};
use crate::settings::Fault;
use crate::shared::Shared;
use crate::writer::{Ask, Writer};

mod disk;
mod index;
mod message;
mod port;
mod rest;
mod settings;
mod shared;
pub mod stats;
mod writer;

pub use crate::port::EmbeddedSubscription;
pub use crate::settings::{Error, Settings};

/// A wait that nobody lives to see the end of; a longer one could not be added to a point in time.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// An open bus. Dropping the last handle writes what is outstanding and closes the file.
#[derive(Debug)]
pub struct EmbeddedBus {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// How a message is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Locked, until it is settled or the lock is over.
    Lock,
    /// Deleted before it is handed out: at most once.
    Delete,
}

impl EmbeddedBus {
    /// Opens the bus in this file, or creates it; the directory must exist. The clock stamps messages; locks and
    /// waits go by the machine's own, which does not jump.
    ///
    /// # Errors
    /// See [`Error`]: among others, a second bus on the same file is refused.
    pub fn open(
        path: &Path,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, Error> {
        if settings.lock_duration.is_zero() || settings.lock_duration > FOREVER {
            return Err(Error::Settings(
                "the lock duration must be more than nothing and under a year",
            ));
        }
        if settings.max_delivery_count == 0 {
            return Err(Error::Settings(
                "the maximum delivery count must be at least 1",
            ));
        }
        let (disk, index) = Disk::open(path, &settings)?;
        Self::start(disk, index, settings, clock)
    }

    fn start(
        disk: Disk,
        index: Index,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, Error> {
        let (asks, asked) = mpsc::channel();
        let flush_at = index.is_dirty().then(Instant::now);
        let shared = Arc::new(Shared::new(settings, clock, index, asks));
        let bus = Arc::new(Self {
            shared: Arc::clone(&shared),
            threads: Mutex::default(),
        });
        let writer = Writer {
            disk,
            shared: Arc::clone(&shared),
            flush_at,
        };
        bus.spawn("bus-writer", move || writer.run(&asked))?;
        bus.spawn("bus-locks", move || shared.watch_locks())?;
        Ok(bus)
    }

    /// One service's messages in one lane.
    ///
    /// # Errors
    /// `Refused` for a name that no subscription can have.
    pub fn subscription(
        self: &Arc<Self>,
        lane: Lane,
        service: &ServiceName,
    ) -> Result<EmbeddedSubscription, lucius_ports::bus::Error> {
        let queue = self.queue(lane, service.as_str())?;
        Ok(EmbeddedSubscription::new(Arc::clone(self), queue))
    }

    /// The Service Bus REST calls, to be nested where the host wants them, such as `/bus`.
    pub fn router(self: &Arc<Self>) -> axum::Router {
        rest::router(Arc::clone(self))
    }

    /// How many messages are where.
    pub fn stats(&self) -> stats::Stats {
        self.shared.index().stats()
    }

    /// Stops taking and handing out messages, and ends all waiting receives, so that the server can stop. What is
    /// locked can still be settled.
    pub fn close(&self) {
        self.shared.close();
    }

    fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(work);
        let thread = thread.map_err(Error::Thread)?;
        self.threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(thread);
        Ok(())
    }

    pub(crate) fn queue(&self, lane: Lane, service: &str) -> Result<index::QueueId, Fault> {
        message::check_service(service)?;
        self.shared.change(|index| index.queue(lane, service))
    }

    /// Returns once the message is on the disk.
    pub(crate) async fn send(&self, outgoing: Outgoing) -> Result<(), Fault> {
        let limit = self.shared.settings.max_message_bytes;
        if outgoing.bytes() > limit {
            return Err(Fault::TooLarge { limit });
        }
        self.shared.change(|index| {
            index.usable()?;
            index.queue(outgoing.lane, &outgoing.service)
        })?;
        self.shared.ask(|reply| Ask::Send(outgoing, reply)).await
    }

    /// The next message of a line, waiting for one if need be.
    pub(crate) async fn receive(
        &self,
        place: Place,
        hold: Hold,
        wait: Duration,
    ) -> Result<Option<(Delivery, Arc<Content>)>, Fault> {
        let until = tokio::time::Instant::now() + wait.min(FOREVER);
        let arrived = self.shared.index().arrivals(place);
        loop {
            // Listening begins before looking, so that what arrives in between is not missed.
            let mut arrival = pin!(arrived.notified());
            arrival.as_mut().enable();
            if let Some(delivery) = self.lock_next(place, hold)? {
                return self.hand_out(delivery, hold).await.map(Some);
            }
            if wait.is_zero() || tokio::time::timeout_at(until, arrival).await.is_err() {
                return Ok(None);
            }
        }
    }

    fn lock_next(&self, place: Place, hold: Hold) -> Result<Option<Delivery>, Fault> {
        self.shared.change(|index| {
            index.usable()?;
            let until = match hold {
                Hold::Lock => Some(lock_end(Instant::now(), self.shared.settings.lock_duration)),
                Hold::Delete => None,
            };
            Ok(index.lock_next(place, until))
        })
    }

    async fn hand_out(
        &self,
        delivery: Delivery,
        hold: Hold,
    ) -> Result<(Delivery, Arc<Content>), Fault> {
        let sequence = delivery.sequence;
        let content = match (hold, &delivery.content) {
            (Hold::Delete, _) => self.shared.ask(|reply| Ask::Take(sequence, reply)).await?,
            (Hold::Lock, Some(content)) => Arc::clone(content),
            (Hold::Lock, None) => {
                let loaded = self.shared.ask(|reply| Ask::Load(sequence, reply)).await;
                loaded.inspect_err(|_| self.shared.change(|index| index.give_back(sequence)))?
            }
        };
        Ok((delivery, content))
    }

    /// Whether the bus can take messages; a full one is asked to try.
    pub(crate) async fn ready(&self) -> Result<(), Fault> {
        let full = {
            let index = self.shared.index();
            index.usable()?;
            matches!(index.state, State::Full(_))
        };
        if full {
            self.shared.ask(Ask::Probe).await
        } else {
            Ok(())
        }
    }
}

impl Drop for EmbeddedBus {
    fn drop(&mut self) {
        self.shared.close();
        self.shared.tell(Ask::Close);
        let threads = self
            .threads
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the bus panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests;
