//! Where hosts share a ledger, all of them run the generation that any of them activated last.
//!
//! A host looks from time to time whether the ledger has a later generation than the one it runs, and makes it live
//! from the kept bytes: the host that activated it has checked it, signatures and serials included. Until it has
//! looked, a host goes on accepting commands under the one it runs; a job that holds another generation finds that
//! by itself.
//!
//! On failure, the generation that is live stays, the status says why, and it is tried again.

use std::sync::Arc;

use lucius_ports::ledger::{self, GenerationRecord};

use super::activate::lock;
use super::prepare::Bytes;
use super::standing::Standing;
use super::{EntryError, Snapshot, one_line};
use crate::Engine;

/// Looks three times in the life of a claim, until dropped.
pub(crate) async fn run(engine: &Arc<Engine>) {
    let Some(interval) = engine.fleet.interval() else {
        return;
    };
    loop {
        engine.ports.clock.sleep(interval).await;
        if let Err(error) = engine.follow().await {
            tracing::warn!(%error, "it is not known whether there is a later generation; it is looked again");
        }
    }
}

impl Engine {
    /// Makes the ledger's latest generation live here when it is later than the one that is. Returns what went live.
    ///
    /// # Errors
    /// The ledger did not answer.
    pub async fn follow(&self) -> Result<Option<Arc<Snapshot>>, ledger::Error> {
        if self.later().await?.is_none() {
            return Ok(None);
        }
        let _one_at_a_time = self.registry.single_flight.lock().await;
        let Some(record) = self.later().await? else {
            return Ok(None);
        };
        // First, so that nothing is compiled and thrown away while the ledger does not answer.
        let standing = Standing::read(&*self.ports.records, None).await?;
        let number = record.generation;
        let workshop = self.workshop();
        let from = Bytes::Kept(&record.schemas);
        let prepared = workshop
            .prepare(&record.manifest, from, number, record.activated_at)
            .await;
        let now = self.ports.clock.now();
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(errors) => {
                let reasons = one_line(&errors);
                tracing::error!(generation = %number, reasons, "the hosts' latest generation cannot be had here");
                let place = format!("generation {number} of another host");
                let errors = errors
                    .iter()
                    .map(|error| EntryError::new(place.clone(), error));
                self.registry.note_attempt(now, errors.collect());
                self.registry.drop_unused(&*self.ports.runtime);
                return Ok(None);
            }
        };
        *lock(&self.registry.quarantined) = standing.quarantined;
        self.registry.note_attempt(now, Vec::new());
        let live = self.registry.swap(prepared.snapshot);
        self.trials.keep_only(&live.trials);
        tracing::info!(generation = %number, "a registry generation that another host activated is live");
        Ok(Some(live))
    }

    /// The latest generation, when it is later than the live one.
    async fn later(&self) -> Result<Option<GenerationRecord>, ledger::Error> {
        let live = self.registry.live().generation;
        let latest = self.ports.generations.latest(1).await?.pop();
        Ok(latest.filter(|latest| latest.generation > live))
    }
}
