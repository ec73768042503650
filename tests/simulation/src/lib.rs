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
//! A [`Story`] leaves nothing to chance: its host dies at every await there is, one after the other.
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
mod story;
mod tasks;
mod worker;
mod world;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use lucius_domain::id::Digest;

pub use mutation::Mutation;
use run::Run;
pub use story::Story;

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

/// What a story came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// At how many awaits its host stopped, so how many places there are to die at.
    pub stops: u64,
    /// How many attempts the job had.
    pub attempts: u32,
    /// How it ended: done, failed, cancelled.
    pub ends: [u64; 3],
    /// All that happened, line by line.
    pub history: String,
}

/// How a run is made again, as arguments on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// A run by chance.
    Seed(u64, Option<Mutation>),
    /// A story, from a seed, and the stop at which the host dies.
    Story(Story, u64, Option<u64>),
}

impl fmt::Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seed(seed, None) => write!(f, "--seeds 1 --from {seed}"),
            Self::Seed(seed, Some(mutation)) => {
                write!(f, "--seeds 1 --from {seed} --mutation {}", mutation.name())
            }
            Self::Story(story, seed, None) => {
                write!(f, "--story {} --from {seed}", story.name())
            }
            Self::Story(story, seed, Some(death)) => {
                write!(f, "--story {} --from {seed} --death {death}", story.name())
            }
        }
    }
}

/// A run in which an invariant does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How to see it again.
    pub again: Again,
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
            again,
            invariant,
            what,
            history,
        } = self;
        writeln!(f, "{history}")?;
        writeln!(f, "{invariant} does not hold: {what}")?;
        write!(
            f,
            "see it again: cargo run --release -p lucius-simulation -- {again}"
        )
    }
}

/// Makes one run.
///
/// # Errors
/// The first invariant that does not hold, also when the engine panics.
pub fn simulate(seed: u64, mutation: Option<Mutation>) -> Result<Report, Box<Failure>> {
    let mut run = Run::new(seed, mutation);
    let again = Again::Seed(seed, mutation);
    let (ends, polls) = judged(again, &mut run, |run| {
        run.storm();
        if !run.is_broken() {
            run.calm();
        }
        (run.ends(), run.polls)
    })?;
    let state = run.world.state();
    Ok(Report {
        jobs: ends.iter().sum(),
        ends,
        writes: state.check.writes,
        polls,
        history: Digest::of(state.history(None).as_bytes()),
    })
}

/// Tells a story, in which the host dies at this of its stops and is started again; or does not die. The seed chooses
/// in which order the host does what it does at the same time.
///
/// # Errors
/// The first invariant that does not hold, also when the engine panics.
pub fn tell(story: Story, seed: u64, death: Option<u64>) -> Result<Told, Box<Failure>> {
    let mut run = Run::of(story, seed, death);
    judged(Again::Story(story, seed, death), &mut run, |run| {
        run.calm();
        Told {
            stops: run.stops,
            attempts: run.attempts(),
            ends: run.ends(),
            history: run.world.state().history(None),
        }
    })
}

/// Makes a run, unless it panics or breaks an invariant.
fn judged<T>(
    again: Again,
    run: &mut Run,
    make: impl FnOnce(&mut Run) -> T,
) -> Result<T, Box<Failure>> {
    let world = Arc::clone(&run.world);
    let outcome = catch_unwind(AssertUnwindSafe(|| make(run)));
    let state = world.state();
    let failed = |invariant, job, what| {
        Box::new(Failure {
            again,
            invariant,
            what,
            history: state.history(job),
        })
    };
    let made = outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied());
        let what = format!("the engine panicked: {}", text.unwrap_or("without a word"));
        failed("PANIC", None, what)
    })?;
    match &state.violation {
        None => Ok(made),
        Some(violation) => {
            let who = violation
                .job
                .map(|job| format!("job {}: ", world::short(job)));
            let what = format!("{}{}", who.unwrap_or_default(), violation.what);
            Err(failed(violation.invariant, violation.job, what))
        }
    }
}
