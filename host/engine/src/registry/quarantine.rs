//! Taking a version out of service, whoever found out that it has to be: the breaker, or the comparison of a canary.
//!
//! It is on record, in the audit trail, in the log, in the metrics. Where another version is there to take over, a
//! generation that names it instead goes live, by the same path as a rollback; jobs that are under way keep what they
//! pinned. What is quarantined is let in again only after an admin released it.
//!
//! A version with nothing to take over stays in service, quarantined in name: refusing every tenant because of some
//! payloads would do the harm itself.

use lucius_domain::id::Digest;
use lucius_domain::plugin::Pin;
use lucius_ports::ledger::{self, GenerationRecord, Origin};
use lucius_ports::records::{Document as _, Removed, Written};
use serde_json::Value;

use super::activate::lock;
use super::one_line;
use super::standing::{Quarantine, key_of};
use crate::Engine;
use crate::audit::{Begun, Entry};

/// Who found out that a version has to be taken out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// It broke down on many questions.
    Breaker,
    /// As a canary, it decides otherwise than the version that it would replace.
    Canary,
}

impl Cause {
    fn act(self) -> &'static str {
        match self {
            Self::Breaker => "quarantine",
            Self::Canary => "abort canary",
        }
    }
}

/// How the audit trail ends what a host did by itself: as what somebody asked for over HTTP and got.
const DONE: u16 = 200;

impl Engine {
    /// Puts a version on record as broken, and lets another take over for new jobs. The audit trail says so, since nobody
    /// asked for it.
    pub(super) async fn quarantine(
        &self,
        plugin: &Pin,
        cause: Cause,
        reason: String,
    ) -> Result<(), ledger::Error> {
        let _one_at_a_time = self.registry.single_flight.lock().await;
        let document = Quarantine {
            plugin: plugin.clone(),
            at: self.ports.clock.now(),
            reason,
        };
        let key = key_of(plugin.digest);
        let records = &self.ports.records;
        let begun = match records.read::<Quarantine>(&key).await? {
            None => Some(self.begin_on_record(&document, cause).await?),
            // Another host was quicker, and has it in the trail. It may have been stopped before another version took
            // over, so this one goes on.
            Some(_) => None,
        };
        if records.write(&key, &document, None).await? != Written::Conflict {
            tracing::error!(%plugin, digest = %plugin.digest, reason = document.reason, "a plugin is quarantined");
        }
        self.registry.note_quarantine(document);
        let came_of_it = self.take_over_from(plugin).await?;
        tracing::warn!(%plugin, "{came_of_it}");
        match begun {
            Some(begun) => self.audit().end(begun, DONE, Some(&came_of_it)).await,
            None => Ok(()),
        }
    }

    async fn begin_on_record(
        &self,
        quarantine: &Quarantine,
        cause: Cause,
    ) -> Result<Begun, ledger::Error> {
        let entry = Entry {
            at: quarantine.at,
            who: format!("host:{}", self.host_id().0),
            act: cause.act().to_owned(),
            path: quarantine.plugin.to_string(),
            why: Some(quarantine.reason.clone()),
            request_id: None,
            detail: None,
            status: None,
        };
        let id = self.ports.ids.job_id(quarantine.at);
        self.audit().begin(entry, id).await
    }

    /// Makes a generation live in which another version stands in the place of one that is quarantined; says what came
    /// of it.
    async fn take_over_from(&self, plugin: &Pin) -> Result<String, ledger::Error> {
        let live = self.registry.live();
        if live.plugin(plugin).is_none() {
            return Ok("it is not live any more".to_owned());
        }
        let Some((record, other)) = self.find_other(plugin).await? else {
            return Ok("no other version is there to take over, so it stays in service".to_owned());
        };
        let latest = self.ports.generations.latest(1).await?.pop();
        let is_shared = self.settings.fleet.claim.is_some();
        if is_shared
            && latest
                .as_ref()
                .is_some_and(|it| it.generation > live.generation)
        {
            // What another host made live may be the very thing that mends it, and would be undone by a generation made
            // of this one's. If it is not, the version trips again once it is live here.
            return Ok("a later generation of another host is to come, none is made".to_owned());
        }
        let current = self.ports.generations.generation(live.generation).await?;
        let replaced = current
            .as_ref()
            .and_then(|current| replaced(&current.manifest, plugin, &record.manifest, &other));
        let (Some(latest), Some(current), Some(manifest)) = (latest, current, replaced) else {
            return Ok("the live generation is not in the ledger, it stays in service".to_owned());
        };
        let mut schemas = current.schemas.clone();
        schemas.extend(record.schemas.clone());
        let target = GenerationRecord {
            manifest,
            schemas,
            ..current
        };
        let digest = plugin.digest;
        let origin = Origin::Quarantine { digest };
        Ok(match self.restore_as(&target, &latest, origin).await? {
            Ok(live) => format!("{other} has taken over, in generation {}", live.generation),
            Err(errors) => format!("{other} cannot take over: {}", one_line(&errors)),
        })
    }

    /// Lets a component out of quarantine; false when it is not in it.
    ///
    /// # Errors
    /// The ledger did not answer.
    pub async fn release(&self, digest: Digest) -> Result<bool, ledger::Error> {
        let _one_at_a_time = self.registry.single_flight.lock().await;
        let key = key_of(digest);
        let records = &self.ports.records;
        let Some(found) = records.read::<Quarantine>(&key).await? else {
            return Ok(false);
        };
        let version = found.version;
        let removed = records.remove(Quarantine::KIND, &key, version);
        let removed = removed.await? == Removed::Done;
        if removed {
            self.registry.forget_quarantine(digest);
            lock(&self.breaker.others).clear();
            tracing::warn!(plugin = %found.document.plugin, %digest, "a plugin is let out of quarantine");
        }
        Ok(removed)
    }
}

/// A manifest in which another version stands wherever the broken one did; `theirs` is where its entry comes from.
fn replaced(ours: &str, broken: &Pin, theirs: &str, other: &Pin) -> Option<String> {
    let mut manifest: Value = serde_json::from_str(ours).ok()?;
    let source: Value = serde_json::from_str(theirs).ok()?;
    let is = |entry: &Value, pin: &Pin| {
        entry["id"] == pin.id.as_str() && entry["version"] == pin.version.as_str()
    };
    let entry = source["plugins"]
        .as_array()?
        .iter()
        .find(|it| is(it, other))?;
    let plugins = manifest["plugins"].as_array_mut()?;
    plugins.retain(|it| !is(it, broken) && !is(it, other));
    plugins.push(entry.clone());
    let (from, to) = (broken.to_string(), other.to_string());
    if let Some(trials) = manifest.get_mut("trials").and_then(Value::as_array_mut) {
        trials.retain(|trial| {
            trial["plugin"] != from.as_str() && trial["candidate"] != from.as_str()
        });
    }
    for protocol in manifest["protocols"].as_array_mut()? {
        for step in protocol["steps"].as_array_mut()? {
            if step["plugin"] == from.as_str() {
                step["plugin"] = to.as_str().into();
            }
        }
    }
    Some(manifest.to_string())
}
