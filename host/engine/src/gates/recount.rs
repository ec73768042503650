//! Counting again, where hosts share a ledger: a job that was created here may end on another host, whose writes do
//! not move the counts of this one.
//!
//! The ledger is counted while this host goes on writing, so what it says is right give or take what moved meanwhile
//! ([`Moves`]). The counts are held within that: exactly what the ledger says where nothing moved, and never off by
//! more than moved during one count.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lucius_domain::id::TenantId;

use crate::Engine;

/// How often it is counted. A count asks for every job that is not over, so this is what it costs.
const INTERVAL: Duration = Duration::from_secs(300);

/// Counts from time to time, until dropped.
pub(crate) async fn run(engine: &Arc<Engine>) {
    if engine.fleet.interval().is_none() {
        return;
    }
    loop {
        engine.ports.clock.sleep(INTERVAL).await;
        if let Err(error) = engine.recount().await {
            tracing::warn!(%error, "the jobs in flight were not counted; they are counted again later");
        }
    }
}

impl Engine {
    /// Corrects the counts of the gates by what the ledger holds.
    ///
    /// # Errors
    /// The ledger did not answer; the counts stay as they are.
    pub async fn recount(&self) -> Result<(), lucius_ports::ledger::Error> {
        self.gates.begin_recount();
        let counts = self.ports.ledger.counts().await?;
        self.gates.recounted(counts);
        Ok(())
    }
}

/// How one count moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) up: u64,
    pub(super) down: u64,
}

impl Moved {
    /// A count of this host, held to what the ledger says.
    pub(super) fn hold(self, here: u64, counted: u64) -> u64 {
        here.clamp(
            counted.saturating_sub(self.down),
            counted.saturating_add(self.up),
        )
    }
}

/// How the counts of this host moved while the ledger was counted.
#[derive(Debug, Default)]
pub(super) struct Moves {
    pub(super) by_tenant: BTreeMap<TenantId, Moved>,
    pub(super) all: Moved,
    pub(super) burst: Moved,
    pub(super) backlog: [Moved; 16],
}
