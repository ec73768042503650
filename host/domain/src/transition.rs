//! Several decisions, one commit.
//!
//! A RESULT that ends a step makes the plugin settle it, makes the next step's turn come, makes that step's plugin
//! route it, and puts a directive in the outbox: four decisions that become durable together or not at all. A
//! [`Transition`] takes the inputs one by one, folds the events into its copy of the job, and ends as the [`Change`]
//! that a ledger commits.

use std::sync::Arc;

use crate::decide::{Input, Rejection, decide};
use crate::event::{Event, Recorded};
use crate::evolve::evolve;
use crate::id::{AttemptNo, JobId, ServiceName, Version};
use crate::job::{Job, JobSpec, Phase};
use crate::plugin::Decision;
use crate::time::Timestamp;

/// What a ledger commits, in one transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The version it was decided on; 0 for a new job.
    pub expected: Version,
    /// The job as it is from now on; its version is `expected + 1`.
    pub job: Arc<Job>,
    /// What happened, in order; never empty. Shared, since those who watch a commit keep what it was.
    pub events: Arc<Vec<Recorded>>,
    /// What it means for the outbox.
    pub outbox: Vec<OutboxChange>,
}

/// A change to one outbox row, which is named by step and attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxChange {
    /// The step's index in the job's spec.
    pub step: usize,
    /// The attempt.
    pub attempt_no: AttemptNo,
    /// The row as it is from now on.
    pub row: OutboxRow,
}

/// The state of an outbox row. All but the first are terminal.
#[derive(Clone, Debug, PartialEq)]
pub enum OutboxRow {
    /// To be published at this time or after; a row that is there already gets the new time.
    Pending {
        /// The service it is for.
        service: ServiceName,
        /// Not before.
        publish_at: Timestamp,
    },
    /// The bus has it.
    Sent,
    /// It will never be published.
    FailedFinal,
    /// It need not be published any more.
    Cancelled,
}

impl OutboxRow {
    /// The public name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "PENDING",
            Self::Sent => "SENT",
            Self::FailedFinal => "FAILED_FINAL",
            Self::Cancelled => "CANCELLED",
        }
    }
}

/// A job on its way to its next version.
#[derive(Clone, Debug)]
pub struct Transition {
    expected: Version,
    job: Job,
    events: Vec<Recorded>,
    outbox: Vec<OutboxChange>,
    now: Timestamp,
}

impl Transition {
    /// Starts from a job as it was loaded, at this moment.
    pub fn of(job: &Job, now: Timestamp) -> Self {
        let expected = job.progress.version;
        let mut job = job.clone();
        job.progress.version = Version(expected.0 + 1);
        Self {
            expected,
            job,
            events: Vec::new(),
            outbox: Vec::new(),
            now,
        }
    }

    /// Starts a new job and accepts it; `decisions` are what plugins said of the steps' payloads, for the record.
    pub fn create(id: JobId, spec: Arc<JobSpec>, decisions: Vec<(usize, Decision)>) -> Self {
        let now = spec.created_at;
        let mut transition = Self::of(&Job::new(id, spec), now);
        transition.record(Event::Accepted);
        for (step, decision) in decisions {
            transition.record(Event::Decided { step, decision });
        }
        transition
    }

    /// Decides about one input and folds in what happens.
    ///
    /// # Errors
    /// Why nothing happens; the transition is as it was.
    pub fn apply(&mut self, input: Input) -> Result<(), Rejection> {
        for event in decide(&self.job, input, self.now)? {
            self.record(event);
        }
        Ok(())
    }

    /// The job as it is with all that was applied.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// The question that is due: one that only a plugin, or the protocol in its place, can answer.
    pub fn question(&self) -> Option<Question> {
        if self.job.progress.status.is_terminal() {
            return None;
        }
        let (step, _, state) = self.job.current()?;
        match &state.phase {
            Phase::Waiting { due_at, .. } if *due_at <= self.now => Some(Question::Route {
                step,
                attempt: state.attempts.next(),
            }),
            Phase::Settling {
                attempt, due_at, ..
            } if *due_at <= self.now => Some(Question::Settle {
                step,
                attempt: attempt.key.no,
            }),
            Phase::Waiting { .. }
            | Phase::Settling { .. }
            | Phase::Pending
            | Phase::Dispatching { .. }
            | Phase::AwaitingAck { .. }
            | Phase::InProgress { .. }
            | Phase::Succeeded
            | Phase::Skipped { .. }
            | Phase::FailedFinal
            | Phase::Cancelled => None,
        }
    }

    /// The change to commit; `None` when nothing happened.
    pub fn finish(self) -> Option<Change> {
        if self.events.is_empty() {
            return None;
        }
        let Self {
            expected,
            job,
            events,
            outbox,
            ..
        } = self;
        Some(Change {
            expected,
            job: Arc::new(job),
            events: Arc::new(events),
            outbox,
        })
    }

    fn record(&mut self, event: Event) {
        self.outbox
            .extend(outbox_change(&self.job, &event, self.now));
        let recorded = Recorded {
            seq: self.job.progress.events + 1,
            at: self.now,
            event,
        };
        evolve(&mut self.job, &recorded);
        self.events.push(recorded);
    }
}

/// A question that a transition cannot answer by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Where does this attempt of the step go?
    Route {
        /// The step.
        step: usize,
        /// The attempt to come.
        attempt: AttemptNo,
    },
    /// What does the RESULT of this attempt mean?
    Settle {
        /// The step.
        step: usize,
        /// The attempt.
        attempt: AttemptNo,
    },
}

/// What an event means for the outbox; `job` is as it was before the event.
fn outbox_change(job: &Job, event: &Event, now: Timestamp) -> Option<OutboxChange> {
    let waiting = |row| {
        let (step, attempt) = job.active_attempt()?;
        let phase = &job.progress.steps.get(step)?.phase;
        matches!(phase, Phase::Dispatching { .. }).then(|| OutboxChange {
            step,
            attempt_no: attempt.key.no,
            row,
        })
    };
    match event {
        Event::AttemptCreated { step, attempt } => Some(OutboxChange {
            step: *step,
            attempt_no: attempt.key.no,
            row: OutboxRow::Pending {
                service: attempt.service.clone(),
                publish_at: now,
            },
        }),
        Event::PublishFailed { publish_at, .. } => {
            let (_, attempt) = job.active_attempt()?;
            let service = attempt.service.clone();
            waiting(OutboxRow::Pending {
                service,
                publish_at: *publish_at,
            })
        }
        Event::DirectiveSent { .. } => waiting(OutboxRow::Sent),
        Event::StepFailed { .. } => waiting(OutboxRow::FailedFinal),
        Event::JobCancelled => waiting(OutboxRow::Cancelled),
        Event::Accepted
        | Event::Decided { .. }
        | Event::DecisionDeferred { .. }
        | Event::StepSkipped { .. }
        | Event::Acked { .. }
        | Event::LeaseRenewed { .. }
        | Event::ResultReceived { .. }
        | Event::StepSucceeded { .. }
        | Event::RetryScheduled { .. }
        | Event::StepCancelled { .. }
        | Event::CancelRequested
        | Event::JobSucceeded
        | Event::JobFailed { .. }
        | Event::Redriven { .. }
        | Event::Migrated { .. }
        | Event::CallbackIgnored { .. } => None,
    }
}
