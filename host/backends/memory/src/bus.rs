//! The bus as the simulation and the engine's tests want it: nothing but a list, failures on order, and a record of
//! all that was accepted.
//!
//! Where brokers differ it takes the harder side: a message published twice is delivered twice, and locks end only
//! when a test says so.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lucius_domain::id::ServiceName;
use lucius_domain::routing::Lane;
use lucius_ports::bus::{Bus, Error, Message, Received, Settled, Subscription};
use lucius_ports::dead_queues::{DeadMessage, DeadQueue, DeadQueues};
use tokio::sync::Notify;

/// After so many deliveries without a complete, a message is dead; as in Azure Service Bus.
const MAX_DELIVERY_COUNT: u32 = 10;

/// How a publish fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The message did not arrive.
    BeforeEffect,
    /// The message arrived, and the caller is told that it is not known.
    AfterEffect,
}

/// A bus that lives as long as its last handle.
#[derive(Debug)]
pub struct MemoryBus {
    max_delivery_count: u32,
    state: Mutex<State>,
    /// Something may be there to receive.
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    publishes: u64,
    faults: BTreeMap<u64, Fault>,
    down: bool,
    accepted: Vec<Message>,
    next_token: u64,
    /// All messages by sequence number, which are counted over all lanes.
    entries: BTreeMap<u64, Entry>,
    /// Who holds what, by lock token.
    locks: HashMap<String, u64>,
    dead: BTreeSet<u64>,
}

#[derive(Debug)]
struct Entry {
    message: Message,
    delivery_count: u32,
    lock_token: Option<String>,
}

impl Default for MemoryBus {
    fn default() -> Self {
        Self::new(MAX_DELIVERY_COUNT)
    }
}

impl MemoryBus {
    /// An empty bus whose messages die after so many deliveries.
    pub fn new(max_delivery_count: u32) -> Self {
        Self {
            max_delivery_count,
            state: Mutex::default(),
            arrived: Notify::new(),
        }
    }

    /// Lets the `nth` publish from now on fail; the next one is the first.
    pub fn fail_publish(&self, nth: u64, fault: Fault) {
        let mut state = self.state();
        let nth = state.publishes + nth;
        state.faults.insert(nth, fault);
    }

    /// Takes the bus down or up again: while it is down, nothing gets in and nothing out.
    pub fn set_down(&self, down: bool) {
        self.state().down = down;
        self.arrived.notify_waiters();
    }

    /// All messages that arrived so far, in order, also those whose publish was said to have failed.
    pub fn accepted(&self) -> Vec<Message> {
        self.state().accepted.clone()
    }

    /// Ends all locks, as time does when their holders died.
    pub fn end_locks(&self) {
        let mut state = self.state();
        let held: Vec<u64> = std::mem::take(&mut state.locks).into_values().collect();
        for sequence in held {
            state.give_back(sequence, self.max_delivery_count);
        }
        drop(state);
        self.arrived.notify_waiters();
    }

    /// One service's messages in one lane.
    pub fn subscription(self: &Arc<Self>, lane: Lane, service: &ServiceName) -> MemorySubscription {
        MemorySubscription {
            bus: Arc::clone(self),
            lane,
            service: service.clone(),
        }
    }

    /// Whoever panicked with the lock held is a failed test; the others may see what is left.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn up(&self) -> Result<(), Error> {
        if self.down {
            Err(Error::Unavailable("the bus is down".to_owned()))
        } else {
            Ok(())
        }
    }

    fn accept(&mut self, message: &Message) {
        self.accepted.push(message.clone());
        let sequence = u64::try_from(self.accepted.len()).unwrap_or(u64::MAX);
        let entry = Entry {
            message: message.clone(),
            delivery_count: 0,
            lock_token: None,
        };
        self.entries.insert(sequence, entry);
    }

    fn lock_next(&mut self, lane: Lane, service: &ServiceName) -> Option<Received> {
        let token = format!("lock-{}", self.next_token);
        let dead = &self.dead;
        let (sequence, entry) = self.entries.iter_mut().find(|(sequence, entry)| {
            entry.lock_token.is_none()
                && entry.message.lane == lane
                && entry.message.service == *service
                && !dead.contains(*sequence)
        })?;
        self.next_token += 1;
        entry.delivery_count += 1;
        entry.lock_token = Some(token.clone());
        self.locks.insert(token.clone(), *sequence);
        Some(entry.received(*sequence, token))
    }

    fn give_back(&mut self, sequence: u64, max_delivery_count: u32) {
        let Some(entry) = self.entries.get_mut(&sequence) else {
            return;
        };
        entry.lock_token = None;
        if entry.delivery_count >= max_delivery_count {
            self.dead.insert(sequence);
        }
    }

    fn take_dead(&mut self, lane: Lane, service: &ServiceName) -> Option<Received> {
        let sequence = self.dead.iter().copied().find(|sequence| {
            self.entries.get(sequence).is_some_and(|entry| {
                entry.message.lane == lane && entry.message.service == *service
            })
        })?;
        self.dead.remove(&sequence);
        let entry = self.entries.remove(&sequence)?;
        Some(entry.received(sequence, String::new()))
    }
}

impl Entry {
    fn received(&self, sequence_number: u64, lock_token: String) -> Received {
        Received {
            body: self.message.body.clone(),
            message_id: self.message.message_id.clone(),
            lock_token,
            delivery_count: self.delivery_count,
            sequence_number,
        }
    }
}

#[async_trait]
impl Bus for MemoryBus {
    async fn publish(&self, message: &Message) -> Result<(), Error> {
        let mut state = self.state();
        state.publishes += 1;
        let nth = state.publishes;
        let fault = state.faults.remove(&nth);
        state.up()?;
        if fault == Some(Fault::BeforeEffect) {
            return Err(Error::Unavailable(format!(
                "publish {nth} was to fail before its effect"
            )));
        }
        state.accept(message);
        drop(state);
        self.arrived.notify_waiters();
        match fault {
            Some(Fault::AfterEffect) => Err(Error::Unavailable(format!(
                "publish {nth} was to fail after its effect"
            ))),
            Some(Fault::BeforeEffect) | None => Ok(()),
        }
    }

    async fn check(&self) -> Result<(), Error> {
        self.state().up()
    }
}

#[async_trait]
impl DeadQueues for MemoryBus {
    async fn dead_queues(&self) -> Result<Vec<DeadQueue>, Error> {
        let state = self.state();
        state.up()?;
        let dead = state.dead.iter().filter_map(|it| state.entries.get(it));
        let mut counts: BTreeMap<_, u64> = BTreeMap::new();
        for Message { lane, service, .. } in dead.map(|entry| &entry.message) {
            *counts.entry((*lane, service.clone())).or_default() += 1;
        }
        let queues = counts.into_iter();
        Ok(queues
            .map(|((lane, service), messages)| DeadQueue {
                lane,
                service,
                messages,
            })
            .collect())
    }

    async fn take_dead(
        &self,
        lane: Lane,
        service: &ServiceName,
    ) -> Result<Option<DeadMessage>, Error> {
        let mut state = self.state();
        state.up()?;
        let taken = state.take_dead(lane, service);
        Ok(taken.map(|received| DeadMessage {
            body: received.body,
            message_id: received.message_id,
            delivery_count: received.delivery_count,
        }))
    }
}

/// One service's messages in one lane of a [`MemoryBus`].
#[derive(Clone, Debug)]
pub struct MemorySubscription {
    bus: Arc<MemoryBus>,
    lane: Lane,
    service: ServiceName,
}

impl MemorySubscription {
    /// The message that this delivery holds, and its lock taken off.
    fn unlock(&self, state: &mut State, received: &Received) -> Option<u64> {
        let sequence = *state.locks.get(&received.lock_token)?;
        let message = &state.entries.get(&sequence)?.message;
        if message.lane != self.lane || message.service != self.service {
            return None;
        }
        state.locks.remove(&received.lock_token);
        Some(sequence)
    }

    fn try_lock(&self) -> Result<Option<Received>, Error> {
        let mut state = self.bus.state();
        state.up()?;
        Ok(state.lock_next(self.lane, &self.service))
    }
}

#[async_trait]
impl Subscription for MemorySubscription {
    async fn peek_lock(&self, wait: Duration) -> Result<Option<Received>, Error> {
        let search = async {
            loop {
                // Listening begins before looking, so that what arrives in between is not missed.
                let mut arrival = std::pin::pin!(self.bus.arrived.notified());
                arrival.as_mut().enable();
                if let Some(received) = self.try_lock()? {
                    return Ok(Some(received));
                }
                if wait.is_zero() {
                    return Ok(None);
                }
                arrival.await;
            }
        };
        if wait.is_zero() {
            return search.await;
        }
        tokio::time::timeout(wait, search).await.unwrap_or(Ok(None))
    }

    async fn complete(&self, received: &Received) -> Result<Settled, Error> {
        let mut state = self.bus.state();
        state.up()?;
        let Some(sequence) = self.unlock(&mut state, received) else {
            return Ok(Settled::LockLost);
        };
        state.entries.remove(&sequence);
        Ok(Settled::Done)
    }

    async fn abandon(&self, received: &Received) -> Result<Settled, Error> {
        let mut state = self.bus.state();
        state.up()?;
        let Some(sequence) = self.unlock(&mut state, received) else {
            return Ok(Settled::LockLost);
        };
        state.give_back(sequence, self.bus.max_delivery_count);
        drop(state);
        self.bus.arrived.notify_waiters();
        Ok(Settled::Done)
    }

    async fn renew(&self, received: &Received) -> Result<Settled, Error> {
        let state = self.bus.state();
        state.up()?;
        let held = state.locks.contains_key(&received.lock_token);
        Ok(if held {
            Settled::Done
        } else {
            Settled::LockLost
        })
    }

    async fn take_dead_letter(&self) -> Result<Option<Received>, Error> {
        let mut state = self.bus.state();
        state.up()?;
        Ok(state.take_dead(self.lane, &self.service))
    }
}
