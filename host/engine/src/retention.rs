//! Retention: jobs that ended long ago are deleted, a few at a time.
//!
//! A job goes with all that is kept of it: steps, outbox, events, and its idempotency key. So the same command is a
//! duplicate for as long as its job is kept, and a new one afterwards. Redrives that ended long ago go too. The audit
//! trail has a time of its own, as a rule a longer one. What services wrote is not the ledger's to delete and stays.

use std::sync::Arc;
use std::time::Duration;

use lucius_domain::time::Timestamp;
use lucius_ports::ledger;
use lucius_ports::records::{Document as _, Removed};

use crate::Engine;
use crate::redrive::Redrive;

/// How long what is over is kept, and how fast it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// For how long; for ever when absent.
    pub keep: Option<Duration>,
    /// For how long the audit trail says who did what; for ever when absent.
    pub keep_audit: Option<Duration>,
    /// How many jobs, and how many entries of the trail, a second go at most, so that deleting never stands in the way of work.
    pub deletes_per_second: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            keep: Some(Duration::from_secs(30 * 24 * 60 * 60)),
            keep_audit: Some(Duration::from_secs(400 * 24 * 60 * 60)),
            deletes_per_second: 100,
        }
    }
}

impl Retention {
    /// How many go in one tick.
    fn batch(&self, tick: Duration) -> usize {
        let tick_ms = u64::try_from(tick.as_millis()).unwrap_or(u64::MAX);
        let batch = u64::from(self.deletes_per_second).saturating_mul(tick_ms) / 1_000;
        usize::try_from(batch.max(1)).unwrap_or(usize::MAX)
    }
}

/// What is from before this moment may go.
fn horizon(keep: Option<Duration>, now: Timestamp) -> Option<Timestamp> {
    let keep_ms = i64::try_from(keep?.as_millis()).unwrap_or(i64::MAX);
    Some(Timestamp(now.0.saturating_sub(keep_ms)))
}

/// Deletes what may go, again and again, until dropped.
pub(crate) async fn run(engine: &Arc<Engine>) {
    loop {
        let wait = engine.settings.sweep_interval;
        engine.ports.clock.sleep(wait).await;
        match engine.retention_tick().await {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(deleted, "jobs that ended long ago were deleted"),
            Err(error) => tracing::warn!(%error, "no job was deleted; it is tried again"),
        }
    }
}

impl Engine {
    /// Deletes some of what may go. Returns how many jobs went; what does not go besides them is logged.
    ///
    /// # Errors
    /// The ledger did not answer; the next tick goes on.
    pub async fn retention_tick(&self) -> Result<usize, ledger::Error> {
        let (retention, now) = (self.settings.retention, self.ports.clock.now());
        let batch = retention.batch(self.settings.sweep_interval);
        // None of them keeps another from going.
        if let Some(horizon) = horizon(retention.keep_audit, now)
            && let Err(error) = self.audit().forget(horizon, batch).await
        {
            tracing::warn!(%error, "the audit trail was not shortened; it is tried again");
        }
        let Some(horizon) = horizon(retention.keep, now) else {
            return Ok(0);
        };
        if let Err(error) = self.forget_redrives(horizon).await {
            tracing::warn!(%error, "redrives that ended long ago were not deleted; it is tried again");
        }
        self.ports.upkeep.purge(horizon, batch).await
    }

    async fn forget_redrives(&self, horizon: Timestamp) -> Result<(), ledger::Error> {
        let records = &*self.ports.records;
        for found in records.all::<Redrive>().await? {
            let ended_at = found.document.ended_at;
            if ended_at.is_some_and(|at| at < horizon) {
                // A conflict means that another host has deleted it.
                match records
                    .remove(Redrive::KIND, &found.key, found.version)
                    .await?
                {
                    Removed::Done | Removed::Conflict => {}
                }
            }
        }
        Ok(())
    }
}
