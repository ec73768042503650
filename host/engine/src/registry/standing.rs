//! What is known of plugins beyond any one generation: how high their serials went, what an admin approved, what the
//! breaker took out of service. Small records; who decides on them reads them anew.

use std::collections::{BTreeMap, BTreeSet};

use lucius_domain::id::{Digest, PluginId, ServiceName};
use lucius_domain::plugin::Pin;
use lucius_domain::time::Timestamp;
use lucius_ports::ledger;
use lucius_ports::plugin::Limits;
use lucius_ports::records::{Document, Key, Kind, Records, Written};
use serde::{Deserialize, Serialize};

use super::{PluginEntry, Snapshot};

/// How often a record is tried against another host's write.
const MAX_CONFLICTS: usize = 8;

/// The highest serial of a plugin that was ever activated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Serial {
    serial: u64,
}

impl Document for Serial {
    const KIND: Kind = Kind("plugin-serial");
}

/// An admin's word that a component may have what its entry asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The plugin and its component.
    pub plugin: Pin,
    /// The services that it may route to.
    pub services: Vec<ServiceName>,
    /// The limits that it may have.
    pub limits: Limits,
    /// When.
    pub at: Timestamp,
}

impl Document for Approval {
    const KIND: Kind = Kind("plugin-approval");
}

/// A component that the breaker took out of service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// The plugin and its component.
    pub plugin: Pin,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

impl Quarantine {
    /// Why an entry with this component is refused.
    pub(super) fn refusal(&self, digest: Digest) -> String {
        format!(
            "is quarantined since {} ({}): register a mended version, or let it out with lucius registry release {digest}",
            self.at, self.reason
        )
    }
}

impl Document for Quarantine {
    const KIND: Kind = Kind("plugin-quarantine");
}

/// All of it, as it was when it was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    pub(super) serials: BTreeMap<PluginId, u64>,
    pub(super) approvals: BTreeMap<Digest, Approval>,
    pub(super) quarantined: BTreeMap<Digest, Quarantine>,
}

impl Standing {
    /// Reads it; `live` is the generation that is live, whose serials count even if the host was stopped between
    /// activating it and writing them down.
    pub(super) async fn read(
        records: &dyn Records,
        live: Option<&Snapshot>,
    ) -> Result<Self, ledger::Error> {
        let mut standing = Self::default();
        for found in records.all::<Serial>().await? {
            let id = PluginId::new(found.key.as_str());
            standing.serials.insert(id, found.document.serial);
        }
        let signed = live.into_iter().flat_map(|live| &live.plugins);
        standing.raise(signed.filter_map(|it| Some((it.pin.id.clone(), it.serial?))));
        for found in records.all::<Approval>().await? {
            let approval = found.document;
            standing.approvals.insert(approval.plugin.digest, approval);
        }
        for found in records.all::<Quarantine>().await? {
            let quarantine = found.document;
            let digest = quarantine.plugin.digest;
            standing.quarantined.insert(digest, quarantine);
        }
        Ok(standing)
    }

    /// Takes note of serials that went live.
    pub(super) fn raise(&mut self, serials: impl IntoIterator<Item = (PluginId, u64)>) {
        for (id, serial) in serials {
            let highest = self.serials.entry(id).or_default();
            *highest = serial.max(*highest);
        }
    }

    /// What an entry asks for that no entry of the same plugin has in the live generation and no admin has approved;
    /// nothing for a plugin that is new.
    pub(super) fn asks_for_more(&self, plugin: &PluginEntry, live: &Snapshot) -> Vec<String> {
        let before: Vec<_> = live
            .plugins
            .iter()
            .filter(|it| it.pin.id == plugin.pin.id)
            .collect();
        if before.is_empty() {
            return Vec::new();
        }
        let approval = self.approvals.get(&plugin.pin.digest);
        let granted: BTreeSet<&ServiceName> = before
            .iter()
            .flat_map(|it| &it.services)
            .chain(approval.into_iter().flat_map(|it| &it.services))
            .collect();
        let mut more: Vec<String> = plugin
            .services
            .iter()
            .filter(|service| !granted.contains(service))
            .map(|service| format!("service {service}"))
            .collect();
        let limits = before.iter().map(|it| it.limits);
        let highest = limits
            .chain(approval.map(|it| it.limits))
            .reduce(highest_of)
            .unwrap_or_default();
        let asked = plugin.limits;
        for (name, asked, had) in [
            ("memory_bytes", asked.memory_bytes, highest.memory_bytes),
            ("deadline_ms", asked.deadline_ms, highest.deadline_ms),
            ("fuel", asked.fuel, highest.fuel),
            ("output_bytes", asked.output_bytes, highest.output_bytes),
        ] {
            if asked > had {
                more.push(format!("{name} {asked} instead of {had}"));
            }
        }
        more
    }
}

fn highest_of(one: Limits, other: Limits) -> Limits {
    Limits {
        memory_bytes: one.memory_bytes.max(other.memory_bytes),
        deadline_ms: one.deadline_ms.max(other.deadline_ms),
        fuel: one.fuel.max(other.fuel),
        output_bytes: one.output_bytes.max(other.output_bytes),
    }
}

/// Writes down the serials of a generation that went live, where they are higher than what is known.
pub(super) async fn note_serials(
    records: &dyn Records,
    snapshot: &Snapshot,
) -> Result<(), ledger::Error> {
    for plugin in &snapshot.plugins {
        if let Some(serial) = plugin.serial {
            raise(records, &plugin.pin.id, serial).await?;
        }
    }
    Ok(())
}

async fn raise(records: &dyn Records, id: &PluginId, serial: u64) -> Result<(), ledger::Error> {
    let key = Key::of(id.as_str());
    for _ in 0..MAX_CONFLICTS {
        let known = records.read::<Serial>(&key).await?;
        if known
            .as_ref()
            .is_some_and(|it| it.document.serial >= serial)
        {
            return Ok(());
        }
        let expected = known.map(|it| it.version);
        match records.write(&key, &Serial { serial }, expected).await? {
            Written::Done(_) => return Ok(()),
            Written::Conflict => {}
        }
    }
    Err(ledger::Error::Unavailable(format!(
        "the serial of plugin {id} is being written by many at once"
    )))
}

/// The key of what is kept by component.
pub(super) fn key_of(digest: Digest) -> Key {
    Key::of(&digest.to_string())
}
