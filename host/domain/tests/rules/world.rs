//! The world of the model: what is in it, and where each step of it can lead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lucius_domain::decide::{Input, Rejection, decide};
use lucius_domain::event::{Event, IgnoreReason};
use lucius_domain::id::{AttemptKey, AttemptNo};
use lucius_domain::job::{DueKind, Job, Phase, Status};
use lucius_domain::plugin::{Dispatch, Route, Settle};
use lucius_domain::transition::{OutboxRow, Question, Transition};

use crate::explore::{hasty, lease_of};
use crate::invariants::follows;
use crate::stage::{Play, START, Says, result_of, settle};

/// What a callback says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Ack,
    Result,
}

/// A callback on its way, or a directive: which attempt it is about.
type About = (usize, AttemptNo);
type Callback = (About, Word);

fn key_of((step, no): About) -> AttemptKey {
    AttemptKey {
        no,
        lease_id: lease_of(step, no),
    }
}

fn callback((about, word): Callback, says: Says) -> Input {
    let (step, key) = (about.0, key_of(about));
    match word {
        Word::Ack => Input::Ack { step, key },
        Word::Result => result_of(step, key, says),
    }
}

/// What a host is doing for the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Answer,
    Publish,
    AckOverdue,
    LeaseOverdue,
    Cancel,
    Call(Callback),
}

/// Where a host is in it. What it holds in memory dies with it.
#[derive(Clone, Debug)]
enum Host {
    Idle,
    /// It has loaded the job.
    Loaded(Deed, Arc<Job>),
    /// The bus has the directive, and the ledger does not know.
    Published(About, Arc<Job>),
    /// The callback is committed, and its sender has no answer yet.
    Answering(Callback),
}

/// How often something may still go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Left {
    pub(crate) crashes: u8,
    pub(crate) doubles: u8,
    pub(crate) timeouts: u8,
    pub(crate) cancels: u8,
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) job: Arc<Job>,
    pub(crate) rows: BTreeMap<(usize, AttemptNo), &'static str>,
    hosts: [Host; 2],
    /// Directives that no service got yet.
    bus: Vec<About>,
    /// Callbacks that no host took up yet.
    calls: Vec<Callback>,
    /// What the bus ever took.
    pub(crate) taken: BTreeSet<(usize, AttemptNo)>,
    left: Left,
}

impl World {
    /// The job is just accepted, and nobody has begun anything.
    pub(crate) fn new(left: Left) -> Self {
        Self {
            job: Arc::new(Play::with_timing(2, &hasty()).job),
            rows: BTreeMap::new(),
            hosts: [Host::Idle, Host::Idle],
            bus: Vec::new(),
            calls: Vec::new(),
            taken: BTreeSet::new(),
            left,
        }
    }

    /// Every world that the next step can lead to.
    pub(crate) fn next(&self, says: Says) -> Vec<Self> {
        let mut worlds = Vec::new();
        // The hosts are alike, so of two idle ones only the first begins anything.
        let first_idle = self
            .hosts
            .iter()
            .position(|host| matches!(host, Host::Idle));
        for index in 0..self.hosts.len() {
            match &self.hosts[index] {
                Host::Idle if first_idle == Some(index) => worlds.extend(self.begin(index)),
                Host::Idle => {}
                Host::Loaded(deed, job) => worlds.push(self.go_on(index, *deed, job, says)),
                Host::Published(about, job) => {
                    let (step, key) = (about.0, key_of(*about));
                    let input = Input::Sent { step, key };
                    let again = |job| Host::Published(*about, job);
                    worlds.push(self.commit(index, job, Some(input), again, Host::Idle));
                }
                Host::Answering(_) => worlds.push(self.with_host(index, Host::Idle)),
            }
            if self.left.crashes > 0 && !matches!(self.hosts[index], Host::Idle) {
                worlds.push(self.crash(index));
            }
        }
        worlds.extend(self.services());
        worlds
    }

    /// What names an attempt that is over is rejected now and ever after, so when it comes makes no difference; left
    /// in, it would only multiply the worlds.
    pub(crate) fn forget_what_is_over(&mut self, says: Says) {
        let job = Arc::clone(&self.job);
        let counts =
            |about: About, word| decide(&job, callback((about, word), says), START).is_ok();
        self.calls.retain(|(about, word)| counts(*about, *word));
        self.bus
            .retain(|about| counts(*about, Word::Ack) || counts(*about, Word::Result));
    }

    fn with_host(&self, index: usize, host: Host) -> Self {
        let mut world = self.clone();
        world.hosts[index] = host;
        world
    }

    /// A host takes something up: what is due, a callback, or what a client asks.
    fn begin(&self, index: usize) -> Vec<Self> {
        let loaded = |deed| self.with_host(index, Host::Loaded(deed, Arc::clone(&self.job)));
        let busy = |deed| {
            let at_it = |host: &Host| matches!(host, Host::Loaded(other, _) if *other == deed);
            self.hosts.iter().any(at_it)
        };
        let mut worlds = Vec::new();
        match self.job.due() {
            Some((DueKind::Decision, _)) => worlds.push(loaded(Deed::Answer)),
            Some((DueKind::Dispatch, _)) => worlds.push(loaded(Deed::Publish)),
            Some((DueKind::Ack, _)) => worlds.extend(self.early(Deed::AckOverdue, busy, loaded)),
            Some((DueKind::Lease, _)) => {
                worlds.extend(self.early(Deed::LeaseOverdue, busy, loaded))
            }
            None => {}
        }
        for (at, call) in self.calls.iter().enumerate() {
            if self.calls[..at].contains(call) {
                continue; // the same from its twin
            }
            let mut world = loaded(Deed::Call(*call));
            world.calls.remove(at);
            worlds.push(world);
        }
        if self.left.cancels > 0 && !self.job.progress.status.is_terminal() {
            let mut world = loaded(Deed::Cancel);
            world.left.cancels -= 1;
            worlds.push(world);
        }
        worlds
    }

    /// A wait runs out although its service is at work; once nothing else can happen it runs out anyway.
    fn early(
        &self,
        deed: Deed,
        busy: impl Fn(Deed) -> bool,
        loaded: impl Fn(Deed) -> Self,
    ) -> Option<Self> {
        let nothing_else = self.bus.is_empty()
            && self.calls.is_empty()
            && self.hosts.iter().all(|host| matches!(host, Host::Idle));
        if nothing_else {
            return Some(loaded(deed));
        }
        let mut world = (self.left.timeouts > 0 && !busy(deed)).then(|| loaded(deed))?;
        world.left.timeouts -= 1;
        Some(world)
    }

    fn go_on(&self, index: usize, deed: Deed, job: &Arc<Job>, says: Says) -> Self {
        let again = |job| Host::Loaded(deed, job);
        match deed {
            Deed::Publish => self.publish(index, job),
            Deed::Answer => self.commit(index, job, None, again, Host::Idle),
            Deed::AckOverdue => self.commit(index, job, Some(Input::AckOverdue), again, Host::Idle),
            Deed::LeaseOverdue => {
                self.commit(index, job, Some(Input::LeaseOverdue), again, Host::Idle)
            }
            Deed::Cancel => self.commit(index, job, Some(Input::Cancel), again, Host::Idle),
            Deed::Call(call) => {
                // Until it is answered, a crash makes its sender ask again; without a crash left, it is answered.
                let done = match self.left.crashes {
                    0 => Host::Idle,
                    _ => Host::Answering(call),
                };
                self.commit(index, job, Some(callback(call, says)), again, done)
            }
        }
    }

    fn publish(&self, index: usize, job: &Arc<Job>) -> Self {
        let waiting = job.current().map(|(step, _, state)| (step, &state.phase));
        let Some((step, Phase::Dispatching { attempt, .. })) = waiting else {
            return self.with_host(index, Host::Idle);
        };
        let about = (step, attempt.key.no);
        let mut world = self.with_host(index, Host::Published(about, Arc::clone(job)));
        world.taken.insert(about);
        world.bus.push(about);
        world
    }

    /// What `Engine::drive` does: decide on what was loaded, answer what is asked, commit if nobody was faster, and
    /// else load again.
    fn commit(
        &self,
        index: usize,
        on: &Arc<Job>,
        input: Option<Input>,
        again: impl FnOnce(Arc<Job>) -> Host,
        done: Host,
    ) -> Self {
        let mut transition = Transition::of(on, START);
        if let Some(input) = input
            && let Err(rejection) = transition.apply(input)
        {
            self.may_reject(rejection, &done);
            return self.with_host(index, done);
        }
        answer(&mut transition);
        let Some(change) = transition.finish() else {
            return self.with_host(index, done);
        };
        if change.expected != self.job.progress.version {
            return self.with_host(index, again(Arc::clone(&self.job)));
        }
        follows(&self.job, &change);
        let mut world = self.with_host(index, done);
        for row in &change.outbox {
            world.change_row((row.step, row.attempt_no), &row.row);
        }
        for event in change.events.iter() {
            world.check(&event.event);
        }
        world.job = change.job;
        world.rows_agree();
        world
    }

    /// A refusal that the sender of a callback is told must be true of the job.
    fn may_reject(&self, rejection: Rejection, done: &Host) {
        let Host::Answering((about, _)) = done else {
            return;
        };
        let active = self.job.active_attempt();
        let current = active.is_some_and(|(at, attempt)| (at, attempt.key.no) == *about);
        match rejection {
            Rejection::Ignored(IgnoreReason::Stale) => {
                assert!(!current, "a current attempt is called stale")
            }
            Rejection::Ignored(IgnoreReason::Conflicting) => panic!("every RESULT says the same"),
            Rejection::Ignored(IgnoreReason::JobTerminal) => {
                assert!(self.job.progress.status.is_terminal());
            }
            Rejection::Ignored(IgnoreReason::Repeated | IgnoreReason::Decided) => {}
            Rejection::Terminal
            | Rejection::NotFailed
            | Rejection::Cancelling
            | Rejection::NotWaiting
            | Rejection::SameGeneration
            | Rejection::NotesFull => panic!("a callback is refused with {rejection}"),
        }
    }

    fn change_row(&mut self, name: (usize, AttemptNo), row: &OutboxRow) {
        let was = self.rows.insert(name, row.name());
        let (born, alive) = (
            matches!(row, OutboxRow::Pending { .. }),
            was == Some("PENDING"),
        );
        assert!(
            born && was.is_none() || alive,
            "{name:?} was {was:?} and becomes {}",
            row.name()
        );
    }

    /// I8 and I9.
    fn check(&self, event: &Event) {
        if let Event::DirectiveSent {
            step, attempt_no, ..
        } = event
        {
            assert!(
                self.taken.contains(&(*step, *attempt_no)),
                "SENT before it was published"
            );
        }
        if matches!(
            event,
            Event::AttemptCreated { .. } | Event::RetryScheduled { .. }
        ) {
            assert_ne!(self.job.progress.status, Status::Cancelling, "{event:?}");
        }
    }

    /// I6: a row is PENDING exactly while its attempt waits to be published.
    fn rows_agree(&self) {
        let waiting = self.job.active_attempt().filter(|(step, _)| {
            matches!(
                self.job.progress.steps[*step].phase,
                Phase::Dispatching { .. }
            )
        });
        let waiting: Vec<_> = waiting
            .map(|(step, attempt)| (step, attempt.key.no))
            .into_iter()
            .collect();
        let pending = self.rows.iter().filter(|(_, state)| **state == "PENDING");
        let pending: Vec<_> = pending.map(|(name, _)| *name).collect();
        assert_eq!(pending, waiting);
    }

    /// What it held in memory is gone; whoever waits for an answer asks again.
    fn crash(&self, index: usize) -> Self {
        let mut world = self.with_host(index, Host::Idle);
        world.left.crashes -= 1;
        if let Host::Loaded(Deed::Call(call), _) | Host::Answering(call) = &self.hosts[index] {
            world.calls.push(*call);
        }
        world
    }

    /// A service gets a directive, perhaps twice; a callback is sent twice.
    fn services(&self) -> Vec<Self> {
        let mut worlds = Vec::new();
        for (at, about) in self.bus.iter().enumerate() {
            if self.bus[..at].contains(about) {
                continue;
            }
            let mut world = self.clone();
            world
                .calls
                .extend([(*about, Word::Ack), (*about, Word::Result)]);
            if self.left.doubles > 0 {
                let mut doubled = world.clone();
                doubled.left.doubles -= 1;
                worlds.push(doubled);
            }
            world.bus.remove(at);
            worlds.push(world);
        }
        worlds
    }

    /// What tells two worlds apart. How many commits it took does not, nor which of the hosts is which; and of a job
    /// that a host has loaded only whether it is still the job.
    pub(crate) fn shape(&self) -> Vec<u8> {
        let mut progress = self.job.progress.clone();
        progress.version = lucius_domain::id::Version(0);
        (progress.events, progress.notes) = (0, 0);
        let fresh = |job: &Arc<Job>| job.progress.version == self.job.progress.version;
        let mut hosts = self.hosts.each_ref().map(|host| match host {
            Host::Idle => "idle".to_owned(),
            Host::Loaded(Deed::Publish, job) => {
                let attempt = job
                    .active_attempt()
                    .map(|(step, attempt)| (step, attempt.key));
                format!("publish {attempt:?} {}", fresh(job))
            }
            Host::Loaded(deed, job) => format!("{deed:?} {}", fresh(job)),
            Host::Published(about, job) => format!("published {about:?} {}", fresh(job)),
            Host::Answering(call) => format!("answering {call:?}"),
        });
        hosts.sort_unstable();
        let (mut bus, mut calls) = (self.bus.clone(), self.calls.clone());
        bus.sort_unstable();
        calls.sort_unstable();
        let steps: Vec<_> = progress.steps.iter().map(step_shape).collect();
        let status = (progress.status.name(), progress.current);
        let text = format!(
            "{status:?}{steps:?}{hosts:?}{bus:?}{calls:?}{:?}{:?}",
            self.taken, self.left
        );
        lucius_domain::id::Digest::of(text.as_bytes()).0[..16].to_vec()
    }
}

fn step_shape(step: &lucius_domain::job::Step) -> (&'static str, u32, u32, usize, bool) {
    let settling = matches!(step.phase, Phase::Settling { .. });
    let turn = matches!(step.phase, Phase::Waiting { .. });
    (
        step.state_name(),
        step.attempts.0,
        u32::from(turn),
        step.decided.len(),
        settling,
    )
}

/// Every question of a transition, answered as the engine does without a plugin.
fn answer(transition: &mut Transition) {
    while let Some(question) = transition.question() {
        let job = transition.job();
        let input = match question {
            Question::Route { step, attempt } => Input::Route {
                lease_id: lease_of(step, attempt),
                decision: None,
                outcome: Ok(Route::Dispatch(Dispatch {
                    service: job.spec.steps[step].service.clone(),
                    payload: None,
                    ack_ms: None,
                    lease_ms: None,
                })),
            },
            Question::Settle { step, .. } => {
                let Phase::Settling { report, .. } = &job.progress.steps[step].phase else {
                    panic!("a settle is only asked for a RESULT")
                };
                settle(Ok(Settle::by_default(report)))
            }
        };
        transition.apply(input).expect("it was asked for");
    }
}
