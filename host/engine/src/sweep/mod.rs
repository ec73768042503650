//! The sweepers: the clock's share in moving jobs along.
//!
//! Each asks the ledger for jobs whose one due time has come, and brings each of them the input that goes with it. A
//! sweep therefore costs what is due, not what exists; it may run twice, or on two hosts at once, and whoever is
//! second is rejected by the rules or by the version.
//!
//! * [`ACK`]: a directive was sent and no ACK came in time;
//! * [`LEASE`]: a service fell silent;
//! * [`DRIFT`]: a job whose next decision is due: the next attempt after a wait, or a question that a plugin could
//!   not answer.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use lucius_domain::decide::Input;
use lucius_domain::id::JobId;
use lucius_domain::job::DueKind;
use lucius_domain::routing::Lane;
use lucius_ports::ledger;

use crate::Engine;
use crate::drive::{DriveError, Driven};

/// How many jobs one tick of one lane takes; the rest is next.
const BATCH: usize = 256;
/// How many of them are moved at once, so that they share commits.
const AT_ONCE: usize = 32;

/// One sweeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sweeper {
    /// Its name in metrics and logs.
    pub name: &'static str,
    due: DueKind,
}

/// No ACK in time.
pub const ACK: Sweeper = Sweeper {
    name: "ack",
    due: DueKind::Ack,
};
/// No sign of life in time.
pub const LEASE: Sweeper = Sweeper {
    name: "lease",
    due: DueKind::Lease,
};
/// A decision is due.
pub const DRIFT: Sweeper = Sweeper {
    name: "drift",
    due: DueKind::Decision,
};

/// All of them.
pub const ALL: [Sweeper; 3] = [ACK, LEASE, DRIFT];

/// What one tick did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Jobs that were due.
    pub found: usize,
    /// Jobs that were moved along.
    pub moved: usize,
}

/// Sweeps every lane again and again, until dropped.
pub(crate) async fn run(engine: &Arc<Engine>) {
    loop {
        engine
            .ports
            .clock
            .sleep(engine.settings.sweep_interval)
            .await;
        for sweeper in ALL {
            for lane in engine.lanes() {
                match engine.sweep_tick(sweeper, lane).await {
                    Ok(swept) if swept.moved > 0 => {
                        tracing::info!(
                            sweeper = sweeper.name,
                            lane = lane.number(),
                            moved = swept.moved,
                            "swept"
                        );
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(sweeper = sweeper.name, %error, "the sweep failed; it runs again");
                    }
                }
            }
        }
    }
}

impl Engine {
    /// Moves along the jobs of one lane that are due for one sweeper.
    ///
    /// # Errors
    /// The ledger did not answer; the next tick tries again.
    pub async fn sweep_tick(&self, sweeper: Sweeper, lane: Lane) -> Result<Swept, ledger::Error> {
        self.settle_doubts().await?;
        let now = self.ports.clock.now();
        let due = self
            .ports
            .ledger
            .due(lane, &[sweeper.due], now, BATCH)
            .await?;
        let mut swept = Swept {
            found: due.len(),
            moved: 0,
        };
        let mut outcomes = stream::iter(due)
            .map(|job| async move { (job, self.overdue(job, sweeper).await) })
            .buffer_unordered(AT_ONCE);
        while let Some((job, outcome)) = outcomes.next().await {
            match outcome {
                Ok(true) => swept.moved += 1,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(jobId = %job, sweeper = sweeper.name, %error, "left to the next sweep");
                }
            }
        }
        Ok(swept)
    }

    /// Looks what became of writes whose answer was lost, so that the gates count them.
    async fn settle_doubts(&self) -> Result<(), ledger::Error> {
        for id in self.gates.doubts() {
            let found = self.ports.ledger.load(id).await?;
            self.gates.settle(id, found.as_deref());
        }
        Ok(())
    }

    async fn overdue(&self, id: JobId, sweeper: Sweeper) -> Result<bool, DriveError> {
        let driven = match sweeper.due {
            DueKind::Ack => self.drive(id, None, || Input::AckOverdue).await?,
            DueKind::Lease => self.drive(id, None, || Input::LeaseOverdue).await?,
            // The question is in the job already; driving it without an input answers it.
            DueKind::Decision | DueKind::Dispatch => self.drive_question(id).await?,
        };
        Ok(matches!(driven, Driven::Changed(_)))
    }
}
