//! The second phase: nothing goes wrong any more, and every job has to end within its bound (I3).
//!
//! The bound follows from the settings. All that a service may still say of old directives comes within the horizon;
//! after that the present attempt of a job ends by its own longest wait, the next one waits for its turn, and from
//! then on services do what they are told.

use lucius_domain::job::Status;
use lucius_domain::routing::Lane;

use crate::plugins::LONGEST_WAIT_MS;
use crate::run::{MAX_SKEW_MS, Run};
use crate::worker::HORIZON_MS;
use crate::world::Violation;

/// What a step takes when nothing goes wrong: the bus, the ACK, the work, and a few rounds of the sweepers.
const CALM_STEP_MS: i64 = 8_000;
/// The most steps that a job has in a run.
const STEPS: i64 = 3;
/// How many polls a task may take; far more than any needs.
const MAX_POLLS: u64 = 20_000;
/// How often the sweepers look when nothing else happens.
const SWEEP_MS: i64 = 1_000;

impl Run {
    /// The phase without faults.
    pub(crate) fn calm(&mut self) {
        let end = {
            let state = &mut *self.world.state();
            (state.calm, state.bus_down, state.ledger_down) = (true, false, false);
            state.skews.fill(0);
            state.note(None, "all is well from now on");
            state.now + self.bound_ms()
        };
        for host in &mut self.hosts {
            host.paused_until = 0;
        }
        self.finish();
        loop {
            for host in 0..self.hosts.len() {
                if self.hosts[host].engine.is_none() {
                    self.open(host);
                }
            }
            self.happen();
            self.finish();
            if let Some(wish) = self.wish() {
                self.begin_or(wish);
            }
            self.round();
            if self.is_broken() || self.wish().is_none() && self.all_is_over() {
                break;
            }
            let state = &mut *self.world.state();
            if state.now >= end {
                let job = state
                    .check
                    .jobs()
                    .find(|job| !job.progress.status.is_terminal());
                let late = job.map(|job| Violation {
                    invariant: "I3",
                    job: Some(job.id),
                    what: format!(
                        "still {} at the end of its bound",
                        job.progress.status.name()
                    ),
                });
                state.violate(late);
                break;
            }
            let next = state.queue.keys().next().map(|(at, _)| *at);
            let soon = state.now + SWEEP_MS;
            state.now = next.map_or(soon, |at| at.clamp(state.now + 1, soon));
        }
        if !self.is_broken() {
            self.check_the_end();
        }
    }

    fn bound_ms(&self) -> i64 {
        let timing = &self.settings.timing;
        let longest = |waits: &[u64]| waits.iter().copied().max().unwrap_or(0);
        let ms = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let retry = ms(longest(&timing.retry_backoff_ms)).max(LONGEST_WAIT_MS);
        let present = [
            ms(timing.ack_ms).max(LONGEST_WAIT_MS),
            ms(timing.lease_ms.max(timing.deadline_ms)).max(LONGEST_WAIT_MS),
            ms(longest(&timing.dispatch_backoff_ms)),
            retry,
        ];
        let present = present.into_iter().max().unwrap_or(0);
        MAX_SKEW_MS + HORIZON_MS + present + retry + STEPS * CALM_STEP_MS
    }

    /// Lets every task that has begun end.
    fn finish(&mut self) {
        let mut polls = 0;
        while !self.tasks.is_empty() && !self.is_broken() {
            let index = self.world.state().dice.index(self.tasks.len());
            self.poll(index);
            polls += 1;
            if polls > MAX_POLLS {
                let what = "a task does not come to an end".to_owned();
                let stuck = Violation {
                    invariant: "I3",
                    job: None,
                    what,
                };
                self.world.state().violate(Some(stuck));
            }
        }
    }

    /// Every host looks once for all that is due.
    fn round(&mut self) {
        let mut lanes: Vec<Lane> = {
            let state = self.world.state();
            let open = state.check.jobs().filter(|job| job.due().is_some());
            open.map(|job| job.spec.lane).collect()
        };
        lanes.sort_unstable();
        lanes.dedup();
        for host in 0..self.hosts.len() {
            for _ in 0..4 {
                self.polls += 1;
                self.hosts[host].hint_turn();
                if self.hosts[host].hints.is_some() {
                    self.stopped(host);
                }
            }
            for lane in &lanes {
                for which in 0..4 {
                    self.tick(host, *lane, which);
                }
            }
        }
        self.finish();
    }

    fn all_is_over(&self) -> bool {
        let state = self.world.state();
        let mut jobs = state.check.jobs();
        state.queue.is_empty() && jobs.all(|job| job.progress.status.is_terminal())
    }

    fn check_the_end(&mut self) {
        for job in self.clients.promised() {
            self.is_there(job);
        }
        let ids = self.world.state().check.ids();
        for id in ids {
            let verdict = self.world.at_the_end(id);
            self.world.state().violate(verdict);
        }
    }

    /// How many jobs ended how: done, failed, cancelled.
    pub(crate) fn ends(&self) -> [u64; 3] {
        let mut ends = [0; 3];
        for job in self.world.state().check.jobs() {
            match job.progress.status {
                Status::Succeeded => ends[0] += 1,
                Status::FailedFinal { .. } => ends[1] += 1,
                Status::Cancelled => ends[2] += 1,
                Status::Queued | Status::Dispatching | Status::InProgress | Status::Cancelling => {}
            }
        }
        ends
    }
}
