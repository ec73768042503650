//! What outlives a host: the time, the chance, the ledger, the bus, and the record of what happened.
//!
//! One thread, one lock, one seed. Whoever wants to wait gives others a turn instead ([`World::turns`]); whoever wants
//! something to happen later puts it into the queue. So a run is the same each time it is made.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use futures_util::FutureExt as _;
use lucius_domain::contract::Directive;
use lucius_domain::id::{AttemptKey, JobId, StepId};
use lucius_domain::time::Timestamp;
use lucius_domain::transition::Change;
use lucius_memory::ledger::MemoryLedger;
use lucius_memory::records::MemoryRecords;
use lucius_ports::ledger::Idempotency;

use crate::check::Checker;
use crate::dice::Dice;
use crate::mutation::Mutation;
use crate::story::Story;
use crate::worker::Callback;

/// When every run begins.
pub(crate) const START: i64 = 1_800_000_000_000;

/// An invariant that does not hold.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) invariant: &'static str,
    pub(crate) job: Option<JobId>,
    pub(crate) what: String,
}

/// Something that happens by itself when its time has come.
pub(crate) enum Happening {
    /// A service receives a directive.
    Deliver(Arc<Directive>),
    /// A service calls back.
    Call(Callback),
    /// A client sends a command, perhaps again; by its number.
    Submit(usize),
    /// A write that was given up long ago arrives at the ledger.
    Late(Box<LateWrite>),
}

/// A write whose caller has been told that its outcome is unknown.
pub(crate) enum LateWrite {
    Create(Option<u64>, Change, Idempotency),
    Commit(Option<u64>, Change),
}

/// What a task is about, and what it brought about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effects {
    /// The step and attempt that a callback names.
    pub(crate) callback: Option<(StepId, AttemptKey)>,
    /// Something other than a note became durable.
    pub(crate) changed: bool,
    /// A job was created.
    pub(crate) created: bool,
}

/// One line of the history.
pub(crate) struct Line {
    at: i64,
    job: Option<JobId>,
    text: String,
}

pub(crate) struct State {
    pub(crate) now: i64,
    pub(crate) dice: Dice,
    /// What is told in advance, if this is a story.
    pub(crate) story: Option<Story>,
    /// Nothing goes wrong any more.
    pub(crate) calm: bool,
    pub(crate) bus_down: bool,
    pub(crate) ledger_down: bool,
    pub(crate) check: Checker,
    pub(crate) queue: BTreeMap<(i64, u64), Happening>,
    pub(crate) violation: Option<Violation>,
    /// The task that is running.
    pub(crate) task: Option<u64>,
    pub(crate) effects: BTreeMap<u64, Effects>,
    pub(crate) skews: Vec<i64>,
    pub(crate) ids: u64,
    history: Vec<Line>,
    serial: u64,
}

/// See the module's documentation.
pub(crate) struct World {
    state: Mutex<State>,
    pub(crate) memory: MemoryLedger,
    pub(crate) records: MemoryRecords,
    pub(crate) mutation: Option<Mutation>,
}

impl World {
    pub(crate) fn new(seed: u64, hosts: usize, mutation: Option<Mutation>) -> Self {
        let state = State {
            now: START,
            dice: Dice::new(seed),
            story: None,
            calm: false,
            bus_down: false,
            ledger_down: false,
            check: Checker::default(),
            queue: BTreeMap::new(),
            violation: None,
            task: None,
            effects: BTreeMap::new(),
            skews: vec![0; hosts],
            ids: 0,
            history: Vec::new(),
            serial: 0,
        };
        Self {
            state: Mutex::new(state),
            memory: MemoryLedger::new(),
            records: MemoryRecords::new(),
            mutation,
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Gives everyone else a few turns; how many is chance, but for a story, in which every place is a stop. This is
    /// where a task can be dropped.
    pub(crate) async fn turns(&self) {
        let left = {
            let state = &mut *self.state();
            match (state.story, state.calm) {
                (Some(_), _) => 1,
                (None, true) => state.dice.below(2),
                (None, false) => state.dice.below(4),
            }
        };
        Self::stop(left).await;
    }

    /// A stop that only stories make: after effects that chance tells apart in another way.
    pub(crate) async fn stop_in_a_story(&self) {
        let told = self.state().story.is_some();
        Self::stop(u64::from(told)).await;
    }

    async fn stop(mut left: u64) {
        poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Waits for a moment, or until all is well.
    pub(crate) async fn until(&self, at: i64) {
        poll_fn(|context| {
            let state = self.state();
            if state.now >= at || state.calm {
                return Poll::Ready(());
            }
            drop(state);
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    pub(crate) fn note(&self, job: Option<JobId>, text: impl Into<String>) {
        self.state().note(job, text);
    }
}

impl State {
    pub(crate) fn note(&mut self, job: Option<JobId>, text: impl Into<String>) {
        let (at, text) = (self.now, text.into());
        self.history.push(Line { at, job, text });
    }

    pub(crate) fn later(&mut self, ms: i64, happening: Happening) {
        self.serial += 1;
        self.queue
            .insert((self.now + ms.max(0), self.serial), happening);
    }

    /// Keeps the first violation; what comes after it may only be its consequence.
    pub(crate) fn violate(&mut self, violation: Option<Violation>) {
        if self.violation.is_none() {
            self.violation = violation;
        }
    }

    pub(crate) fn clock(&self, host: usize) -> Timestamp {
        Timestamp(self.now + self.skews[host])
    }

    /// The history, of one job or of all.
    pub(crate) fn history(&self, job: Option<JobId>) -> String {
        let lines = self
            .history
            .iter()
            .filter(|line| job.is_none() || line.job.is_none() || line.job == job);
        let text = lines.map(|line| {
            let id = line.job.map(|id| format!(" job {}", short(id)));
            let id = id.unwrap_or_default();
            format!("{:>9} ms{id} {}\n", line.at - START, line.text)
        });
        text.collect()
    }
}

/// Job ids count up in a run, so their end tells them apart.
pub(crate) fn short(id: JobId) -> u128 {
    id.0.as_u128() & 0xFFFF
}

/// The memory ledger answers within the first poll.
pub(crate) fn at_once<T>(call: impl Future<Output = T>) -> T {
    #[expect(clippy::expect_used, reason = "the memory ledger never waits")]
    let answer = call
        .now_or_never()
        .expect("the memory ledger answers at once");
    answer
}
