//! The invariants, checked after every write that took effect, against all that was seen before.
//!
//! The checker keeps a job of its own, folded from the events as they come in; a write is judged against the job as
//! it was before. It knows no rule of the engine but those that are promised.

use std::collections::{BTreeMap, BTreeSet};

use lucius_domain::event::{Event, Recorded};
use lucius_domain::evolve::evolve;
use lucius_domain::id::{AttemptNo, JobId, LeaseId};
use lucius_domain::job::{Job, Phase, Status};
use lucius_domain::plugin::Report;
use lucius_domain::transition::OutboxRow;

use crate::ports::BusLog;
use crate::rules::{attempts_have_rows, ended_steps_stay, rows_agree, within_budget};
use crate::world::{Effects, Violation};

pub(crate) type Rows = [(usize, AttemptNo, OutboxRow)];

/// What was seen of one job.
struct Seen {
    job: Job,
    /// By step and attempt: true when its RESULT said that it is done.
    results: BTreeMap<(usize, u32), bool>,
    acked: BTreeSet<(usize, u32)>,
}

/// All that was seen.
#[derive(Default)]
pub(crate) struct Checker {
    jobs: BTreeMap<JobId, Seen>,
    /// What the bus ever took.
    pub(crate) bus: BusLog,
    leases: BTreeSet<u128>,
    /// Commands that are one command to the ledger, and the job they became.
    groups: BTreeMap<String, JobId>,
    /// Writes that took effect.
    pub(crate) writes: u64,
}

pub(crate) fn violation(
    invariant: &'static str,
    job: JobId,
    what: impl Into<String>,
) -> Option<Violation> {
    let (job, what) = (Some(job), what.into());
    Some(Violation {
        invariant,
        job,
        what,
    })
}

pub(crate) type Verdict = Result<(), (&'static str, String)>;

pub(crate) fn ensure(
    holds: bool,
    invariant: &'static str,
    what: impl FnOnce() -> String,
) -> Verdict {
    if holds {
        Ok(())
    } else {
        Err((invariant, what()))
    }
}

impl Checker {
    pub(crate) fn ids(&self) -> Vec<JobId> {
        self.jobs.keys().copied().collect()
    }

    pub(crate) fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values().map(|seen| &seen.job)
    }

    pub(crate) fn job(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(&id).map(|seen| &seen.job)
    }

    pub(crate) fn events_of(&self, id: JobId) -> u64 {
        self.job(id).map_or(0, |job| job.progress.events)
    }

    /// What the RESULT of an attempt said, if it counted.
    pub(crate) fn result(&self, id: JobId, step: usize, no: AttemptNo) -> Option<bool> {
        self.jobs.get(&id)?.results.get(&(step, no.0)).copied()
    }

    pub(crate) fn is_acked(&self, id: JobId, step: usize, no: AttemptNo) -> bool {
        self.jobs
            .get(&id)
            .is_some_and(|seen| seen.acked.contains(&(step, no.0)))
    }

    /// Takes in a write: the job as it is stored now, its new events, all its outbox rows, and who made it.
    pub(crate) fn observe(
        &mut self,
        stored: &Job,
        events: &[Recorded],
        outbox: &Rows,
        effects: Option<&mut Effects>,
    ) -> Option<Violation> {
        self.writes += 1;
        let verdict = self.judge(stored, events, outbox, effects);
        let (invariant, what) = verdict.err()?;
        violation(invariant, stored.id, what)
    }

    fn judge(
        &mut self,
        stored: &Job,
        events: &[Recorded],
        outbox: &Rows,
        effects: Option<&mut Effects>,
    ) -> Verdict {
        let id = stored.id;
        let is_new = !self.jobs.contains_key(&id);
        if is_new {
            self.created(stored)?;
        }
        let Some(seen) = self.jobs.get_mut(&id) else {
            return Ok(());
        };
        let (was, is) = (seen.job.progress.version.0, stored.progress.version.0);
        ensure(is == was + 1, "I14", || {
            format!("version {was} was followed by {is}")
        })?;
        if let Some(effects) = effects {
            came_from(&seen.job, events, effects)?;
            effects.created |= is_new;
        }
        for recorded in events {
            one_event(seen, recorded, &self.bus, &mut self.leases)?;
        }
        seen.job.progress.version = stored.progress.version;
        ensure(seen.job == *stored, "I19", || {
            format!(
                "the events make {:?}, stored is {:?}",
                seen.job.progress, stored.progress
            )
        })?;
        let active = stored
            .progress
            .steps
            .iter()
            .filter(|step| is_active(&step.phase));
        let active = active.count();
        ensure(active <= 1, "I2", || format!("{active} steps are active"))?;
        rows_agree(stored, outbox)?;
        attempts_have_rows(stored, events, outbox)
    }

    /// One command is at most one job.
    fn created(&mut self, stored: &Job) -> Verdict {
        let group = stored.spec.doc_id.clone().unwrap_or_default();
        let group = group.split('-').next().unwrap_or_default().to_owned();
        let earlier = self.groups.insert(group, stored.id);
        self.jobs.insert(
            stored.id,
            Seen {
                job: Job::new(stored.id, stored.spec.clone()),
                results: BTreeMap::new(),
                acked: BTreeSet::new(),
            },
        );
        ensure(earlier.is_none(), "I5", || {
            format!("a command that is job {earlier:?} already became another job")
        })
    }

    /// What must hold of a job that has ended: all of its story, from the first event.
    pub(crate) fn at_the_end(
        &self,
        stored: &Job,
        events: &[Recorded],
        outbox: &Rows,
    ) -> Option<Violation> {
        let mut job = Job::new(stored.id, stored.spec.clone());
        for recorded in events {
            evolve(&mut job, recorded);
        }
        job.progress.version = stored.progress.version;
        let verdict = ensure(job == *stored, "I19", || {
            "its events do not make it what it is".to_owned()
        })
        .and_then(|()| {
            outbox.iter().try_for_each(|(step, no, row)| {
                let taken = self.bus.contains_key(&bus_key(stored, *step, *no));
                let what = || {
                    format!(
                        "attempt {step}:{no} is {} and was never published",
                        row.name()
                    )
                };
                match row {
                    OutboxRow::Sent => ensure(taken, "I8", what),
                    OutboxRow::Pending { .. } => Err(("I7", what())),
                    OutboxRow::FailedFinal | OutboxRow::Cancelled => Ok(()),
                }
            })
        });
        let (invariant, what) = verdict.err()?;
        violation(invariant, stored.id, what)
    }
}

fn bus_key(job: &Job, step: usize, no: AttemptNo) -> (JobId, String, u32) {
    let step = job.spec.steps.get(step);
    let step = step.map_or("", |step| step.step_id.as_str());
    (job.id, step.to_owned(), no.0)
}

fn is_active(phase: &Phase) -> bool {
    match phase {
        Phase::Dispatching { .. }
        | Phase::AwaitingAck { .. }
        | Phase::InProgress { .. }
        | Phase::Settling { .. }
        | Phase::Waiting { .. } => true,
        Phase::Pending
        | Phase::Succeeded
        | Phase::Skipped { .. }
        | Phase::FailedFinal
        | Phase::Cancelled => false,
    }
}

fn is_note(event: &Event) -> bool {
    matches!(event, Event::CallbackIgnored { .. })
}

/// I11: a callback moves a job only when it names the attempt that is under way.
fn came_from(before: &Job, events: &[Recorded], effects: &mut Effects) -> Verdict {
    if events.iter().all(|it| is_note(&it.event)) {
        return Ok(());
    }
    effects.changed = true;
    let Some((_, key)) = &effects.callback else {
        return Ok(());
    };
    let active = before.active_attempt().map(|(_, attempt)| attempt.key);
    ensure(active == Some(*key), "I11", || {
        format!(
            "a callback of attempt {} moved the job, whose attempt is {active:?}",
            key.no
        )
    })
}

/// Judges one event against the job as it was before it, and folds it in.
fn one_event(
    seen: &mut Seen,
    recorded: &Recorded,
    bus: &BusLog,
    leases: &mut BTreeSet<u128>,
) -> Verdict {
    let Seen {
        job,
        results,
        acked,
    } = seen;
    let (event, name) = (&recorded.event, recorded.event.name());
    let due = job.progress.events + 1;
    ensure(recorded.seq == due, "I19", || {
        format!("event {} where {due} is due", recorded.seq)
    })?;
    let status = &job.progress.status;
    let allowed = !status.is_terminal()
        || is_note(event)
        || matches!(
            (status, event),
            (
                Status::FailedFinal { .. },
                Event::Redriven { .. } | Event::Migrated { .. }
            )
        );
    ensure(allowed, "I1", || {
        format!("{name} after the job was {}", status.name())
    })?;
    let starts = matches!(
        event,
        Event::AttemptCreated { .. } | Event::RetryScheduled { .. }
    );
    ensure(!(starts && *status == Status::Cancelling), "I9", || {
        format!("{name} while the job is being cancelled")
    })?;
    match event {
        Event::AttemptCreated { step, attempt } => {
            let LeaseId(lease) = attempt.key.lease_id;
            let latest = job.progress.steps.get(*step).map(|step| step.attempts);
            ensure(
                latest.map(AttemptNo::next) == Some(attempt.key.no),
                "I10",
                || format!("attempt {} after {latest:?}", attempt.key.no),
            )?;
            ensure(leases.insert(lease.as_u128()), "I10", || {
                format!(
                    "attempt {} has a lease that was used before",
                    attempt.key.no
                )
            })?;
        }
        Event::DirectiveSent {
            step, attempt_no, ..
        } => {
            let lease = job
                .active_attempt()
                .map(|(_, attempt)| attempt.key.lease_id);
            let taken = bus.get(&bus_key(job, *step, *attempt_no));
            ensure(
                taken.map(|it| it.0) == lease && lease.is_some(),
                "I8",
                || format!("attempt {attempt_no} is SENT, and the bus never took it"),
            )?;
        }
        Event::ResultReceived {
            step,
            attempt_no,
            report,
            ..
        } => {
            let done = matches!(report, Report::Succeeded { .. });
            let earlier = results.insert((*step, attempt_no.0), done);
            ensure(earlier.is_none(), "I12", || {
                format!("a second RESULT counted for attempt {attempt_no}")
            })?;
        }
        Event::Acked {
            step, attempt_no, ..
        } => {
            let first = acked.insert((*step, attempt_no.0));
            ensure(first, "I12", || {
                format!("a second ACK counted for attempt {attempt_no}")
            })?;
        }
        Event::LeaseRenewed {
            step,
            lease_expires_at,
            ..
        } => {
            let phase = job.progress.steps.get(*step).map(|step| &step.phase);
            let bounded = matches!(phase, Some(Phase::InProgress { ends_by, .. }) if lease_expires_at <= ends_by);
            ensure(bounded, "I3", || {
                format!(
                    "a heartbeat moved the lease to {lease_expires_at}, beyond the attempt's deadline"
                )
            })?;
        }
        Event::Accepted
        | Event::Decided { .. }
        | Event::DecisionDeferred { .. }
        | Event::StepSkipped { .. }
        | Event::PublishFailed { .. }
        | Event::StepSucceeded { .. }
        | Event::RetryScheduled { .. }
        | Event::StepFailed { .. }
        | Event::StepCancelled { .. }
        | Event::CancelRequested
        | Event::JobSucceeded
        | Event::JobFailed { .. }
        | Event::JobCancelled
        | Event::Redriven { .. }
        | Event::Migrated { .. }
        | Event::CallbackIgnored { .. } => {}
    }
    let before = job.clone();
    evolve(job, recorded);
    ended_steps_stay(&before, job, event)?;
    within_budget(job)
}
