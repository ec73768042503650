//! The clock, the ids and the bus of a simulated host.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lucius_domain::contract::Directive;
use lucius_domain::id::{JobId, LeaseId, ServiceName};
use lucius_domain::routing::Lane;
use lucius_domain::time::Timestamp;
use lucius_ports::bus::{Bus, Error, Message};
use lucius_ports::clock::{Clock, Ids};
use lucius_ports::dead_queues::{DeadMessage, DeadQueue, DeadQueues};
use uuid::Uuid;

use crate::mutation::Mutation;
use crate::world::{Happening, World};

/// What the bus ever took, by job, step and attempt: the lease in it, and how often.
pub(crate) type BusLog = BTreeMap<(JobId, String, u32), (LeaseId, u32)>;

/// A host's own clock: the world's time, and what it is off by.
pub(crate) struct SimClock {
    pub(crate) world: Arc<World>,
    pub(crate) host: usize,
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.world.state().clock(self.host)
    }

    /// The simulator itself starts every scan and sweep, so the engine's own rhythm never comes round.
    async fn sleep(&self, _: Duration) {
        std::future::pending::<()>().await;
    }
}

/// Ids in the order in which they are asked for.
pub(crate) struct SimIds(pub(crate) Arc<World>);

impl SimIds {
    fn next(&self) -> u128 {
        let state = &mut *self.0.state();
        state.ids += 1;
        u128::from(state.ids)
    }
}

impl Ids for SimIds {
    fn job_id(&self, _: Timestamp) -> JobId {
        JobId(Uuid::from_u128(
            0x0192_0000_0000_7000_8000_0000_0000_0000 + self.next(),
        ))
    }

    fn lease_id(&self) -> LeaseId {
        let next = match self.0.mutation {
            Some(Mutation::RepeatLease) => 1,
            Some(_) | None => self.next(),
        };
        LeaseId(Uuid::from_u128(
            0x1EA5_E000_0000_4000_8000_0000_0000_0000 + next,
        ))
    }
}

/// What the bus does with a message.
enum Fate {
    Take,
    /// Takes it, and the answer is lost.
    TakeAndFail,
    Fail,
    Refuse,
}

/// A bus that loses answers, delivers twice and out of order, is slow, and is down for a while.
pub(crate) struct SimBus(pub(crate) Arc<World>);

#[async_trait]
impl Bus for SimBus {
    async fn publish(&self, message: &Message) -> Result<(), Error> {
        self.0.turns().await;
        let (fate, slow_until) = {
            let state = &mut *self.0.state();
            let fate = if state.calm {
                Fate::Take
            } else if state.bus_down {
                Fate::Fail
            } else {
                match state.dice.below(100) {
                    0..7 => Fate::TakeAndFail,
                    7..15 => Fate::Fail,
                    15 => Fate::Refuse,
                    _ => Fate::Take,
                }
            };
            let slow = !state.calm && state.dice.permille(40);
            (
                fate,
                slow.then(|| state.now + state.dice.between(100, 9_000)),
            )
        };
        if let Some(at) = slow_until {
            self.0.until(at).await;
        }
        let error = || Err(Error::Unavailable("the bus fails by plan".to_owned()));
        let (job, id) = (Some(message.job_id), &message.message_id);
        match fate {
            Fate::Take => {
                self.take(message);
                self.0.turns().await;
                Ok(())
            }
            Fate::TakeAndFail => {
                self.take(message);
                self.0
                    .note(job, format!("the bus's answer about {id} is lost"));
                error()
            }
            Fate::Fail => {
                self.0.note(job, format!("the bus does not take {id}"));
                error()
            }
            Fate::Refuse => {
                self.0.note(job, format!("the bus refuses {id}"));
                Err(Error::Refused("too large, by plan".to_owned()))
            }
        }
    }

    async fn check(&self) -> Result<(), Error> {
        Ok(())
    }
}

impl SimBus {
    fn take(&self, message: &Message) {
        if self.0.is(Mutation::PublishNothing) {
            return;
        }
        let state = &mut *self.0.state();
        let directive: Directive = match serde_json::from_str(&message.body) {
            Ok(directive) => directive,
            Err(error) => {
                let what = format!("a directive that cannot be read: {error}");
                return state.violate(crate::check::violation("BUS", message.job_id, what));
            }
        };
        let key = (
            message.job_id,
            message.step_id.as_str().to_owned(),
            message.attempt_no.0,
        );
        state.note(
            Some(message.job_id),
            format!("the bus takes {}", message.message_id),
        );
        let lease = directive.lease_id;
        let entry = state.check.bus.entry(key).or_insert((lease, 0));
        entry.1 += 1;
        if entry.0 != lease {
            let what = format!("{} was published with two leases", message.message_id);
            state.violate(crate::check::violation("I10", message.job_id, what));
        }
        let directive = Arc::new(directive);
        let (copies, longest) = if state.calm {
            (1, 200)
        } else {
            match state.dice.below(20) {
                0..3 => (2, 8_000),
                3 => (3, 20_000),
                4..6 => (1, 10_000),
                _ => (1, 500),
            }
        };
        for _ in 0..copies {
            let delay = state.dice.between(1, longest);
            state.later(delay, Happening::Deliver(Arc::clone(&directive)));
        }
    }
}

/// A simulated bus delivers until a worker completes, so nothing dies in it.
#[async_trait]
impl DeadQueues for SimBus {
    async fn dead_queues(&self) -> Result<Vec<DeadQueue>, Error> {
        Ok(Vec::new())
    }

    async fn take_dead(&self, _: Lane, _: &ServiceName) -> Result<Option<DeadMessage>, Error> {
        Ok(None)
    }
}
