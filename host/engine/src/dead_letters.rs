//! What has come to nothing and waits for a person: jobs that failed for good, grouped by why, and messages that the
//! bus gave up on.
//!
//! Failed jobs are found by the ledger's index of signatures, so looking costs what failed. A dead message is only a
//! copy: the job it belongs to is in the ledger, and its attempt ended or will end by its own time-outs. So a dead
//! queue is drained by asking the ledger ([`Engine::drain_one`]): the directive of an attempt that is still under way
//! is published again, anything else is dropped.

use std::sync::Arc;

use lucius_domain::contract::Directive;
use lucius_domain::id::{AttemptKey, ServiceName, TenantId};
use lucius_domain::job::{DueKind, Job};
use lucius_domain::routing::Lane;
use lucius_domain::signature::Signature;
use lucius_domain::time::Timestamp;
use lucius_ports::bus;
use lucius_ports::dead_queues::{DeadMessage, DeadQueue};
use lucius_ports::ledger::{self, Filter};

use crate::Engine;

/// How many jobs of a group are shown.
const SAMPLES: usize = 3;

/// Jobs that failed for good for one reason.
#[derive(Clone, Debug)]
pub struct Group {
    /// The reason.
    pub signature: Signature,
    /// How many jobs.
    pub count: u64,
    /// When the first of them failed.
    pub first_at: Timestamp,
    /// When the last of them failed.
    pub last_at: Timestamp,
    /// The newest few of them.
    pub samples: Vec<Arc<Job>>,
}

/// What became of a dead message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Its attempt is under way, and the directive was published again.
    Resent,
    /// Its attempt is over, or it is no directive of this host's; it was dropped.
    Dropped,
}

/// Why a dead queue was not drained.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// The bus did not answer.
    #[error(transparent)]
    Bus(#[from] bus::Error),
    /// The ledger did not answer.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
}

impl Engine {
    /// The jobs that failed for good, of one tenant or of all, by reason, the most frequent first.
    ///
    /// # Errors
    /// The ledger did not answer.
    pub async fn dead_letters(
        &self,
        tenant: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<Group>, ledger::Error> {
        let mut groups = Vec::new();
        for failures in self.ports.upkeep.failures(tenant, limit).await? {
            let filter = Filter {
                tenant_id: tenant.cloned(),
                signature: Some(failures.signature),
                limit: SAMPLES,
                ..Filter::default()
            };
            let samples = self.ports.ledger.list(filter).await?;
            // The last of them may have been redriven since the groups were counted.
            let Some(signature) = samples.first().and_then(|job| Signature::of(job)) else {
                continue;
            };
            groups.push(Group {
                signature,
                count: failures.count,
                first_at: failures.first_at,
                last_at: failures.last_at,
                samples,
            });
        }
        Ok(groups)
    }

    /// The bus's dead-letter queues that hold anything.
    ///
    /// # Errors
    /// The bus did not answer.
    pub async fn dead_queues(&self) -> Result<Vec<DeadQueue>, bus::Error> {
        self.ports.dead_queues.dead_queues().await
    }

    /// Takes the next message out of a dead-letter queue and does what the ledger says about it; nothing when the
    /// queue is empty. A crash in between loses the copy and nothing else: an attempt that waits for it ends by its
    /// ACK timeout, and the next one has a message of its own.
    ///
    /// # Errors
    /// The bus or the ledger did not answer; the job goes on by its time-outs.
    pub async fn drain_one(
        &self,
        lane: Lane,
        service: &ServiceName,
    ) -> Result<Option<Drained>, DrainError> {
        let taken = self.ports.dead_queues.take_dead(lane, service).await?;
        let Some(message) = taken else {
            return Ok(None);
        };
        let drained = match self.still_wanted(&message).await? {
            Some(again) => {
                self.ports.bus.publish(&again).await?;
                Drained::Resent
            }
            None => Drained::Dropped,
        };
        tracing::info!(
            message = message.message_id, lane = lane.number(), %service, ?drained,
            "a dead message was drained"
        );
        Ok(Some(drained))
    }

    /// The message to publish again, when the attempt it is for waits for an ACK.
    async fn still_wanted(
        &self,
        message: &DeadMessage,
    ) -> Result<Option<bus::Message>, ledger::Error> {
        let Ok(directive) = serde_json::from_str::<Directive>(&message.body) else {
            return Ok(None);
        };
        let Some(job) = self.ports.ledger.load(directive.job_id).await? else {
            return Ok(None);
        };
        let of_message = AttemptKey {
            no: directive.attempt_no,
            lease_id: directive.lease_id,
        };
        let waits = matches!(job.due(), Some((DueKind::Ack, _)));
        let active = job
            .active_attempt()
            .filter(|(_, attempt)| waits && attempt.key == of_message);
        Ok(active.map(|(step, attempt)| self.message(&job, step, attempt)))
    }
}
