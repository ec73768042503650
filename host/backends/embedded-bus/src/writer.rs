//! The one thread that writes: whatever waits while it commits goes into its next commit together.
//!
//! A send is answered after the commit that holds it. Completes and delivery counts are not waited for: they gather
//! for [`LAZY`] and go together, with the sends of that moment or in a commit of their own. So a message that is
//! completed soon after it was delivered is deleted and its count never written. Losing one of them to a crash means
//! that a message is delivered once more, or that a delivery is not counted, never that a message is lost.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::disk::{Commit, Disk};
use crate::index::{Change, State};
use crate::message::{Content, Outgoing, Row};
use crate::settings::Fault;
use crate::shared::Shared;

/// How long completes and counts gather.
const LAZY: Duration = Duration::from_millis(50);
/// How long they wait after a commit that found no room.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// A commit takes about this much and no more, so that the first in it does not wait for ever more others.
const BATCH_MESSAGES: usize = 1_024;
const BATCH_BYTES: usize = 4 * 1024 * 1024;

pub(crate) type Reply<T> = oneshot::Sender<Result<T, Fault>>;

/// What the writer is asked for.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Store a message.
    Send(Outgoing, Reply<()>),
    /// Delete a locked message and only then hand it out; give it back if that fails.
    Take(u64, Reply<Arc<Content>>),
    /// Read what is not in memory.
    Load(u64, Reply<Arc<Content>>),
    /// Show that writing works.
    Probe(Reply<()>),
    /// Something became dirty: see to it within [`LAZY`].
    Tick,
    /// Write what is dirty and end.
    Close,
}

/// A message that goes out with its own deletion.
struct Take {
    sequence: u64,
    content: Arc<Content>,
    reply: Reply<Arc<Content>>,
}

/// What one commit is for.
#[derive(Default)]
struct Batch {
    sends: Vec<(Outgoing, Reply<()>)>,
    bytes: usize,
    takes: Vec<Take>,
    probes: Vec<Reply<()>>,
    close: bool,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.sends.is_empty() && self.takes.is_empty() && self.probes.is_empty()
    }

    fn is_full(&self) -> bool {
        self.sends.len() + self.takes.len() >= BATCH_MESSAGES || self.bytes >= BATCH_BYTES
    }
}

/// The thread's state.
pub(crate) struct Writer {
    pub(crate) disk: Disk,
    pub(crate) shared: Arc<Shared>,
    /// When what is dirty has waited long enough.
    pub(crate) flush_at: Option<Instant>,
}

impl Writer {
    /// Works until it is told to close, or nobody is left to ask.
    pub(crate) fn run(mut self, asks: &Receiver<Ask>) {
        loop {
            let mut batch = Batch::default();
            self.gather(asks, &mut batch);
            let due = self.flush_at.is_some_and(|at| at <= Instant::now());
            if due || batch.close || !batch.is_empty() {
                let close = batch.close;
                self.commit(batch, due || close);
                if close {
                    return;
                }
            }
        }
    }

    /// Waits for something to do, then takes all that is there.
    fn gather(&mut self, asks: &Receiver<Ask>, batch: &mut Batch) {
        let first = match self.flush_at {
            None => asks.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => asks.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        match first {
            Ok(ask) => self.add(ask, batch),
            Err(RecvTimeoutError::Timeout) => return,
            Err(RecvTimeoutError::Disconnected) => batch.close = true,
        }
        while !batch.is_full() && !batch.close {
            let Ok(ask) = asks.try_recv() else { return };
            self.add(ask, batch);
        }
    }

    fn add(&mut self, ask: Ask, batch: &mut Batch) {
        match ask {
            Ask::Send(outgoing, reply) => {
                batch.bytes += outgoing.bytes();
                batch.sends.push((outgoing, reply));
            }
            Ask::Take(sequence, reply) => match self.load(sequence) {
                Ok(content) => batch.takes.push(Take {
                    sequence,
                    content,
                    reply,
                }),
                Err(fault) => {
                    self.shared.change(|index| index.give_back(sequence));
                    answer(reply, Err(fault));
                }
            },
            // Only committed messages are delivered, so there is nothing to wait for.
            Ask::Load(sequence, reply) => answer(reply, self.load(sequence)),
            Ask::Probe(reply) => batch.probes.push(reply),
            Ask::Tick => {
                let soon = Instant::now() + LAZY;
                self.flush_at = Some(self.flush_at.map_or(soon, |at| at.min(soon)));
            }
            Ask::Close => batch.close = true,
        }
    }

    fn load(&self, sequence: u64) -> Result<Arc<Content>, Fault> {
        let loaded = self.disk.load(sequence);
        if let Err(fault) = &loaded {
            tracing::error!(sequence, %fault, "a stored message cannot be read");
        }
        loaded
    }

    /// One commit for a batch, and for what has gathered when that is `due`.
    fn commit(&mut self, batch: Batch, due: bool) {
        let Batch {
            sends,
            takes,
            probes,
            bytes: _,
            close: _,
        } = batch;
        let admitted = self.admit(sends);
        let mut changes = HashMap::new();
        // What has gathered makes room for what did not fit.
        if due || matches!(self.shared.index().state, State::Full(_)) {
            self.flush_at = None;
            changes = self.shared.index().take_dirty();
        }
        let result = self.store(&admitted.rows, &changes, &takes, !probes.is_empty());
        let shared = Arc::clone(&self.shared);
        let mut index = shared.index();
        let result = match result {
            Ok(()) => {
                index.written.transactions += 1;
                index.written.messages += u64::try_from(admitted.rows.len()).unwrap_or(u64::MAX);
                let proved_room = !admitted.rows.is_empty() || !probes.is_empty();
                if proved_room && matches!(index.state, State::Full(_)) {
                    index.state = State::Open;
                }
                takes.iter().for_each(|take| index.taken(take.sequence));
                admitted
                    .rows
                    .iter()
                    .try_for_each(|row| index.insert(row, 0, None))
            }
            Err(fault) => {
                index.still_dirty(changes);
                takes.iter().for_each(|take| index.give_back(take.sequence));
                self.note(&fault, &mut index.state);
                Err(fault)
            }
        };
        if index.is_dirty() && self.flush_at.is_none() && index.usable().is_ok() {
            self.flush_at = Some(Instant::now() + LAZY);
        }
        drop(index);
        for reply in admitted.replies.into_iter().chain(probes) {
            answer(reply, result.clone());
        }
        for take in takes {
            answer(take.reply, result.clone().map(|()| take.content));
        }
    }

    /// Numbers what is new, answers what cannot be taken, and drops what is there already: its answer waits for this
    /// commit all the same, since the first copy may be in it.
    fn admit(&mut self, sends: Vec<(Outgoing, Reply<()>)>) -> Admitted {
        let enqueued_at = self.shared.clock.now().0;
        let mut index = self.shared.index();
        let mut admitted = Admitted::default();
        let mut seen = HashSet::new();
        for (outgoing, reply) in sends {
            if let Err(fault) = index.usable().and(index.room_for(admitted.rows.len() + 1)) {
                answer(reply, Err(fault));
                continue;
            }
            admitted.replies.push(reply);
            let Outgoing {
                lane,
                service,
                message_id,
                head,
                content,
            } = outgoing;
            if let Some(id) = &message_id
                && (index.holds(lane, &service, id)
                    || !seen.insert((lane, service.clone(), id.clone())))
            {
                continue;
            }
            let message_id = message_id.unwrap_or_else(|| index.unique().to_string());
            let sequence = index.number();
            let row = Row {
                sequence,
                lane,
                service,
                message_id,
                enqueued_at,
                head,
                content,
            };
            admitted.rows.push(row);
        }
        admitted
    }

    /// One commit; if new messages do not fit, still one with what makes room.
    fn store(
        &mut self,
        rows: &[Row],
        changes: &HashMap<u64, Change>,
        takes: &[Take],
        probe: bool,
    ) -> Result<(), Fault> {
        if rows.is_empty() && changes.is_empty() && takes.is_empty() && !probe {
            return Ok(());
        }
        let next_sequence = {
            let index = self.shared.index();
            if let State::Broken(reason) = &index.state {
                return Err(Fault::Broken(reason.clone()));
            }
            index.next_sequence()
        };
        let mut with_takes = HashMap::new();
        let all = if takes.is_empty() {
            changes
        } else {
            with_takes.clone_from(changes);
            with_takes.extend(takes.iter().map(|take| (take.sequence, Change::Delete)));
            &with_takes
        };
        let commit = Commit {
            rows,
            changes: all,
            next_sequence,
            probe,
        };
        let done = self.disk.commit(&commit);
        if matches!(done, Err(Fault::Full(_))) && !changes.is_empty() {
            self.disk.commit(&Commit {
                rows: &[],
                changes,
                next_sequence,
                probe: false,
            })?;
        }
        done
    }

    fn note(&mut self, fault: &Fault, state: &mut State) {
        match fault {
            Fault::Full(reason) => {
                if *state == State::Open {
                    tracing::warn!(
                        reason,
                        "the bus is full: complete messages, or give it room"
                    );
                }
                self.flush_at = Some(Instant::now() + FULL_PAUSE);
                if *state == State::Open {
                    *state = State::Full(reason.clone());
                }
            }
            Fault::Broken(reason) => {
                if !matches!(state, State::Broken(_)) {
                    tracing::error!(reason, "the bus file failed; restart the host");
                }
                *state = State::Broken(reason.clone());
            }
            Fault::Refused(_) | Fault::TooLarge { .. } | Fault::Closing => {}
        }
    }
}

#[derive(Default)]
struct Admitted {
    rows: Vec<Row>,
    replies: Vec<Reply<()>>,
}

/// Whoever asked may have gone; what was done stays done.
fn answer<T>(reply: Reply<T>, result: Result<T, Fault>) {
    if reply.send(result).is_err() {
        tracing::debug!("nobody waits for this answer any more");
    }
}
