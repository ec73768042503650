//! What a candidate would change, before anything is changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use lucius_domain::id::{Digest, Generation};
use lucius_domain::plugin::Pin;
use lucius_ports::pins::Held;
use serde::Serialize;

use super::standing::Standing;
use super::trial::Mode;
use super::{EntryError, PluginEntry, Protocol, Replay, Snapshot, Trial};

/// What a candidate would change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// The generation that is live.
    pub live: Generation,
    /// The generation that the candidate would be; the live one when it is the same.
    pub next: Generation,
    /// Plugins that differ, in the order of the manifests.
    pub plugins: Vec<PluginChange>,
    /// Protocols that differ.
    pub protocols: Vec<ProtocolChange>,
    /// Trials that differ.
    pub trials: Vec<TrialChange>,
    /// True when the settings of tenants differ.
    pub tenants: bool,
    /// What the candidate says to past decisions, for each plugin that would decide instead of another.
    pub replays: Vec<Replay>,
}

/// How an entry differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone; jobs that hold it keep it until they are over.
    Removed,
    /// It is there in both, and not the same.
    Changed,
}

/// A plugin that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PluginChange {
    /// `<id>@<version>`.
    pub plugin: String,
    /// The component; for one that is removed or changed the one that is live.
    pub digest: Digest,
    /// How it differs.
    pub change: Change,
    /// How many jobs that are not over hold the component.
    pub jobs: u64,
}

/// A protocol that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProtocolChange {
    /// Its id.
    pub protocol: String,
    /// How it differs.
    pub change: Change,
}

/// A trial that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrialChange {
    /// `canary ocr@1.0.0 -> ocr@1.1.0`.
    pub trial: String,
    /// How it differs.
    pub change: Change,
}

impl Plan {
    /// What makes `next` different from `live`.
    pub(super) fn between(live: &Snapshot, next: &Snapshot) -> Self {
        let mut plan = Self {
            live: live.generation,
            next: next.generation,
            plugins: Vec::new(),
            protocols: Vec::new(),
            trials: Vec::new(),
            tenants: live.tenants != next.tenants,
            replays: Vec::new(),
        };
        let name = |plugin: &PluginEntry| plugin.pin.to_string();
        for plugin in &next.plugins {
            let before = live.plugins.iter().find(|it| name(it) == name(plugin));
            match before {
                None => plan.plugin(plugin, Change::Added),
                Some(before) if **before != **plugin => plan.plugin(before, Change::Changed),
                Some(_) => {}
            }
        }
        for plugin in &live.plugins {
            if !next.plugins.iter().any(|it| name(it) == name(plugin)) {
                plan.plugin(plugin, Change::Removed);
            }
        }
        for protocol in &next.protocols {
            match named(live, protocol) {
                None => plan.protocol(protocol, Change::Added),
                Some(before) if before.declared != protocol.declared => {
                    plan.protocol(protocol, Change::Changed);
                }
                Some(_) => {}
            }
        }
        for protocol in &live.protocols {
            if named(next, protocol).is_none() {
                plan.protocol(protocol, Change::Removed);
            }
        }
        plan.compare_trials(live, next);
        plan
    }

    fn compare_trials(&mut self, live: &Snapshot, next: &Snapshot) {
        let named = |snapshot: &Snapshot, trial: &Trial| {
            let mut trials = snapshot.trials.iter();
            trials
                .find(|it| it.to_string() == trial.to_string())
                .cloned()
        };
        let news = next
            .trials
            .iter()
            .filter_map(|trial| match named(live, trial) {
                None => Some((trial, Change::Added)),
                Some(before) => (before != *trial).then_some((trial, Change::Changed)),
            });
        let gone = live.trials.iter().filter_map(|trial| {
            let is_gone = named(next, trial).is_none();
            is_gone.then_some((trial, Change::Removed))
        });
        self.trials = news
            .chain(gone)
            .map(|(trial, change)| TrialChange {
                trial: trial.to_string(),
                change,
            })
            .collect();
    }

    fn plugin(&mut self, plugin: &PluginEntry, change: Change) {
        self.plugins.push(PluginChange {
            plugin: plugin.pin.to_string(),
            digest: plugin.pin.digest,
            change,
            jobs: 0,
        });
    }

    fn protocol(&mut self, protocol: &Protocol, change: Change) {
        self.protocols.push(ProtocolChange {
            protocol: protocol.protocol_id.to_string(),
            change,
        });
    }

    pub(super) fn count_jobs(&mut self, held: &Held) {
        for change in &mut self.plugins {
            change.jobs = held.components.get(&change.digest).copied().unwrap_or(0);
        }
    }
}

/// The entries that ask for more than they had, and wait for an admin.
pub(super) fn held_back(live: &Snapshot, next: &Snapshot, standing: &Standing) -> Vec<EntryError> {
    let waiting = next.plugins.iter().filter_map(|plugin| {
        let more = standing.asks_for_more(plugin, live);
        let digest = plugin.pin.digest;
        (!more.is_empty()).then(|| {
            EntryError::new(
                format!("plugin {}", plugin.pin),
                format!(
                    "asks for more than it had ({}): approve it with lucius registry approve {digest}, or ask for less",
                    more.join(", ")
                ),
            )
        })
    });
    waiting.collect()
}

fn named<'a>(snapshot: &'a Snapshot, protocol: &Protocol) -> Option<&'a Arc<Protocol>> {
    snapshot
        .protocols
        .iter()
        .find(|it| it.protocol_id == protocol.protocol_id)
}

/// Who decides about a step now, and who would instead, be it for some tenants: once for each pair.
pub(super) fn successors(live: &Snapshot, next: &Snapshot) -> Vec<(Pin, Arc<PluginEntry>)> {
    let mut seen = BTreeSet::new();
    let mut pairs = Vec::new();
    for protocol in &next.protocols {
        let Some(before) = named(live, protocol) else {
            continue;
        };
        for step in &protocol.steps {
            let same_step = before.steps.iter().find(|it| it.step_id == step.step_id);
            let from = same_step.and_then(|it| it.plugin.as_ref());
            if let (Some(from), Some(to)) = (from, &step.plugin)
                && decides_otherwise(from, to)
                && seen.insert((from.pin.to_string(), to.pin.to_string()))
            {
                pairs.push((from.pin.clone(), Arc::clone(to)));
            }
        }
    }
    let canaries = next
        .trials
        .iter()
        .filter(|trial| trial.mode == Mode::Canary);
    for trial in canaries {
        let (from, to) = (&trial.plugin, &trial.candidate);
        let is_new = live.trial_of(&to.pin).is_none_or(|before| {
            before.mode != trial.mode || decides_otherwise(&before.candidate, to)
        });
        if is_new && seen.insert((from.pin.to_string(), to.pin.to_string())) {
            pairs.push((from.pin.clone(), Arc::clone(to)));
        }
    }
    pairs
}

/// True when `to` could say something else than `from`; who signed it, and with which serial, changes nothing.
fn decides_otherwise(from: &PluginEntry, to: &PluginEntry) -> bool {
    (from.pin.digest, from.limits, &from.services, &from.config)
        != (to.pin.digest, to.limits, &to.services, &to.config)
}
