//! Asking for redrives, looking at them, stopping them.

use lucius_ports::bus;
use lucius_ports::records::{Records, Versioned, Written};
use uuid::Uuid;

use super::{Error, Id, Matched, Order, Redrive, State, Target, is_due};
use crate::Engine;

/// How far matching jobs are counted.
const COUNT_LIMIT: u64 = 10_000;
/// How many jobs one look of a count takes.
const COUNT_PAGE: usize = 500;
/// How often a redrive is stopped against its own progress.
const MAX_CONFLICTS: usize = 32;

impl Engine {
    /// How many jobs or messages a redrive would take, without taking any.
    ///
    /// # Errors
    /// The ledger or the bus did not answer.
    pub async fn count_redrive(&self, target: &Target) -> Result<Matched, Error> {
        let selection = match target {
            Target::Bus { lane, service } => {
                let queues = match self.dead_queues().await {
                    Ok(queues) => queues,
                    // A host that may not look may drain.
                    Err(bus::Error::Refused(_)) => {
                        return Ok(Matched {
                            count: 0,
                            exact: false,
                        });
                    }
                    Err(error @ bus::Error::Unavailable(_)) => return Err(error.into()),
                };
                let of_target = |it: &&_| {
                    let lucius_ports::dead_queues::DeadQueue {
                        lane: its_lane,
                        service: its_service,
                        ..
                    } = it;
                    its_lane == lane && its_service == service
                };
                let count = queues.iter().find(of_target).map_or(0, |it| it.messages);
                return Ok(Matched { count, exact: true });
            }
            Target::Jobs { selection } => selection,
        };
        let now = self.ports.clock.now();
        let (mut count, mut after) = (0, None);
        while count < COUNT_LIMIT {
            let page = self.ports.ledger.list(selection.filter(after, COUNT_PAGE));
            let page = page.await?;
            let due = page.iter().filter(|job| is_due(job, now)).count();
            count += u64::try_from(due).unwrap_or(0);
            if page.len() < COUNT_PAGE {
                return Ok(Matched { count, exact: true });
            }
            after = page.last().map(|last| last.id);
        }
        Ok(Matched {
            count,
            exact: false,
        })
    }

    /// Begins a redrive. It is durable when this returns.
    ///
    /// # Errors
    /// The ledger or the bus did not answer.
    pub async fn begin_redrive(&self, order: Order) -> Result<Redrive, Error> {
        let matched = self.count_redrive(&order.target).await?;
        let now = self.ports.clock.now();
        let Order {
            target,
            rate,
            version,
            requested_by,
            reason,
        } = order;
        let redrive = Redrive {
            id: Id(self.ports.ids.job_id(now).0),
            target,
            rate,
            version,
            requested_by,
            reason,
            created_at: now,
            ended_at: None,
            state: State::Running,
            matched,
            redriven: 0,
            refused: 0,
            refusals: Vec::new(),
            in_hand: Vec::new(),
            waits_for: None,
            after: None,
            next_at: now,
            holder: Uuid::nil(),
        };
        let records = self.records();
        let written = records.write(&redrive.id.key(), &redrive, None).await?;
        match written {
            Written::Done(_) => Ok(redrive),
            Written::Conflict => Err(Error::Contended),
        }
    }

    /// One redrive.
    ///
    /// # Errors
    /// There is none, or the ledger did not answer.
    pub async fn redrive_status(&self, id: Id) -> Result<Redrive, Error> {
        Ok(self.read_redrive(id).await?.document)
    }

    /// All redrives that are kept, newest first.
    ///
    /// # Errors
    /// The ledger did not answer.
    pub async fn redrives(&self) -> Result<Vec<Redrive>, Error> {
        let all = self.records().all::<Redrive>().await?;
        Ok(all.into_iter().rev().map(|it| it.document).collect())
    }

    /// Stops a redrive: nothing new is taken in hand.
    ///
    /// # Errors
    /// There is none, it is over, or the ledger did not answer.
    pub async fn cancel_redrive(&self, id: Id) -> Result<Redrive, Error> {
        for _ in 0..MAX_CONFLICTS {
            let Versioned {
                key,
                version,
                mut document,
            } = self.read_redrive(id).await?;
            match document.state {
                State::Running => {}
                State::Cancelled => return Ok(document),
                State::Done => return Err(Error::Over),
            }
            document.state = State::Cancelled;
            document.ended_at = Some(self.ports.clock.now());
            let written = self.records().write(&key, &document, Some(version)).await?;
            match written {
                Written::Done(_) => return Ok(document),
                Written::Conflict => {}
            }
        }
        Err(Error::Contended)
    }

    async fn read_redrive(&self, id: Id) -> Result<Versioned<Redrive>, Error> {
        let found = self.records().read(&id.key()).await?;
        found.ok_or(Error::NotFound)
    }

    pub(super) fn records(&self) -> &dyn Records {
        &*self.ports.records
    }
}
