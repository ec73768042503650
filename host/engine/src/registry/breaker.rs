//! Taking a version out of service that breaks down on many payloads.
//!
//! One payload that breaks a plugin proves nothing: it may be the payload. So a question that broke one version is put
//! to another version of the same plugin. If that breaks down too, the payload is at fault, and its job ends alone. If
//! not, the version is; and once it broke down on many different questions within a while it is quarantined: on
//! record, in the log, in the metrics. Where an earlier version is there to take over, a generation that names it
//! instead goes live, by the same path as a rollback; jobs that are under way keep what they pinned.
//!
//! A version with nothing to take over stays in service, quarantined in name: refusing every tenant because of some
//! payloads would do the harm itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lucius_domain::id::{Digest, Generation, TenantId};
use lucius_domain::plugin::Pin;
use lucius_domain::time::Timestamp;
use lucius_ports::ledger::{self, GenerationRecord, Origin};
use lucius_ports::plugin::{Answer, Call, Fault};
use lucius_ports::records::{Removed, Written};
use serde_json::Value;

use super::activate::{KEPT_GENERATIONS, lock};
use super::replay::with_config;
use super::standing::{Quarantine, Standing, key_of};
use super::{Manifest, PluginEntry, one_line};
use crate::Engine;
use crate::plugins::digest_of;

/// When a version is taken out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// So many different questions that broke it and not another version ...
    pub payloads: usize,
    /// ... within this time.
    pub window: Duration,
}

impl Default for Threshold {
    fn default() -> Self {
        Self {
            payloads: 10,
            window: Duration::from_secs(300),
        }
    }
}

/// What broke each version lately.
#[derive(Default)]
pub(crate) struct Breaker {
    tallies: Mutex<HashMap<Digest, Tally>>,
    /// Which other version to ask, found for a component while a generation was live.
    others: Mutex<HashMap<Digest, Other>>,
}

/// Another version of a plugin, as it was looked up.
#[derive(Clone)]
struct Other {
    /// The generation that was live.
    live: Generation,
    /// Where the other version is, and which it is.
    found: Option<(Generation, Pin)>,
}

#[derive(Default)]
struct Tally {
    /// Questions and when they first broke it, the oldest first; never more than the threshold.
    broken_by: Vec<(Digest, Timestamp)>,
}

impl Breaker {
    /// Counts a question that broke a version; true when that is one too many.
    fn count(&self, version: Digest, question: Digest, now: Timestamp, at: Threshold) -> bool {
        let window_ms = i64::try_from(at.window.as_millis()).unwrap_or(i64::MAX);
        let mut tallies = lock(&self.tallies);
        let broken_by = &mut tallies.entry(version).or_default().broken_by;
        broken_by.retain(|(_, when)| now.0.saturating_sub(when.0) <= window_ms);
        if !broken_by.iter().any(|(known, _)| *known == question) {
            broken_by.push((question, now));
        }
        if broken_by.len() < at.payloads {
            return false;
        }
        tallies.remove(&version);
        true
    }
}

/// A question that broke a plugin.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) fault: Fault,
    /// Another version that broke down on it, too: the payload is at fault.
    pub(crate) also: Option<Pin>,
}

impl Engine {
    /// Puts a question to a plugin; when that breaks it, finds out whose fault it is.
    pub(crate) async fn ask(
        &self,
        tenant: &TenantId,
        plugin: &PluginEntry,
        call: Call,
    ) -> Result<(Answer, u64), Broken> {
        let fault = match self.call(tenant, plugin, call.clone()).await {
            Ok(answered) => {
                self.observe(tenant, plugin, &call, &answered.0);
                return Ok(answered);
            }
            Err(fault) => fault,
        };
        if !is_its_own(&fault) {
            return Err(Broken { fault, also: None });
        }
        if let Some(other) = self.other_version(&plugin.pin).await {
            let question = with_config(call.clone(), &other.config);
            let again = self.call(tenant, &other, question).await;
            if again.is_err_and(|fault| is_its_own(&fault)) {
                let also = Some(other.pin.clone());
                return Err(Broken { fault, also });
            }
        }
        self.broke_down(plugin, &call, &fault);
        let now = self.ports.clock.now();
        let threshold = self.settings.registry.breaker;
        let question = digest_of(&call);
        if self
            .breaker
            .count(plugin.pin.digest, question, now, threshold)
        {
            let reason = format!(
                "broke down on {} different questions, last it {fault}",
                threshold.payloads
            );
            if let Err(error) = self.quarantine(&plugin.pin, reason).await {
                tracing::warn!(plugin = %plugin.pin, %error, "it is not quarantined yet");
            }
        }
        Err(Broken { fault, also: None })
    }

    /// Another version of a plugin, the newest that is not quarantined; for a candidate the one that decides.
    async fn other_version(&self, plugin: &Pin) -> Option<Arc<PluginEntry>> {
        let live = self.registry.live().generation;
        let known = lock(&self.breaker.others).get(&plugin.digest).cloned();
        let found = match known {
            Some(other) if other.live == live => other.found,
            Some(_) | None => {
                let found = self.find_other(plugin).await.unwrap_or_else(|error| {
                    tracing::warn!(%plugin, %error, "another version cannot be looked up");
                    None
                });
                let found = found.map(|(record, pin)| (record.generation, pin));
                let other = Other {
                    live,
                    found: found.clone(),
                };
                lock(&self.breaker.others).insert(plugin.digest, other);
                found
            }
        };
        let (generation, pin) = found?;
        let snapshot = self.generation(generation).await.ok()?;
        snapshot.plugin(&pin).cloned()
    }

    async fn find_other(
        &self,
        plugin: &Pin,
    ) -> Result<Option<(GenerationRecord, Pin)>, ledger::Error> {
        let standing = Standing::read(&*self.ports.records, None).await?;
        for record in self.ports.generations.latest(KEPT_GENERATIONS).await? {
            let Ok(manifest) = serde_json::from_str::<Manifest>(&record.manifest) else {
                continue;
            };
            let name = plugin.to_string();
            let tried = manifest.trials.iter().find(|it| it.candidate == name);
            let other = manifest.plugins.iter().find_map(|spec| {
                let digest = Digest::parse(&spec.sha256)?;
                let name = format!("{}@{}", spec.id, spec.version);
                let decides = match tried {
                    Some(trial) => trial.plugin == name,
                    None => !manifest.trials.iter().any(|it| it.candidate == name),
                };
                let fits = decides
                    && spec.id == plugin.id
                    && digest != plugin.digest
                    && !standing.quarantined.contains_key(&digest);
                fits.then(|| Pin {
                    id: spec.id.clone(),
                    version: spec.version.clone(),
                    digest,
                })
            });
            if let Some(pin) = other {
                return Ok(Some((record, pin)));
            }
        }
        Ok(None)
    }

    /// Puts a version on record as broken, and lets another take over for new jobs.
    pub(super) async fn quarantine(
        &self,
        plugin: &Pin,
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
        // When it is on record already, another host was quicker. It may have been stopped before another version took
        // over, so this one goes on.
        if records.write(&key, &document, None).await? != Written::Conflict {
            tracing::error!(%plugin, digest = %plugin.digest, reason = document.reason, "a plugin is quarantined");
        }
        self.registry.note_quarantine(document);
        let live = self.registry.live();
        if live.plugin(plugin).is_none() {
            return Ok(());
        }
        let Some((record, other)) = self.find_other(plugin).await? else {
            tracing::error!(%plugin, "no other version is there to take over, so it stays in service");
            return Ok(());
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
            tracing::warn!(%plugin, "a later generation of another host is to come, so none is made here");
            return Ok(());
        }
        let current = self.ports.generations.generation(live.generation).await?;
        let (Some(latest), Some(current)) = (latest, current) else {
            return Ok(());
        };
        let Some(manifest) = replaced(&current.manifest, plugin, &record.manifest, &other) else {
            return Ok(());
        };
        let mut schemas = current.schemas.clone();
        schemas.extend(record.schemas.clone());
        let target = GenerationRecord {
            manifest,
            schemas,
            ..current
        };
        let digest = plugin.digest;
        match self
            .restore_as(&target, &latest, Origin::Quarantine { digest })
            .await?
        {
            Ok(live) => {
                tracing::warn!(%plugin, %other, generation = %live.generation, "another version has taken over");
            }
            Err(errors) => {
                let reasons = one_line(&errors);
                tracing::error!(%plugin, %other, reasons, "the other version cannot take over");
            }
        }
        Ok(())
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
        let removed = records.remove(
            <Quarantine as lucius_ports::records::Document>::KIND,
            &key,
            version,
        );
        let removed = removed.await? == Removed::Done;
        if removed {
            self.registry.forget_quarantine(digest);
            lock(&self.breaker.others).clear();
            tracing::warn!(plugin = %found.document.plugin, %digest, "a plugin is let out of quarantine");
        }
        Ok(removed)
    }
}

/// Whether a fault says anything about the plugin; that the host has no room says nothing.
fn is_its_own(fault: &Fault) -> bool {
    match fault {
        Fault::Fuel { .. } | Fault::Deadline { .. } | Fault::Trap(_) | Fault::Answer(_) => true,
        Fault::NotLoaded | Fault::Busy(_) => false,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_many_different_questions_within_the_window_trip_it() {
        let breaker = Breaker::default();
        let at = Threshold {
            payloads: 3,
            window: Duration::from_millis(100),
        };
        let version = Digest::of(b"version");
        let question = |text: &str| Digest::of(text.as_bytes());
        let count = |text: &str, now| breaker.count(version, question(text), Timestamp(now), at);
        for now in 0..10 {
            assert!(!count("the same", now));
        }
        assert!(!count("another", 50));
        // The first has left the window by now.
        assert!(!count("a third", 140));
        assert!(count("a fourth", 141));
        assert!(!count("after that it starts anew", 142));
    }
}
