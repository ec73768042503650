//! A small world, and every order in which things can happen in it.
//!
//! One job of two steps; two hosts that load it, decide, publish and commit, each step of theirs a step of the world;
//! a bus, and a service that sends an ACK and a RESULT for every copy of a directive that it gets, in any order. A
//! host may die once, wherever it is; a directive or a callback may be doubled once; a wait may run out early once; in
//! one of the worlds a client cancels. The simulator draws such stories by chance. This search leaves none out.
//!
//! All waits are of no length, so time never separates two states, and a host may look whenever it likes.

use std::collections::{BTreeMap, HashSet};

use crate::stage::Says;
use crate::world::{Left, World};

/// The search: what was seen, and how many worlds ended how.
#[derive(Default)]
struct Search {
    says: Option<Says>,
    seen: HashSet<Vec<u8>>,
    /// The worlds on the way to the present one; to meet one of them again would be a circle.
    way: HashSet<Vec<u8>>,
    ends: BTreeMap<&'static str, u64>,
}

impl Search {
    fn of(says: Says, left: Left) -> Self {
        let world = World::new(left);
        let mut search = Self {
            says: Some(says),
            ..Self::default()
        };
        search.visit(&world);
        search
    }

    fn visit(&mut self, world: &World) {
        let shape = world.shape();
        assert!(
            !self.way.contains(&shape),
            "the world goes in a circle, so the job may never end"
        );
        if !self.seen.insert(shape.clone()) {
            return;
        }
        self.way.insert(shape.clone());
        let says = self.says.unwrap_or(Says::Done);
        let next = world.next(says);
        if next.is_empty() {
            self.ends(world);
        }
        for mut world in next {
            world.forget_what_is_over(says);
            self.visit(&world);
        }
        self.way.remove(&shape);
    }

    /// Nobody has anything left to do: I3, I7 and I8 must hold.
    fn ends(&mut self, world: &World) {
        let status = &world.job.progress.status;
        assert!(
            status.is_terminal(),
            "nobody moves a job that is {}",
            status.name()
        );
        for (row, state) in &world.rows {
            let published = world.taken.contains(row);
            match *state {
                "SENT" => assert!(published, "{row:?} is SENT and was never published"),
                "PENDING" => panic!("{row:?} is never published"),
                _ => {}
            }
        }
        *self.ends.entry(status.name()).or_default() += 1;
    }
}

const ONE_OF_EACH: Left = Left {
    crashes: 1,
    doubles: 1,
    timeouts: 1,
    cancels: 0,
};

#[test]
fn i3_i7_i8_two_hosts_a_crash_and_a_duplicate_in_every_order_leave_nothing_undone() {
    let search = Search::of(Says::Done, ONE_OF_EACH);
    assert_eq!(
        search.ends.keys().copied().collect::<Vec<_>>(),
        ["SUCCEEDED"]
    );
    assert!(
        search.seen.len() > 10_000,
        "{} worlds are not all",
        search.seen.len()
    );
}

#[test]
fn f22_a_cancel_between_all_of_that_ends_the_job_in_every_order() {
    let left = Left {
        cancels: 1,
        ..ONE_OF_EACH
    };
    let search = Search::of(Says::Done, left);
    let ends: Vec<_> = search.ends.keys().copied().collect();
    assert_eq!(ends, ["CANCELLED", "SUCCEEDED"]);
}

#[test]
fn i13_a_service_that_always_fails_uses_up_the_budget_in_every_order() {
    let left = Left {
        doubles: 0,
        ..ONE_OF_EACH
    };
    let search = Search::of(Says::TryAgain, left);
    assert_eq!(
        search.ends.keys().copied().collect::<Vec<_>>(),
        ["FAILED_FINAL"]
    );
}
