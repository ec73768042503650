//! What is where: the bus in memory, so that no receive asks the file.
//!
//! The file holds the messages; this holds who may have them. It is plain data behind one lock: nothing here waits,
//! reads a clock or touches the disk. What it changes about a stored message it notes in `dirty`, and the writer
//! takes that along with its next commit.
//!
//! A message is in exactly one place: waiting in a line, or locked. Locks exist only here, so that after a crash every
//! message that was locked waits again.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lucius_domain::routing::{LANES, Lane};
use lucius_ports::bus::Settled;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::index::entry::{Entry, Line, Lock, Queue};
use crate::message::Row;
use crate::settings::{Fault, Settings};
use crate::stats;

mod entry;

pub(crate) use crate::index::entry::{Change, Delivery, Place, QueueId, Settle, Side, State};

/// More subscriptions than any registry has services; it bounds what strangers can make by asking.
const MAX_SUBSCRIPTIONS: usize = 4_096;
/// Why the bus itself dead-letters, in Service Bus's words.
const TOO_MANY_DELIVERIES: &str = "MaxDeliveryCountExceeded";

/// The bus in memory.
#[derive(Debug)]
pub(crate) struct Index {
    max_delivery_count: u32,
    body_memory_bytes: usize,
    max_messages: usize,
    /// Which opening of the file this is: makes tokens unique over restarts.
    boot: u64,
    next_sequence: u64,
    next_token: u64,
    content_bytes: usize,
    names: [HashMap<Arc<str>, QueueId>; LANES as usize],
    queues: Vec<Queue>,
    entries: HashMap<u64, Entry>,
    locks: HashMap<Uuid, u64>,
    deadlines: BTreeSet<(Instant, u64)>,
    dirty: HashMap<u64, Change>,
    pub(crate) state: State,
    pub(crate) written: stats::Written,
}

impl Index {
    pub(crate) fn new(settings: &Settings, boot: u64, next_sequence: u64) -> Self {
        Self {
            max_delivery_count: settings.max_delivery_count,
            body_memory_bytes: settings.body_memory_bytes,
            max_messages: settings.max_messages,
            boot,
            next_sequence,
            next_token: 0,
            content_bytes: 0,
            names: std::array::from_fn(|_| HashMap::new()),
            queues: Vec::new(),
            entries: HashMap::new(),
            locks: HashMap::new(),
            deadlines: BTreeSet::new(),
            dirty: HashMap::new(),
            state: State::Open,
            written: stats::Written::default(),
        }
    }

    /// The subscription of that name, made if need be.
    pub(crate) fn queue(&mut self, lane: Lane, service: &str) -> Result<QueueId, Fault> {
        let names = &mut self.names[usize::from(lane.number())];
        if let Some(id) = names.get(service) {
            return Ok(*id);
        }
        if self.queues.len() >= MAX_SUBSCRIPTIONS {
            return Err(Fault::Full(format!(
                "there are {MAX_SUBSCRIPTIONS} subscriptions already"
            )));
        }
        let id = QueueId(self.queues.len());
        let service: Arc<str> = service.into();
        names.insert(Arc::clone(&service), id);
        let (active, dead) = (Line::default(), Line::default());
        self.queues.push(Queue {
            lane,
            service,
            active,
            dead,
            ids: HashMap::new(),
        });
        Ok(id)
    }

    /// What tells waiting receivers that something arrived at this place.
    pub(crate) fn arrivals(&self, (queue, side): Place) -> Arc<Notify> {
        let queue = &self.queues[queue.0];
        Arc::clone(match side {
            Side::Active => &queue.active.arrived,
            Side::Dead => &queue.dead.arrived,
        })
    }

    /// Whether a copy is still there to be delivered.
    pub(crate) fn holds(&self, lane: Lane, service: &str, message_id: &str) -> bool {
        self.names[usize::from(lane.number())]
            .get(service)
            .is_some_and(|id| self.queues[id.0].ids.contains_key(message_id))
    }

    /// Says why `more` messages would be too many.
    pub(crate) fn room_for(&self, more: usize) -> Result<(), Fault> {
        let limit = self.max_messages;
        if self.entries.len() + more <= limit {
            return Ok(());
        }
        Err(Fault::Full(format!(
            "it holds {limit} messages already; complete some first"
        )))
    }

    /// The next place in the topic; never given twice, also over restarts.
    pub(crate) fn number(&mut self) -> u64 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        sequence
    }

    pub(crate) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// An id that no other call, now or after a restart, returns. It is a fence and no secret.
    pub(crate) fn unique(&mut self) -> Uuid {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&self.boot.to_be_bytes()[2..]);
        bytes[9..].copy_from_slice(&self.next_token.to_be_bytes()[1..]);
        self.next_token += 1;
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// Puts a stored message in line. One that used up its deliveries before a restart is dead.
    pub(crate) fn insert(
        &mut self,
        row: &Row,
        delivery_count: u32,
        dead_reason: Option<&str>,
    ) -> Result<(), Fault> {
        let queue = self.queue(row.lane, &row.service)?;
        let bytes = row.bytes();
        let content = (self.content_bytes + bytes <= self.body_memory_bytes).then(|| {
            self.content_bytes += bytes;
            Arc::clone(&row.content)
        });
        let message_id: Arc<str> = row.message_id.as_str().into();
        let used_up = delivery_count >= self.max_delivery_count;
        let dies = dead_reason.is_none() && used_up;
        let dead_reason = dead_reason.or(used_up.then_some(TOO_MANY_DELIVERIES));
        if dead_reason.is_none() {
            self.queues[queue.0]
                .ids
                .insert(Arc::clone(&message_id), row.sequence);
        }
        let entry = Entry {
            queue,
            message_id,
            content,
            bytes,
            enqueued_at: row.enqueued_at,
            delivery_count,
            dead_reason: dead_reason.map(Into::into),
            lock: None,
        };
        if dies {
            self.dirty.insert(row.sequence, entry.change());
        }
        self.entries.insert(row.sequence, entry);
        self.line_up(row.sequence);
        Ok(())
    }

    /// Locks the first message of a line. Without an end, [`Self::taken`] or [`Self::give_back`] must follow.
    pub(crate) fn lock_next(
        &mut self,
        (queue, side): Place,
        until: Option<Instant>,
    ) -> Option<Delivery> {
        let sequence = self.queues[queue.0].line(side).waiting.pop_first()?;
        let token = self.unique();
        let entry = self.entries.get_mut(&sequence)?;
        entry.delivery_count = entry.delivery_count.saturating_add(1);
        entry.lock = Some(Lock { token, until });
        self.queues[queue.0].line(side).locked += 1;
        self.locks.insert(token, sequence);
        if let Some(until) = until {
            self.deadlines.insert((until, sequence));
        }
        self.dirty.insert(sequence, entry.change());
        Some(Delivery {
            sequence,
            message_id: Arc::clone(&entry.message_id),
            token,
            delivery_count: entry.delivery_count,
            enqueued_at: entry.enqueued_at,
            dead_reason: entry.dead_reason.clone(),
            content: entry.content.clone(),
        })
    }

    /// Settles the delivery that a token names, if it is of this place and has this sequence number or message id.
    pub(crate) fn settle(
        &mut self,
        (queue, side): Place,
        id: &str,
        token: Uuid,
        how: Settle,
    ) -> Settled {
        let Some(&sequence) = self.locks.get(&token) else {
            return Settled::LockLost;
        };
        let Some(entry) = self.entries.get_mut(&sequence) else {
            return Settled::LockLost;
        };
        let named = id == &*entry.message_id || id.parse() == Ok(sequence);
        if entry.queue != queue || entry.side() != side || !named {
            return Settled::LockLost;
        }
        match how {
            Settle::Complete => {
                self.remove(sequence);
                self.dirty.insert(sequence, Change::Delete);
            }
            Settle::Abandon => self.give_back(sequence),
            Settle::Renew(until) => {
                if let Some(lock) = &mut entry.lock {
                    if let Some(before) = lock.until.replace(until) {
                        self.deadlines.remove(&(before, sequence));
                    }
                    self.deadlines.insert((until, sequence));
                }
            }
        }
        Settled::Done
    }

    /// A receive-and-delete is committed: the file has forgotten the message.
    pub(crate) fn taken(&mut self, sequence: u64) {
        self.remove(sequence);
        self.dirty.remove(&sequence);
    }

    /// Ends a lock without a complete: back in line, or to the dead after the last delivery.
    pub(crate) fn give_back(&mut self, sequence: u64) {
        self.unlock(sequence);
        let Some(entry) = self.entries.get_mut(&sequence) else {
            return;
        };
        if entry.side() == Side::Active && entry.delivery_count >= self.max_delivery_count {
            entry.dead_reason = Some(TOO_MANY_DELIVERIES.into());
            let change = entry.change();
            let (queue, message_id) = (entry.queue, Arc::clone(&entry.message_id));
            self.forget_id(queue, &message_id, sequence);
            self.dirty.insert(sequence, change);
        }
        self.line_up(sequence);
    }

    /// Ends all locks that are over. Returns when to come back.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Instant> {
        while let Some(&(until, sequence)) = self.deadlines.first() {
            if until > now {
                return Some(until);
            }
            self.give_back(sequence);
        }
        None
    }

    /// What the file must learn with the next commit.
    pub(crate) fn take_dirty(&mut self) -> HashMap<u64, Change> {
        std::mem::take(&mut self.dirty)
    }

    /// The commit failed: what has not changed again since is to be written still.
    pub(crate) fn still_dirty(&mut self, changes: HashMap<u64, Change>) {
        for (sequence, change) in changes {
            if let Slot::Vacant(slot) = self.dirty.entry(sequence) {
                slot.insert(change);
            }
        }
    }

    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    pub(crate) fn has_deadlines(&self) -> bool {
        !self.deadlines.is_empty()
    }

    /// Says why the bus cannot be used, if it cannot. A full one still delivers.
    pub(crate) fn usable(&self) -> Result<(), Fault> {
        match &self.state {
            State::Open | State::Full(_) => Ok(()),
            State::Broken(reason) => Err(Fault::Broken(reason.clone())),
            State::Closing => Err(Fault::Closing),
        }
    }

    /// Wakes every receiver, to see that the bus closes.
    pub(crate) fn wake_all(&self) {
        for queue in &self.queues {
            queue.active.arrived.notify_waiters();
            queue.dead.arrived.notify_waiters();
        }
    }

    /// What the metrics show.
    pub(crate) fn stats(&self) -> stats::Stats {
        let subscriptions = self.queues.iter().map(|queue| stats::Subscription {
            lane: queue.lane,
            service: queue.service.to_string(),
            ready: queue.active.waiting.len(),
            locked: queue.active.locked,
            dead: queue.dead.waiting.len() + queue.dead.locked,
        });
        stats::Stats {
            subscriptions: subscriptions.collect(),
            content_bytes: self.content_bytes,
            written: self.written,
        }
    }

    fn line_up(&mut self, sequence: u64) {
        let Some(entry) = self.entries.get(&sequence) else {
            return;
        };
        let line = self.queues[entry.queue.0].line(entry.side());
        line.waiting.insert(sequence);
        line.arrived.notify_one();
    }

    fn unlock(&mut self, sequence: u64) {
        let Some(entry) = self.entries.get_mut(&sequence) else {
            return;
        };
        let Some(lock) = entry.lock.take() else {
            return;
        };
        let side = entry.side();
        self.queues[entry.queue.0].line(side).locked -= 1;
        self.locks.remove(&lock.token);
        if let Some(until) = lock.until {
            self.deadlines.remove(&(until, sequence));
        }
    }

    fn remove(&mut self, sequence: u64) {
        self.unlock(sequence);
        let Some(entry) = self.entries.remove(&sequence) else {
            return;
        };
        if entry.content.is_some() {
            self.content_bytes -= entry.bytes;
        }
        self.forget_id(entry.queue, &entry.message_id, sequence);
    }

    /// The id may belong to a later copy by now, when this one died before.
    fn forget_id(&mut self, queue: QueueId, message_id: &Arc<str>, sequence: u64) {
        if let Slot::Occupied(slot) = self.queues[queue.0].ids.entry(Arc::clone(message_id))
            && *slot.get() == sequence
        {
            slot.remove();
        }
    }
}

/// When a lock that begins now ends.
pub(crate) fn lock_end(now: Instant, duration: Duration) -> Instant {
    now.checked_add(duration).unwrap_or(now)
}

#[cfg(test)]
mod tests;
