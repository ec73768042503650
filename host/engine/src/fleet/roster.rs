//! The hosts and their lanes, as one document, and how lanes are shared out.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use lucius_domain::id::Generation;
use lucius_domain::routing::Lane;
use lucius_domain::time::Timestamp;
use lucius_ports::records::{Document, Kind};
use serde::{Deserialize, Serialize};

/// How many claims a host that is not seen any more is kept for, so that people can see that it died.
const REMEMBERED_CLAIMS: u32 = 20;

/// The name of a host, new at every start: a host that comes back is another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostId(pub String);

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Where it listens.
    pub address: String,
    /// Its version.
    pub version: String,
    /// The registry generation it runs.
    pub generation: Generation,
    /// When it started.
    pub started_at: Timestamp,
    /// When it last said that it is there.
    pub seen_at: Timestamp,
}

/// Who scans a lane, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Who.
    pub host: HostId,
    /// Until when, unless it is renewed.
    pub until: Timestamp,
}

/// All hosts and claims.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// The hosts that were seen lately.
    pub hosts: BTreeMap<HostId, Member>,
    /// The lanes that someone claims, by number.
    pub lanes: BTreeMap<u8, Claim>,
}

impl Document for Roster {
    const KIND: Kind = Kind("fleet");
}

impl Roster {
    /// One host that has every lane for good.
    pub fn alone(id: HostId, me: Member) -> Self {
        let claim = Claim {
            host: id.clone(),
            until: Timestamp(i64::MAX),
        };
        Self {
            hosts: BTreeMap::from([(id, me)]),
            lanes: Lane::all()
                .map(|lane| (lane.number(), claim.clone()))
                .collect(),
        }
    }

    /// Who has a lane now.
    pub fn holder(&self, lane: Lane, now: Timestamp) -> Option<&HostId> {
        let claim = self.lanes.get(&lane.number())?;
        (claim.until > now).then_some(&claim.host)
    }

    /// The lanes that a host has now.
    pub fn lanes_of(&self, host: &HostId, now: Timestamp) -> Vec<Lane> {
        Lane::all()
            .filter(|lane| self.holder(*lane, now) == Some(host))
            .collect()
    }

    /// Whether a host was seen within the life of a claim.
    pub fn is_alive(&self, host: &HostId, now: Timestamp, claim: Duration) -> bool {
        let seen = self.hosts.get(host).map(|member| member.seen_at);
        seen.is_some_and(|seen| seen.until(now) < claim)
    }

    /// One look of a host at the whole.
    pub(super) fn tick(&mut self, id: &HostId, me: Member, now: Timestamp, claim: Duration) {
        let remembered = claim * REMEMBERED_CLAIMS;
        self.hosts
            .retain(|_, member| member.seen_at.until(now) < remembered);
        self.hosts.insert(id.clone(), me);
        let share = self.share(id, now, claim);
        let mut mine = self.lanes_of(id, now);
        for lane in mine.drain(share.min(mine.len())..) {
            self.lanes.remove(&lane.number());
        }
        let free = Lane::all().filter(|lane| self.holder(*lane, now).is_none());
        mine.extend(free.take(share - mine.len()).collect::<Vec<_>>());
        let until = now.plus_ms(u64::try_from(claim.as_millis()).unwrap_or(u64::MAX));
        for lane in mine {
            let host = id.clone();
            self.lanes.insert(lane.number(), Claim { host, until });
        }
    }

    pub(super) fn leave(&mut self, id: &HostId) {
        self.hosts.remove(id);
        self.lanes.retain(|_, claim| claim.host != *id);
    }

    /// How many lanes a host should have: as many as any other, and the first few one more, so that all are had.
    fn share(&self, id: &HostId, now: Timestamp, claim: Duration) -> usize {
        let alive = self
            .hosts
            .keys()
            .filter(|host| self.is_alive(host, now, claim));
        let alive: Vec<&HostId> = alive.collect();
        let (lanes, hosts) = (Lane::all().count(), alive.len().max(1));
        let place = alive.iter().position(|host| *host == id).unwrap_or(0);
        lanes / hosts + usize::from(place < lanes % hosts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLAIM: Duration = Duration::from_millis(300);

    fn id(number: usize) -> HostId {
        HostId(format!("host-{number}"))
    }

    fn member(now: Timestamp) -> Member {
        Member {
            address: "127.0.0.1:7420".to_owned(),
            version: "1".to_owned(),
            generation: Generation(1),
            started_at: Timestamp(0),
            seen_at: now,
        }
    }

    fn tick(roster: &mut Roster, host: usize, now: i64) {
        roster.tick(&id(host), member(Timestamp(now)), Timestamp(now), CLAIM);
    }

    fn counts(roster: &Roster, hosts: usize, now: i64) -> Vec<usize> {
        (0..hosts)
            .map(|host| roster.lanes_of(&id(host), Timestamp(now)).len())
            .collect()
    }

    #[test]
    fn a_host_alone_has_every_lane() {
        let mut roster = Roster::default();
        tick(&mut roster, 0, 0);
        assert_eq!(counts(&roster, 1, 0), [16]);
    }

    #[test]
    fn a_host_that_joins_gets_its_share_within_two_looks_of_the_others() {
        let mut roster = Roster::default();
        tick(&mut roster, 0, 0);
        tick(&mut roster, 1, 10);
        assert_eq!(
            counts(&roster, 2, 10),
            [16, 0],
            "what is claimed is not taken"
        );
        tick(&mut roster, 0, 100);
        tick(&mut roster, 1, 110);
        assert_eq!(counts(&roster, 2, 110), [8, 8]);
        tick(&mut roster, 2, 120);
        for now in [200, 300] {
            for host in 0..3 {
                tick(&mut roster, host, now);
            }
        }
        assert_eq!(counts(&roster, 3, 300), [6, 5, 5]);
    }

    #[test]
    fn the_lanes_of_a_dead_host_are_had_again_when_its_claims_end() {
        let mut roster = Roster::default();
        for now in [0, 100, 200] {
            tick(&mut roster, 0, now);
            tick(&mut roster, 1, now);
        }
        assert_eq!(counts(&roster, 2, 200), [8, 8]);
        tick(&mut roster, 0, 499);
        assert_eq!(
            counts(&roster, 2, 499),
            [8, 8],
            "until 500 they are the other's"
        );
        tick(&mut roster, 0, 500);
        assert_eq!(counts(&roster, 2, 500), [16, 0]);
    }

    #[test]
    fn a_host_that_leaves_gives_its_lanes_back_at_once() {
        let mut roster = Roster::default();
        for now in [0, 100] {
            tick(&mut roster, 0, now);
            tick(&mut roster, 1, now);
        }
        roster.leave(&id(1));
        tick(&mut roster, 0, 101);
        assert_eq!(counts(&roster, 2, 101), [16, 0]);
        assert!(!roster.hosts.contains_key(&id(1)));
    }

    #[test]
    fn a_host_that_slept_past_its_claims_finds_them_taken_and_gets_a_share_again() {
        let mut roster = Roster::default();
        for now in [0, 100] {
            tick(&mut roster, 0, now);
            tick(&mut roster, 1, now);
        }
        tick(&mut roster, 0, 1_000);
        assert_eq!(counts(&roster, 2, 1_000), [16, 0]);
        for now in [1_001, 1_100, 1_200] {
            tick(&mut roster, 1, now);
            tick(&mut roster, 0, now);
        }
        assert_eq!(counts(&roster, 2, 1_200), [8, 8]);
    }

    #[test]
    fn more_hosts_than_lanes_leave_some_without_and_none_in_doubt() {
        let mut roster = Roster::default();
        for now in [0, 100, 200, 299] {
            for host in 0..20 {
                tick(&mut roster, host, now);
            }
        }
        let mut counts = counts(&roster, 20, 299);
        counts.sort_unstable();
        assert_eq!(counts, [[0; 4].as_slice(), &[1; 16]].concat());
    }

    proptest! {
        /// Whatever the hosts do: a claim that runs is never taken from its holder, and once they all look again in
        /// turn, every lane is had and the shares differ by one at most.
        #[test]
        fn lanes_are_never_taken_and_always_shared_out(
            looks in prop::collection::vec((0_usize..5, 0_i64..200), 1..60)
        ) {
            let (mut roster, mut now) = (Roster::default(), 0);
            for (host, wait) in looks {
                now += wait;
                let before = roster.clone();
                tick(&mut roster, host, now);
                for lane in Lane::all() {
                    let (held, holds) = (before.holder(lane, Timestamp(now)), roster.holder(lane, Timestamp(now)));
                    let taken = held.is_some_and(|held| *held != id(host) && holds != Some(held));
                    prop_assert!(!taken, "lane {lane:?} was taken from {held:?}");
                }
            }
            for _ in 0..3 {
                now += 100;
                for host in 0..5 {
                    tick(&mut roster, host, now);
                }
            }
            let counts = counts(&roster, 5, now);
            prop_assert_eq!(counts.iter().sum::<usize>(), 16);
            prop_assert!(counts.iter().all(|count| (3..=4).contains(count)), "{:?}", counts);
        }
    }
}
