//! A deterministic simulator: the real engine, and around it a world in which everything goes wrong that may.
//!
//! Clients hand in work and walk away, so the promises have to hold at every moment and not only on good days. One
//! run has one to three hosts (the real [`lucius_engine::Engine`] over simulated ports), one ledger, one bus, clients
//! and services, all on one thread and all from one seed: which task runs next and how far, which write fails before
//! or after it takes effect or arrives long after, which message is lost, doubled or late, whose clock jumps, who
//! dies and when. The same seed gives the same run, event by event.
//!
//! A run has two phases. While things go wrong, the invariants are checked after every write ([`check`]). Then all
//! is well, and every job that was accepted has to end within a bound that follows from the settings ([`calm`]).
//! A run that fails says how to see it again, and tells the story of the job.
//!
//! [`Mutation`]s are deliberate defects; a simulator that does not find them would not find others.
//!
//! ```text
//! cargo run --release -p lucius-simulation -- --seeds 10000 --from 1
//! ```
//!
//! What it does not show: whether a real ledger keeps its promises (that is for the conformance suite and the tests
//! that kill processes), and the rhythm of the engine's own loops: scans and sweeps are started by the simulator. The
//! dispatcher that hints wake up is the engine's own.

mod calm;
mod check;
mod client;
mod defects;
mod dice;
mod host;
mod ledger;
mod mutation;
mod plugins;
mod ports;
mod rules;
mod run;
mod tasks;
mod worker;
mod world;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use lucius_domain::id::Digest;

pub use mutation::Mutation;
use run::Run;

/// What a run that held came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Jobs that were created.
    pub jobs: u64,
    /// How they ended: done, failed, cancelled.
    pub ends: [u64; 3],
    /// Writes that took effect, so transitions of jobs.
    pub writes: u64,
    /// How often a task was given a turn.
    pub polls: u64,
    /// SHA-256 of the whole history; the same for the same seed.
    pub history: Digest,
}

/// A run in which an invariant does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The deliberate defect, if there was one.
    pub mutation: Option<Mutation>,
    /// Which invariant, by its number.
    pub invariant: &'static str,
    /// What is wrong.
    pub what: String,
    /// The story so far: of the job, or of all when it is about no one job.
    pub history: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            mutation,
            invariant,
            what,
            history,
        } = self;
        writeln!(f, "{history}")?;
        writeln!(f, "seed {seed}: {invariant} does not hold: {what}")?;
        write!(
            f,
            "see it again: cargo run --release -p lucius-simulation -- --seeds 1 --from {seed}"
        )?;
        match mutation {
            Some(mutation) => write!(f, " --mutation {}", mutation.name()),
            None => Ok(()),
        }
    }
}

/// Makes one run.
///
/// # Errors
/// The first invariant that does not hold, also when the engine panics.
pub fn simulate(seed: u64, mutation: Option<Mutation>) -> Result<Report, Box<Failure>> {
    let mut run = Run::new(seed, mutation);
    let world = Arc::clone(&run.world);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        run.storm();
        if !run.is_broken() {
            run.calm();
        }
        (run.ends(), run.polls)
    }));
    let state = world.state();
    let failed = |invariant, job, what| {
        Box::new(Failure {
            seed,
            mutation,
            invariant,
            what,
            history: state.history(job),
        })
    };
    let (ends, polls) = outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied());
        let what = format!("the engine panicked: {}", text.unwrap_or("without a word"));
        failed("PANIC", None, what)
    })?;
    if let Some(violation) = &state.violation {
        let who = violation
            .job
            .map(|job| format!("job {}: ", world::short(job)));
        let what = format!("{}{}", who.unwrap_or_default(), violation.what);
        return Err(failed(violation.invariant, violation.job, what));
    }
    Ok(Report {
        jobs: ends.iter().sum(),
        ends,
        writes: state.check.writes,
        polls,
        history: Digest::of(state.history(None).as_bytes()),
    })
}
