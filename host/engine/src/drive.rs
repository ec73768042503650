//! The one way to change a job: load, decide, ask the plugins, commit; on a conflict, again from the start.

use std::sync::Arc;

use lucius_domain::decide::{Input, Rejection};
use lucius_domain::event::{Event, Recorded};
use lucius_domain::id::JobId;
use lucius_domain::job::Job;
use lucius_domain::transition::{Change, OutboxRow, Transition};
use lucius_ports::ledger::{self, Committed};

use crate::Engine;

/// How often a commit is tried against other writers. Each conflict means that another writer got on, so this many
/// in a row take as many others.
const MAX_CONFLICTS: usize = 32;

/// How driving a job ended.
#[derive(Debug)]
pub enum Driven {
    /// Something happened, durably; the job as it is now.
    Changed(Arc<Job>),
    /// The rules reject the input; the job as it is.
    Rejected(Arc<Job>, Rejection),
    /// There is no such job.
    NotFound,
}

/// Why it is not known how it ended.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The ledger does not say.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// Other writers were faster every time.
    #[error("too many conflicts on one job")]
    Contended,
}

/// What a commit does about the questions that are due.
#[derive(Clone, Copy)]
enum Questions {
    Answer,
    Leave,
}

impl Engine {
    /// Brings an input to a job. `input` is made again after each conflict. `known` is the job as the caller just saw
    /// it, which saves loading it.
    ///
    /// # Errors
    /// The outcome is unknown; the caller tries again, or leaves it to a sweeper.
    pub async fn drive(
        &self,
        id: JobId,
        known: Option<Arc<Job>>,
        input: impl Fn() -> Input + Send + Sync,
    ) -> Result<Driven, DriveError> {
        self.commit(id, known, Questions::Answer, |transition| {
            transition.apply(input())
        })
        .await
    }

    /// Puts something on record that changes nothing. A question that happens to be due stays for the sweeper: what a
    /// callback that does not count brings about is its own line in the record, and no more.
    pub(crate) async fn drive_note(
        &self,
        id: JobId,
        known: Arc<Job>,
        event: &Event,
    ) -> Result<Driven, DriveError> {
        let known = Some(known);
        self.commit(id, known, Questions::Leave, |transition| {
            let event = event.clone();
            transition.apply(Input::Note { event })
        })
        .await
    }

    /// Brings several inputs to a job in one commit: `apply` is called again after each conflict.
    pub(crate) async fn drive_with(
        &self,
        id: JobId,
        known: Option<Arc<Job>>,
        apply: impl Fn(&mut Transition) -> Result<(), Rejection> + Send + Sync,
    ) -> Result<Driven, DriveError> {
        self.commit(id, known, Questions::Answer, apply).await
    }

    /// Answers the question that is due for a job, if there is one.
    ///
    /// # Errors
    /// As [`Engine::drive`].
    pub async fn drive_question(&self, id: JobId) -> Result<Driven, DriveError> {
        self.commit(id, None, Questions::Answer, |_| Ok(())).await
    }

    async fn commit(
        &self,
        id: JobId,
        mut known: Option<Arc<Job>>,
        questions: Questions,
        apply: impl Fn(&mut Transition) -> Result<(), Rejection> + Send + Sync,
    ) -> Result<Driven, DriveError> {
        for _ in 0..MAX_CONFLICTS {
            let job = match known.take() {
                Some(job) => job,
                None => match self.ports.ledger.load(id).await? {
                    Some(job) => job,
                    None => return Ok(Driven::NotFound),
                },
            };
            let mut transition = Transition::of(&job, self.ports.clock.now());
            if let Err(rejection) = apply(&mut transition) {
                return Ok(Driven::Rejected(job, rejection));
            }
            match questions {
                Questions::Answer => self.answer_questions(&mut transition).await,
                Questions::Leave => {}
            }
            let Some(change) = transition.finish() else {
                return Ok(Driven::Rejected(job, Rejection::NotWaiting));
            };
            let writing = self.gates.begin(&job);
            match self.ports.ledger.commit(change.clone()).await? {
                Committed::Done => {
                    writing.done(&change.job);
                    self.announce(&change);
                    return Ok(Driven::Changed(change.job));
                }
                Committed::Conflict => writing.conflict(),
            }
        }
        Err(DriveError::Contended)
    }

    /// Asks plugins until the transition has no more questions for now. Every answer moves the job on or puts the
    /// question off, so this ends.
    pub(crate) async fn answer_questions(&self, transition: &mut Transition) {
        while let Some(question) = transition.question() {
            let input = self.answer(transition.job(), question).await;
            if let Err(rejection) = transition.apply(input) {
                // The question was put by this very transition, so its answer is wanted.
                tracing::error!(%rejection, "an answer was rejected; a sweeper will ask again");
                return;
            }
        }
    }

    /// Tells whoever may care that a change is durable.
    pub(crate) fn announce(&self, change: &Change) {
        let job = &change.job;
        self.outgoing.committed(change);
        let now = change.events.last().map(|Recorded { at, .. }| *at);
        let publish = change.outbox.iter().any(|row| match &row.row {
            OutboxRow::Pending { publish_at, .. } => Some(*publish_at) <= now,
            OutboxRow::Sent | OutboxRow::FailedFinal | OutboxRow::Cancelled => false,
        });
        if publish {
            self.hints.dispatch(Arc::clone(job));
        }
        self.hints.changed(job.id);
    }
}
