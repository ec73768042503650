//! `cargo xtask`: what a newcomer, a developer and CI run, as one program with the same behaviour for all three.
//!
//! It stands outside the product: it knows the crates, the tools they need and the order things are built in, and
//! imports none of the host's crates, so that a broken host never keeps it from saying what is wrong.
//!
//! On failure every command ends with one line that says what to do, and exit code 1.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "talking to the person at the terminal is this program's work"
)]

mod bench;
mod check;
mod component;
mod demo;
mod docs;
mod plugins;
mod registry;
mod scale;
mod setup;
mod shell;
mod sim;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own build.
#[derive(Parser)]
#[command(name = "cargo xtask", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring what the project needs and is not there yet; safe to repeat
    Setup,
    /// Set up, build, and run a scanned document through the real system, with a crash in the middle
    Demo {
        /// Compare what came out with what is known of the document; exit 1 when it is wrong
        #[arg(long)]
        check: bool,
        /// Take what is set up and built already
        #[arg(long)]
        no_build: bool,
    },
    /// Set up, build everything and run all tests
    Test,
    /// Measure the release build; the results go to target/bench/results.json and docs/performance.md
    Bench {
        /// Only compare instruction counts with the ones that are kept; exit 1 when one rose by over 5 %
        #[arg(long, conflicts_with_all = ["keep", "registry"])]
        check: bool,
        /// Only measure plugin calls and changes of the registry
        #[arg(long, conflicts_with = "keep")]
        registry: bool,
        /// Only count instructions, and keep the counts
        #[arg(long)]
        keep: bool,
        /// Only measure what a crowd of bad clients costs the others
        #[arg(long, conflicts_with_all = ["check", "keep", "registry"])]
        neighbours: bool,
    },
    /// Simulate hosts with faults of every kind; a seed that fails is replayed by its number
    Sim {
        /// How many seeds
        #[arg(long, default_value_t = 1_000)]
        seeds: u64,
        /// The first seed
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// A deliberate defect, to see that it is found
        #[arg(long)]
        mutation: Option<String>,
    },
    /// Write the documents that are drawn from the code: the state model's tables and diagrams, the OpenAPI document
    Docs {
        /// Only look whether they are up to date; exit 1 when they are not
        #[arg(long)]
        check: bool,
    },
    /// Say what a load costs on Azure, and where the first limit is
    Scale,
    /// Check the structure: imports one way, file lengths, links, manifests
    Check,
    /// Build the plugins as components and write registry/registry.json
    Plugins,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Setup => setup::run(),
        Command::Demo { check, no_build } => demo::command(check, no_build),
        Command::Test => test::run(),
        Command::Bench {
            check,
            registry,
            neighbours,
            keep,
        } => bench::run(match (check, registry, neighbours, keep) {
            (true, ..) => bench::Aim::Check,
            (_, true, ..) => bench::Aim::Registry,
            (_, _, true, _) => bench::Aim::Neighbours,
            (_, _, _, true) => bench::Aim::Keep,
            (false, false, false, false) => bench::Aim::Measure,
        }),
        Command::Sim {
            seeds,
            from,
            mutation,
        } => sim::run(seeds, from, mutation.as_deref()),
        Command::Docs { check } => docs::run(check),
        Command::Scale => {
            scale::run();
            Ok(())
        }
        Command::Check => check::run(),
        Command::Plugins => plugins::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
