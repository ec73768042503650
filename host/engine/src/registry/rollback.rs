//! Going back to a generation that was live, from kept bytes alone.

use std::sync::Arc;

use lucius_domain::id::{Digest, Generation};
use lucius_ports::ledger::{self, GenerationRecord, Origin};

use super::activate::Activated;
use super::plan::Plan;
use super::prepare::Bytes;
use super::standing::Standing;
use super::trust::denied;
use super::{EntryError, Snapshot, one_line};
use crate::Engine;

impl Engine {
    /// Makes an earlier generation live again, as a new one, from kept bytes alone.
    ///
    /// # Errors
    /// Outside: the ledger did not answer. Inside: why it cannot be; the live generation stays.
    pub async fn rollback(
        &self,
        to: Option<Generation>,
    ) -> Result<Result<Activated, Vec<EntryError>>, ledger::Error> {
        let _one_at_a_time = self.registry.single_flight.lock().await;
        let refused = |reason: String| Ok(Err(vec![EntryError::new("rollback", reason)]));
        let latest = self.ports.generations.latest(1).await?.pop();
        let Some(latest) = latest else {
            return refused("no generation was ever activated: reload first".to_owned());
        };
        let target = match self.rollback_target(&latest, to).await? {
            Ok(target) => target,
            Err(reason) => return refused(reason),
        };
        let live = self.registry.live();
        let held = self.ports.pins.held().await?;
        let outcome = self
            .restore_as(
                &target,
                &latest,
                Origin::Rollback {
                    to: target.generation,
                },
            )
            .await?;
        if let Err(errors) = &outcome {
            let reasons = one_line(errors);
            tracing::warn!(to = %target.generation, reasons, "the rollback is refused");
            self.registry.drop_unused(&*self.ports.runtime);
        }
        Ok(outcome.map(|activated| {
            self.registry
                .note_attempt(self.ports.clock.now(), Vec::new());
            let mut plan = Plan::between(&live, &activated);
            plan.count_jobs(&held);
            Activated {
                live: activated,
                plan,
            }
        }))
    }

    /// Which generation a rollback goes to: the one that is named, or what was live before the live one came.
    async fn rollback_target(
        &self,
        latest: &GenerationRecord,
        to: Option<Generation>,
    ) -> Result<Result<GenerationRecord, String>, ledger::Error> {
        if let Some(to) = to {
            let found = self.ports.generations.generation(to).await?;
            return Ok(found.ok_or_else(|| {
                format!(
                    "there is no generation {to}: choose one of 1 to {}",
                    latest.generation
                )
            }));
        }
        // What is live by a rollback stands where it was restored from.
        let mut number = match latest.origin {
            Origin::Rollback { to } => to,
            Origin::Source | Origin::Quarantine { .. } => latest.generation,
        };
        while number.0 > 1 {
            number = Generation(number.0 - 1);
            if let Some(found) = self.ports.generations.generation(number).await?
                && found.digest != latest.digest
            {
                return Ok(Ok(found));
            }
        }
        Ok(Err(
            "there is no earlier generation: name one with --to, or change the registry and reload"
                .to_owned(),
        ))
    }

    /// Activates a manifest that was live before, or one made of such, from kept bytes.
    pub(super) async fn restore_as(
        &self,
        target: &GenerationRecord,
        latest: &GenerationRecord,
        origin: Origin,
    ) -> Result<Result<Arc<Snapshot>, Vec<EntryError>>, ledger::Error> {
        let now = self.ports.clock.now();
        let number = Generation(latest.generation.0 + 1);
        let workshop = self.workshop();
        let from = Bytes::Kept(&target.schemas);
        let prepared = match workshop.prepare(&target.manifest, from, number, now).await {
            Ok(prepared) => prepared,
            Err(errors) => return Ok(Err(errors)),
        };
        let refused = self.barred(&prepared.snapshot).await?;
        if !refused.is_empty() {
            return Ok(Err(refused));
        }
        let record = GenerationRecord {
            generation: number,
            activated_at: now,
            digest: Digest::of(target.manifest.as_bytes()),
            manifest: target.manifest.clone(),
            origin,
            schemas: target.schemas.clone(),
        };
        self.activate(prepared, record).await
    }

    /// The plugins of an earlier generation that may not come back: denied by now, or quarantined.
    async fn barred(&self, snapshot: &Snapshot) -> Result<Vec<EntryError>, ledger::Error> {
        let live = self.registry.live();
        let standing = Standing::read(&*self.ports.records, None).await?;
        let barred = snapshot.plugins.iter().filter_map(|plugin| {
            let entry = format!("plugin {}", plugin.pin);
            let digest = plugin.pin.digest;
            if let Some(reason) = denied(&live.deny, digest) {
                return Some(EntryError::new(entry, reason));
            }
            let quarantine = standing.quarantined.get(&digest)?;
            Some(EntryError::new(entry, quarantine.refusal(digest)))
        });
        Ok(barred.collect())
    }
}
