//! Many hosts on one ledger: who is there, and who scans which lane.
//!
//! Every host may work on every job: what keeps two of them from harm is the version that a commit needs, never a
//! claim. A claim only saves double work: the scans and sweeps of a lane are done by the host that has it. So a host
//! that was frozen past its claims, or whose clock is off, costs an extra look and nothing else.
//!
//! All of it is one small record, the [`Roster`]: the hosts with the moment they were last seen, and the lanes with
//! their claims. A host writes it on the version that it read ([`Engine::fleet_tick`]), so two hosts never share out the same
//! lane. A claim ends by itself; a host that leaves gives its lanes back at once.
//!
//! On failure: when the record cannot be read or written, the host keeps its lanes until their claims end, and then
//! scans none until the record can be had again. What hints bring is dispatched all the same.

mod roster;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lucius_domain::routing::Lane;
use lucius_domain::time::Timestamp;
use lucius_ports::ledger;
use lucius_ports::records::{Key, Versioned, Written};

pub use roster::{Claim, HostId, Member, Roster};

use crate::Engine;

/// How often a write is tried against other hosts' within one tick; the next tick is soon.
const MAX_CONFLICTS: usize = 8;
/// How many ticks there are in the life of a claim: it is renewed twice before it ends.
const TICKS_PER_CLAIM: u32 = 3;

/// What this host is, among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its name, new at every start.
    pub id: HostId,
    /// Where it listens, for people.
    pub address: String,
    /// Its version, for people.
    pub version: String,
    /// How long a claim lasts without being renewed. `None` when no other host can reach the ledger: then this host
    /// has every lane and writes no record.
    pub claim: Option<Duration>,
}

impl Settings {
    /// A host that nobody shares the ledger with.
    pub fn alone(id: HostId, address: String) -> Self {
        Self {
            id,
            address,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            claim: None,
        }
    }
}

/// What this host knows about the others.
pub(crate) struct Fleet {
    settings: Settings,
    started_at: Timestamp,
    known: Mutex<Roster>,
}

impl Fleet {
    pub(crate) fn new(settings: Settings, now: Timestamp) -> Self {
        Self {
            settings,
            started_at: now,
            known: Mutex::default(),
        }
    }

    /// How often a host looks what the others do; never when there are none.
    pub(crate) fn interval(&self) -> Option<Duration> {
        Some(self.settings.claim? / TICKS_PER_CLAIM)
    }

    /// Whether the scans and sweeps of a lane are this host's.
    pub(crate) fn holds(&self, lane: Lane, now: Timestamp) -> bool {
        self.settings.claim.is_none() || self.known().holder(lane, now) == Some(&self.settings.id)
    }

    fn me(&self, engine: &Engine, now: Timestamp) -> Member {
        Member {
            address: self.settings.address.clone(),
            version: self.settings.version.clone(),
            generation: engine.registry.live().generation,
            started_at: self.started_at,
            seen_at: now,
        }
    }

    fn known(&self) -> MutexGuard<'_, Roster> {
        // Every change below is one assignment.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the claims of this host, until dropped.
pub(crate) async fn run(engine: &Arc<Engine>) {
    let Some(interval) = engine.fleet.interval() else {
        return;
    };
    loop {
        if let Err(error) = engine.fleet_tick().await {
            tracing::warn!(%error, "the claims on lanes were not renewed; they are tried again");
        }
        engine.ports.clock.sleep(interval).await;
    }
}

impl Engine {
    /// Says that this host is there, renews its claims, gives lanes back that are others' share, and takes those that
    /// nobody has.
    ///
    /// # Errors
    /// The ledger did not answer, or other hosts were faster every time.
    pub async fn fleet_tick(&self) -> Result<(), ledger::Error> {
        let Some(claim) = self.fleet.settings.claim else {
            return Ok(());
        };
        self.change_roster(|roster, me, now| roster.tick(&self.fleet.settings.id, me, now, claim))
            .await
    }

    /// Gives every lane back, so that others have them at once. For a host whose loops have ended.
    ///
    /// # Errors
    /// As [`Engine::fleet_tick`]; the claims then end by themselves.
    pub async fn leave_fleet(&self) -> Result<(), ledger::Error> {
        if self.fleet.settings.claim.is_none() {
            return Ok(());
        }
        self.change_roster(|roster, _, _| roster.leave(&self.fleet.settings.id))
            .await
    }

    /// The hosts that share this ledger, as this one last saw them. Always holds this host itself.
    pub fn roster(&self) -> Roster {
        let now = self.ports.clock.now();
        let settings = &self.fleet.settings;
        let me = self.fleet.me(self, now);
        if settings.claim.is_none() {
            return Roster::alone(settings.id.clone(), me);
        }
        let mut roster = self.fleet.known().clone();
        roster.hosts.entry(settings.id.clone()).or_insert(me);
        roster
    }

    /// The lanes whose scans and sweeps are this host's now.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = Lane> + use<'_> {
        let now = self.ports.clock.now();
        Lane::all().filter(move |lane| self.fleet.holds(*lane, now))
    }

    /// The name of this host among the others.
    pub fn host_id(&self) -> &HostId {
        &self.fleet.settings.id
    }

    async fn change_roster(
        &self,
        change: impl Fn(&mut Roster, Member, Timestamp),
    ) -> Result<(), ledger::Error> {
        let key = Key::of("roster");
        for _ in 0..MAX_CONFLICTS {
            let found = self.ports.records.read::<Roster>(&key).await?;
            let (mut roster, version) = match found {
                Some(Versioned {
                    document, version, ..
                }) => (document, Some(version)),
                None => (Roster::default(), None),
            };
            let now = self.ports.clock.now();
            change(&mut roster, self.fleet.me(self, now), now);
            match self.ports.records.write(&key, &roster, version).await? {
                Written::Done(_) => {
                    *self.fleet.known() = roster;
                    return Ok(());
                }
                Written::Conflict => {}
            }
        }
        Err(ledger::Error::Unavailable(
            "other hosts were faster every time".to_owned(),
        ))
    }
}
