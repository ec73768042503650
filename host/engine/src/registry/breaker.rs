//! Taking a version out of service that breaks down on many payloads.
//!
//! One payload that breaks a plugin proves nothing: it may be the payload. So a question that broke one version is put
//! to another version of the same plugin. If that breaks down too, the payload is at fault, and its job ends alone. If
//! not, the version is; and once it broke down on many different questions within a while it is quarantined: see
//! [`super::quarantine`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lucius_domain::id::{Digest, Generation, TenantId};
use lucius_domain::plugin::Pin;
use lucius_domain::time::Timestamp;
use lucius_ports::ledger::{self, GenerationRecord};
use lucius_ports::plugin::{Answer, Call, Fault};

use super::activate::{KEPT_GENERATIONS, lock};
use super::quarantine::Cause;
use super::replay::with_config;
use super::standing::Standing;
use super::{Manifest, PluginEntry};
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
    pub(super) others: Mutex<HashMap<Digest, Other>>,
}

/// Another version of a plugin, as it was looked up.
#[derive(Clone)]
pub(super) struct Other {
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
            if let Err(error) = self.quarantine(&plugin.pin, Cause::Breaker, reason).await {
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

    pub(super) async fn find_other(
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
}

/// Whether a fault says anything about the plugin; that the host has no room says nothing.
fn is_its_own(fault: &Fault) -> bool {
    match fault {
        Fault::Fuel { .. } | Fault::Deadline { .. } | Fault::Trap(_) | Fault::Answer(_) => true,
        Fault::NotLoaded | Fault::Busy(_) => false,
    }
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
