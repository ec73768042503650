//! Hosts as they are shown.

use std::time::Duration;

use lucius_domain::time::Timestamp;
use lucius_engine::fleet::{HostId, Member, Roster};
use serde::Serialize;
use utoipa::ToSchema;

/// The hosts that share a ledger.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HostList)]
pub struct HostListView {
    /// The hosts.
    pub hosts: Vec<HostView>,
}

/// A host.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Host)]
pub struct HostView {
    /// Its name, new at every start.
    pub id: String,
    /// Where it listens.
    pub address: String,
    /// Its version.
    pub version: String,
    /// The registry generation it runs.
    pub registry_generation: u64,
    /// When it started.
    #[schema(format = DateTime)]
    pub started_at: String,
    /// When it last said that it is there.
    #[schema(format = DateTime)]
    pub seen_at: String,
    /// False when it has not said so for longer than a claim lasts.
    pub alive: bool,
    /// The lanes whose scans and sweeps it does, 0 to 15.
    pub lanes: Vec<u8>,
}

impl HostListView {
    /// All hosts of a roster, as of `now`. `claim` is how long a claim lasts; without one a host is always alive.
    pub fn new(roster: &Roster, now: Timestamp, claim: Option<Duration>) -> Self {
        let view = |(id, member): (&HostId, &Member)| HostView {
            id: id.to_string(),
            address: member.address.clone(),
            version: member.version.clone(),
            registry_generation: member.generation.0,
            started_at: member.started_at.to_string(),
            seen_at: member.seen_at.to_string(),
            alive: claim.is_none_or(|claim| roster.is_alive(id, now, claim)),
            lanes: roster
                .lanes_of(id, now)
                .into_iter()
                .map(lucius_domain::routing::Lane::number)
                .collect(),
        };
        Self {
            hosts: roster.hosts.iter().map(view).collect(),
        }
    }
}
