//! Runs seeds, any number of them, on all cores.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::Parser;
use lucius_simulation::{Again, Failure, Mutation, Story, simulate, tell};

/// Simulates hosts, bus, services and clients from seeds, and checks that nothing accepted is lost.
#[derive(Parser)]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// How many threads; all cores when absent.
    #[arg(long)]
    threads: Option<usize>,
    /// A deliberate defect, by name.
    #[arg(long)]
    mutation: Option<String>,
    /// A life that is told in advance, by name, instead of runs by chance; its seed is --from.
    #[arg(long, conflicts_with = "mutation")]
    story: Option<String>,
    /// The stop at which the host of the story dies; none when absent.
    #[arg(long, requires = "story")]
    death: Option<u64>,
}

#[derive(Default)]
struct Totals {
    seeds: AtomicU64,
    jobs: AtomicU64,
    ends: [AtomicU64; 3],
    writes: AtomicU64,
    polls: AtomicU64,
}

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            // A closed terminal is no reason to fail in another way.
            let _closed = writeln!(std::io::stderr(), "{error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(name) = &arguments.story {
        let told = tell(story(name)?, arguments.from, arguments.death);
        let told = told.map_err(|failure| anyhow::anyhow!("{failure}"))?;
        let [done, failed, cancelled] = told.ends;
        writeln!(
            std::io::stdout().lock(),
            "{}{} stops, {} attempts: {done} done, {failed} failed, {cancelled} cancelled",
            told.history,
            told.stops,
            told.attempts
        )?;
        return Ok(());
    }
    let mutation = arguments.mutation.as_deref().map(named).transpose()?;
    let threads = match arguments.threads {
        Some(threads) => threads.max(1),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let end = arguments
        .from
        .checked_add(arguments.seeds)
        .context("the last seed is too large: use a smaller --from or --seeds")?;
    let (next, totals) = (AtomicU64::new(arguments.from), Totals::default());
    let first_failure: Mutex<Option<Box<Failure>>> = Mutex::default();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    match simulate(seed, mutation) {
                        Ok(report) => totals.add(&report),
                        Err(failure) => {
                            next.store(end, Ordering::Relaxed);
                            let mut first = lock(&first_failure);
                            if first.as_ref().is_none_or(|it| seed_of(it) > seed) {
                                *first = Some(failure);
                            }
                        }
                    }
                }
            });
        }
    });
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", totals.text(start.elapsed().as_secs_f64()))?;
    match lock(&first_failure).take() {
        Some(failure) => bail!("{failure}"),
        None => Ok(()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn seed_of(failure: &Failure) -> u64 {
    match failure.again {
        Again::Seed(seed, _) | Again::Story(_, seed, _) => seed,
    }
}

fn story(name: &str) -> anyhow::Result<Story> {
    let found = Story::ALL.iter().find(|it| it.name() == name);
    let names: Vec<&str> = Story::ALL.iter().map(|it| it.name()).collect();
    found
        .copied()
        .with_context(|| format!("no story {name}; use one of: {}", names.join(", ")))
}

fn named(name: &str) -> anyhow::Result<Mutation> {
    let found = Mutation::ALL.iter().find(|it| it.name() == name);
    let names: Vec<&str> = Mutation::ALL.iter().map(|it| it.name()).collect();
    found
        .copied()
        .with_context(|| format!("no mutation {name}; use one of: {}", names.join(", ")))
}

impl Totals {
    fn add(&self, report: &lucius_simulation::Report) {
        self.seeds.fetch_add(1, Ordering::Relaxed);
        self.jobs.fetch_add(report.jobs, Ordering::Relaxed);
        for (total, ends) in self.ends.iter().zip(report.ends) {
            total.fetch_add(ends, Ordering::Relaxed);
        }
        self.writes.fetch_add(report.writes, Ordering::Relaxed);
        self.polls.fetch_add(report.polls, Ordering::Relaxed);
    }

    fn text(&self, seconds: f64) -> String {
        let of = |it: &AtomicU64| it.load(Ordering::Relaxed);
        #[expect(
            clippy::as_conversions,
            clippy::cast_precision_loss,
            reason = "rates for a person to read"
        )]
        let rate = |it: &AtomicU64| (of(it) as f64) / seconds.max(0.001);
        let [done, failed, cancelled] = &self.ends;
        format!(
            "{} seeds hold in {seconds:.1} s: {:.0} seeds/s, {:.0} transitions/s\n\
             {} jobs: {} done, {} failed, {} cancelled; {} transitions, {} turns",
            of(&self.seeds),
            rate(&self.seeds),
            rate(&self.writes),
            of(&self.jobs),
            of(done),
            of(failed),
            of(cancelled),
            of(&self.writes),
            of(&self.polls),
        )
    }
}
