//! What holds after every commit, whoever made it. The numbers are those of the list of invariants that the project
//! keeps: I1 terminal is terminal, I2 one step at a time, I6 state and outbox together, I9 nothing new for a job that
//! ends, I10 attempts and leases only advance, I13 budgets, I14 versions without gaps, I19 the trail is the job.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use lucius_domain::decide::MAX_NOTES;
use lucius_domain::event::{Event, Recorded};
use lucius_domain::evolve::evolve;
use lucius_domain::id::{AttemptNo, LeaseId, Version};
use lucius_domain::job::{Job, JobProgress, JobSpec, Phase, Status};
use lucius_domain::transition::{Change, OutboxRow};

/// What a ledger would hold of one job.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) events: Vec<Recorded>,
    pub(crate) outbox: BTreeMap<(usize, AttemptNo), OutboxRow>,
    commits: u64,
    leases: HashSet<LeaseId>,
}

impl History {
    /// Takes a commit and checks all that must hold.
    pub(crate) fn commit(&mut self, before: &Job, change: &Change) {
        let after = &change.job;
        self.versions_and_numbers_have_no_gaps(before, change);
        follows(before, change);
        self.attempts_only_advance(before, change);
        self.outbox_follows_the_job(before, change);
        self.events.extend(change.events.iter().cloned());
        self.trail_is_the_job(after);
    }

    /// The same after everything went through the text that a ledger stores.
    pub(crate) fn survives_storage(&self, job: &Job) {
        let spec: JobSpec = through_text(&*job.spec);
        assert_eq!(spec, *job.spec);
        let progress: JobProgress = through_text(&job.progress);
        assert_eq!(progress, job.progress);
        let events: Vec<Recorded> = self.events.iter().map(through_text).collect();
        assert_eq!(events, self.events);
        assert_eq!(self.fold(Job::new(job.id, Arc::new(spec)), &events), *job);
    }

    fn versions_and_numbers_have_no_gaps(&mut self, before: &Job, change: &Change) {
        assert_eq!(change.expected, before.progress.version);
        assert_eq!(change.job.progress.version, Version(change.expected.0 + 1));
        self.commits += 1;
        assert_eq!(change.job.progress.version, Version(self.commits));
        assert!(!change.events.is_empty());
        let numbers = change.events.iter().map(|it| it.seq);
        assert!(numbers.eq(before.progress.events + 1..=change.job.progress.events));
    }

    fn attempts_only_advance(&mut self, before: &Job, change: &Change) {
        let mut numbers: Vec<AttemptNo> =
            before.progress.steps.iter().map(|s| s.attempts).collect();
        for recorded in change.events.iter() {
            if let Event::AttemptCreated { step, attempt } = &recorded.event {
                assert_eq!(attempt.key.no, numbers[*step].next());
                numbers[*step] = attempt.key.no;
                assert!(
                    self.leases.insert(attempt.key.lease_id),
                    "a lease is used again"
                );
                let redriven = change
                    .events
                    .iter()
                    .any(|it| matches!(it.event, Event::Redriven { .. }));
                assert!(redriven || !before.progress.status.is_terminal());
                assert_ne!(before.progress.status, Status::Cancelling);
            }
        }
    }

    fn outbox_follows_the_job(&mut self, before: &Job, change: &Change) {
        let mut created = HashSet::new();
        for recorded in change.events.iter() {
            if let Event::AttemptCreated { step, attempt } = &recorded.event {
                let rows = change
                    .outbox
                    .iter()
                    .filter(|row| (row.step, row.attempt_no) == (*step, attempt.key.no));
                let pending = rows
                    .filter(|row| matches!(&row.row, OutboxRow::Pending { service, .. } if *service == attempt.service));
                assert_eq!(pending.count(), 1, "an attempt has one outbox row");
                created.insert((*step, attempt.key.no));
            }
        }
        for row in &change.outbox {
            let name = (row.step, row.attempt_no);
            match self.outbox.insert(name, row.row.clone()) {
                None => assert!(created.contains(&name), "a row comes with its attempt"),
                Some(OutboxRow::Pending { .. }) => {}
                Some(
                    earlier @ (OutboxRow::Sent | OutboxRow::FailedFinal | OutboxRow::Cancelled),
                ) => {
                    panic!("a row that is {} changes: {row:?}", earlier.name())
                }
            }
        }
        let pending: Vec<_> = self
            .outbox
            .iter()
            .filter_map(|((step, no), row)| match row {
                OutboxRow::Pending { publish_at, .. } => Some((*step, *no, *publish_at)),
                OutboxRow::Sent | OutboxRow::FailedFinal | OutboxRow::Cancelled => None,
            })
            .collect();
        let waiting: Vec<_> = change
            .job
            .progress
            .steps
            .iter()
            .enumerate()
            .filter_map(|(index, step)| {
                let Phase::Dispatching {
                    attempt,
                    publish_at,
                    ..
                } = &step.phase
                else {
                    return None;
                };
                Some((index, attempt.key.no, *publish_at))
            })
            .collect();
        assert_eq!(
            pending, waiting,
            "PENDING rows are the attempts that wait; before: {before:?}"
        );
    }

    fn trail_is_the_job(&self, job: &Job) {
        let fresh = Job::new(job.id, Arc::clone(&job.spec));
        assert_eq!(self.fold(fresh, &self.events), *job);
    }

    fn fold(&self, mut job: Job, events: &[Recorded]) -> Job {
        for recorded in events {
            evolve(&mut job, recorded);
        }
        // The version counts commits, which the trail alone does not tell apart.
        job.progress.version = Version(self.commits);
        job
    }
}

fn through_text<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    let text = serde_json::to_string(value).expect("plain data serializes");
    serde_json::from_str(&text).expect("what was written can be read")
}

fn is_over(phase: &Phase) -> bool {
    match phase {
        Phase::Succeeded | Phase::Skipped { .. } | Phase::FailedFinal | Phase::Cancelled => true,
        Phase::Pending
        | Phase::Waiting { .. }
        | Phase::Dispatching { .. }
        | Phase::AwaitingAck { .. }
        | Phase::InProgress { .. }
        | Phase::Settling { .. } => false,
    }
}

fn is_active(phase: &Phase) -> bool {
    !is_over(phase) && *phase != Phase::Pending
}

fn terminal_states_stay(before: &Job, change: &Change) {
    let after = &change.job;
    let redriven = change.events.iter().find_map(|it| {
        let Event::Redriven { step } = it.event else {
            return None;
        };
        Some(step)
    });
    if before.progress.status.is_terminal() && redriven.is_none() {
        let failed = matches!(before.progress.status, Status::FailedFinal { .. });
        let noted = |it: &Recorded| {
            matches!(it.event, Event::CallbackIgnored { .. })
                || failed && matches!(it.event, Event::Migrated { .. })
        };
        assert!(change.events.iter().all(noted), "{:?}", change.events);
        assert_eq!(after.progress.status, before.progress.status);
        assert_eq!(after.progress.steps, before.progress.steps);
        assert_eq!(after.progress.completed_at, before.progress.completed_at);
    }
    if redriven.is_some() {
        assert!(matches!(before.progress.status, Status::FailedFinal { .. }));
    }
    let steps = before.progress.steps.iter().zip(&after.progress.steps);
    for (index, (was, is)) in steps.enumerate() {
        if is_over(&was.phase) && redriven != Some(index) {
            assert_eq!(was.phase, is.phase, "a step that is over changes");
        }
    }
}

/// What holds of a job by itself, whatever brought it there.
pub(crate) fn holds(job: &Job) {
    one_step_is_active(job);
    status_fits_the_steps(job);
    assert_eq!(job.due().is_none(), job.progress.status.is_terminal());
    assert!(job.progress.notes <= MAX_NOTES);
    for (spec, step) in job.spec.steps.iter().zip(&job.progress.steps) {
        assert!(step.attempts_in_budget() <= spec.timing.max_attempts);
    }
}

/// What holds between a job and what one commit makes of it.
pub(crate) fn follows(before: &Job, change: &Change) {
    assert_eq!(change.expected, before.progress.version);
    assert_eq!(change.job.progress.version, Version(change.expected.0 + 1));
    terminal_states_stay(before, change);
    let mut folded = before.clone();
    for recorded in change.events.iter() {
        evolve(&mut folded, recorded);
    }
    folded.progress.version = change.job.progress.version;
    assert_eq!(folded, *change.job);
    holds(&change.job);
}

fn one_step_is_active(job: &Job) {
    let active = job
        .progress
        .steps
        .iter()
        .filter(|step| is_active(&step.phase));
    let expected = usize::from(!job.progress.status.is_terminal());
    assert_eq!(active.count(), expected, "{:?}", job.progress);
    let current = job.progress.current;
    for (index, step) in job.progress.steps.iter().enumerate() {
        if index < current {
            assert!(matches!(
                step.phase,
                Phase::Succeeded | Phase::Skipped { .. }
            ));
        } else if index > current {
            assert!(matches!(step.phase, Phase::Pending | Phase::Cancelled));
        }
    }
}

fn status_fits_the_steps(job: &Job) {
    let phases: Vec<&Phase> = job.progress.steps.iter().map(|step| &step.phase).collect();
    let is_done = |phase: &&&Phase| matches!(phase, Phase::Succeeded | Phase::Skipped { .. });
    let failed = phases.iter().filter(|phase| ***phase == Phase::FailedFinal);
    match &job.progress.status {
        Status::Queued | Status::Dispatching | Status::InProgress => {
            assert_eq!(failed.count(), 0);
        }
        Status::Cancelling => {
            let (_, attempt) = job
                .active_attempt()
                .expect("it waits for an attempt to end");
            let current = phases[job.progress.current];
            let out = matches!(
                current,
                Phase::AwaitingAck { .. } | Phase::InProgress { .. }
            );
            assert!(out, "{attempt:?} is not out");
        }
        Status::Succeeded => assert_eq!(phases.iter().filter(is_done).count(), phases.len()),
        Status::FailedFinal { failure } => {
            assert_eq!(failed.count(), 1);
            let step = &job.progress.steps[job.progress.current];
            assert_eq!(step.last_failure.as_ref(), Some(failure));
        }
        Status::Cancelled => {
            assert_eq!(failed.count(), 0);
            assert!(phases.iter().all(|phase| is_over(phase)));
        }
    }
    assert_eq!(
        job.progress.completed_at.is_some(),
        job.progress.status.is_terminal()
    );
}
