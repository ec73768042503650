//! What becomes of a task: how it begins, how it ends, and whether its answer is true.
//!
//! An answer that is sure of itself is checked against the ledger: what was confirmed is there, what was refused has
//! changed nothing. One that says "unknown" binds nobody, and whoever got it may ask again.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use lucius_domain::contract::CallbackKind;
use lucius_domain::id::{JobId, StepId};
use lucius_domain::job::Status;
use lucius_engine::{Engine, Refusal};
use lucius_ports::ledger::Ledger as _;

use crate::host::{About, Answer, Task};
use crate::run::Run;
use crate::worker::{self, Callback};
use crate::world::{Effects, Happening, Violation, at_once};

impl Run {
    pub(crate) fn begin(&mut self, host: usize, about: About) {
        let Some(engine) = self.hosts[host].engine.clone() else {
            return self.unknown(about);
        };
        match about {
            About::Submit(order) => {
                let body = self.clients.orders[order].body.clone();
                self.spawn(host, About::Submit(order), async move {
                    Answer::Accepted(engine.accept(body).await)
                });
            }
            About::Call(callback) => {
                let body = callback.body(self.world.state().clock(host));
                let token = callback.directive.callback_token.clone();
                let kind = callback.kind;
                self.spawn(host, About::Call(callback), async move {
                    let token = Some(token.as_str());
                    Answer::Applied(match kind {
                        CallbackKind::Ack => engine.ack(body, token).await,
                        CallbackKind::Heartbeat => engine.heartbeat(body, token).await,
                        CallbackKind::Result => engine.result(body, token).await,
                    })
                });
            }
            About::Cancel(job) => self.spawn(host, About::Cancel(job), async move {
                Answer::Verb(engine.cancel(job).await)
            }),
            About::Redrive(job) => self.spawn(host, About::Redrive(job), async move {
                Answer::Verb(engine.redrive(job).await)
            }),
            About::Open | About::Tick => {}
        }
    }

    pub(crate) fn spawn(
        &mut self,
        host: usize,
        about: About,
        future: impl Future<Output = Answer> + 'static,
    ) {
        self.serial += 1;
        let id = self.serial;
        let callback = match &about {
            About::Call(callback) => Some((callback.directive.step_id.clone(), callback.key())),
            About::Open | About::Submit(_) | About::Cancel(_) | About::Redrive(_) | About::Tick => {
                None
            }
        };
        let effects = Effects {
            callback,
            ..Effects::default()
        };
        let state = &mut *self.world.state();
        state.effects.insert(id, effects);
        let (job, what) = describe(&about);
        if !matches!(about, About::Tick) {
            state.note(job, format!("task {id} at host {host}: {what}"));
        }
        self.tasks.push(Task {
            id,
            host,
            about,
            future: Box::pin(future),
        });
    }

    /// Polls a task once; true when it is over, or its host has died, and it is gone.
    pub(crate) fn poll(&mut self, index: usize) -> bool {
        self.polls += 1;
        let task = &mut self.tasks[index];
        self.world.state().task = Some(task.id);
        let polled = task
            .future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        self.world.state().task = None;
        match polled {
            Poll::Pending => {
                let host = task.host;
                self.stopped(host)
            }
            Poll::Ready(answer) => {
                let task = self.tasks.remove(index);
                self.answered(&task, answer);
                true
            }
        }
    }

    /// Whoever asked does not know what became of it, and asks again if it is that kind.
    pub(crate) fn unknown(&mut self, about: About) {
        let state = &mut *self.world.state();
        let again = state.calm || state.dice.permille(700);
        let delay = state.dice.between(100, 1_500);
        match about {
            About::Submit(order) if again => state.later(delay, Happening::Submit(order)),
            About::Call(callback) if again => state.later(delay, Happening::Call(callback)),
            About::Submit(_)
            | About::Call(_)
            | About::Open
            | About::Cancel(_)
            | About::Redrive(_)
            | About::Tick => {}
        }
    }

    fn answered(&mut self, task: &Task, answer: Answer) {
        let effects = self.world.state().effects.get(&task.id).cloned();
        let effects = effects.unwrap_or_default();
        let verdict = match (&task.about, answer) {
            (About::Open, Answer::Opened(opened)) => {
                self.opened(task.host, opened);
                None
            }
            (About::Submit(order), Answer::Accepted(Ok(accepted))) => {
                let (order, job) = (*order, accepted.job.id);
                self.world
                    .note(Some(job), format!("task {}: accepted", task.id));
                self.is_there(job);
                self.clients.confirmed(order, job)
            }
            (About::Submit(order), Answer::Accepted(Err(refusal))) => {
                self.refused(task, None, &refusal, About::Submit(*order), effects.created)
            }
            (About::Call(callback), Answer::Applied(Ok(applied))) => {
                let note = format!("task {}: applied {applied}", task.id);
                self.world.note(Some(callback.directive.job_id), note);
                self.applied(callback, applied, effects.changed)
            }
            (About::Call(callback), Answer::Applied(Err(refusal))) => {
                let (job, about) = (callback.directive.job_id, About::Call(callback.clone()));
                self.refused(task, Some(job), &refusal, about, effects.changed)
            }
            (About::Cancel(id), Answer::Verb(Ok(job))) => {
                let status = &job.progress.status;
                let ends = matches!(status, Status::Cancelling | Status::Cancelled);
                let what = || format!("cancelled, and {}", status.name());
                if ends && self.is_stored(*id, job.progress.version.0) {
                    None
                } else {
                    crate::check::violation("CANCEL", *id, what())
                }
            }
            (About::Redrive(id), Answer::Verb(Ok(job))) => {
                let stored = self.is_stored(*id, job.progress.version.0);
                let lost = || crate::check::violation("I12", *id, "its redrive was lost");
                if stored { None } else { lost() }
            }
            (About::Cancel(id) | About::Redrive(id), Answer::Verb(Err(refusal))) => {
                self.refused(task, Some(*id), &refusal, About::Tick, effects.changed)
            }
            _ => None,
        };
        self.world.state().violate(verdict);
    }

    fn opened(&mut self, index: usize, opened: Result<Arc<Engine>, String>) {
        self.hosts[index].opening = false;
        match opened {
            Ok(engine) => {
                let hints = {
                    let state = &mut *self.world.state();
                    state.note(None, format!("host {index} is up"));
                    state.dice.permille(500)
                };
                if hints {
                    self.hosts[index].start_hints(&engine);
                }
                self.hosts[index].engine = Some(engine);
            }
            Err(error) => self
                .world
                .note(None, format!("host {index} does not start: {error}")),
        }
    }

    /// A refusal that is sure of itself has changed nothing; one that is not may be asked again.
    fn refused(
        &mut self,
        task: &Task,
        job: Option<JobId>,
        refusal: &Refusal,
        about: About,
        changed: bool,
    ) -> Option<Violation> {
        let code = refusal.code();
        self.world.note(job, format!("task {}: {code}", task.id));
        if matches!(refusal, Refusal::LedgerUnavailable(_) | Refusal::Contended) {
            self.unknown(about);
            return None;
        }
        let what = format!(
            "task {} was refused with {code} and changed something",
            task.id
        );
        changed.then_some(Violation {
            invariant: "I11",
            job,
            what,
        })
    }

    fn applied(&self, callback: &Callback, applied: bool, changed: bool) -> Option<Violation> {
        let directive = &callback.directive;
        let job = directive.job_id;
        if !applied {
            let what = "a callback was answered as not applied and changed something";
            return changed
                .then(|| crate::check::violation("I11", job, what))
                .flatten();
        }
        let state = self.world.state();
        let step = step_of(&state.check, job, &directive.step_id)?;
        let no = directive.attempt_no;
        let holds = match callback.kind {
            CallbackKind::Ack | CallbackKind::Heartbeat => state.check.is_acked(job, step, no),
            CallbackKind::Result => {
                let done = matches!(
                    callback.outcome,
                    worker::Outcome::Done | worker::Outcome::DoneElsewhere
                );
                state.check.result(job, step, no) == Some(done)
            }
        };
        let what = format!(
            "{} was answered as applied and is not in the ledger",
            callback.name()
        );
        if holds {
            None
        } else {
            crate::check::violation("I12", job, what)
        }
    }

    fn is_stored(&self, job: JobId, version: u64) -> bool {
        let stored = at_once(self.world.memory.load(job)).ok().flatten();
        stored.is_some_and(|stored| stored.progress.version.0 >= version)
    }

    /// I4.
    pub(crate) fn is_there(&self, job: JobId) {
        if !self.is_stored(job, 1) {
            let what = "it was confirmed to a client and is not in the ledger";
            let lost = crate::check::violation("I4", job, what);
            self.world.state().violate(lost);
        }
    }
}

fn step_of(check: &crate::check::Checker, job: JobId, step: &StepId) -> Option<usize> {
    check.job(job)?.step_index(step)
}

fn describe(about: &About) -> (Option<JobId>, String) {
    match about {
        About::Open => (None, "opens".to_owned()),
        About::Submit(order) => (None, format!("command {order}")),
        About::Call(callback) => (Some(callback.directive.job_id), callback.name()),
        About::Cancel(job) => (Some(*job), "cancel".to_owned()),
        About::Redrive(job) => (Some(*job), "redrive".to_owned()),
        About::Tick => (None, "tick".to_owned()),
    }
}
