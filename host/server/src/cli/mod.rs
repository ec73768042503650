//! The command line. Exit code 0: done; 1: it failed; 2: it was asked in the wrong way, or a host cannot start.

mod audit;
mod azure;
mod backup;
pub(crate) mod client;
mod dead_letters;
mod decisions;
mod doctor;
mod gates;
mod jobs;
mod keys;
mod log;
mod output;
mod plugin;
mod progress;
mod redrives;
mod registry;
mod reload;
mod serve;
mod submit;
mod worker;
mod worker_health;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

use crate::config::Config;

/// A durable orchestrator for document-intelligence jobs.
#[derive(Parser)]
#[command(
    name = "lucius",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
struct Cli {
    /// Print JSON for machines instead of text for people
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the host
    Serve(HostFlags),
    /// Run the host and the three platform workers in one process
    Dev(HostFlags),
    /// Run one platform worker, or a program as a worker
    Worker(worker::Flags),
    /// Submit a command
    Submit(submit::Flags),
    /// Look at jobs, cancel and redrive them
    Jobs(jobs::Flags),
    /// Make, build, check and test a step plugin; all offline
    Plugin(plugin::Flags),
    /// Copy what is durable, while the host runs
    Backup(backup::Flags),
    /// Look at a deployment: what is wrong, and what to do
    Doctor(doctor::Flags),
    /// Show what came to nothing, by why
    DeadLetters(dead_letters::Flags),
    /// Start failed jobs again, many at a time
    Redrives(redrives::Flags),
    /// Check a registry, and look after the live one
    Registry(registry::Flags),
    /// Show why commands are refused or wait
    Gates(gates::Show),
    /// Stop a part of the work, or all of it
    Pause(gates::Pause),
    /// Let it go on
    Resume(gates::Resume),
    /// Make, list and end the keys that clients call with
    Keys(keys::Flags),
    /// Show who did what to the host, and why
    Audit(audit::Flags),
    /// See what Azure accounts must hold for a host, and make what is missing
    Azure(azure::Flags),
    /// Measure a host with no-op workers
    Bench(crate::bench::Flags),
    /// What the host starts to compile a component, which comes on standard input
    #[command(name = crate::sandbox::COMMAND, hide = true)]
    CompileComponent(crate::sandbox::Flags),
}

/// Settings that `serve` and `dev` take as flags.
#[derive(Args)]
struct HostFlags {
    /// A TOML file with settings
    #[arg(long, env = "LUCIUS_CONFIG")]
    config: Option<PathBuf>,
    /// The address to listen on [default: 127.0.0.1:7420]
    #[arg(long)]
    listen: Option<std::net::SocketAddr>,
    /// Where everything durable is kept [default: ./lucius-data]
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// The registry folder [default: ./registry]
    #[arg(long)]
    registry: Option<PathBuf>,
    /// Accept commands and send nothing to workers until "lucius resume everything"
    #[arg(long)]
    start_paused: bool,
}

impl HostFlags {
    fn load(&self) -> Result<Config, Failure> {
        let mut config = load(self.config.clone())?;
        config.listen = self.listen.unwrap_or(config.listen);
        if let Some(data_dir) = &self.data_dir {
            config.data_dir.clone_from(data_dir);
        }
        if let Some(registry) = &self.registry {
            config.registry.clone_from(registry);
        }
        Ok(config)
    }
}

/// Why a command did not do it.
enum Failure {
    /// It was tried and failed: exit code 1.
    Failed(anyhow::Error),
    /// It was asked in the wrong way, or cannot start: exit code 2.
    Usage(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Marks an error as one of asking.
fn usage(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Usage(error.into())
}

fn load(file: Option<PathBuf>) -> Result<Config, Failure> {
    Config::load(file.as_deref(), std::env::vars()).map_err(usage)
}

/// Parses the command line and runs it.
pub fn main() -> ExitCode {
    let Cli { json, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if wants_help(&error) => error.exit(),
        Err(error) => {
            let json = std::env::args().any(|argument| argument == "--json");
            return report(json, &usage(asked_wrongly(&error)));
        }
    };
    if let Command::CompileComponent(flags) = command {
        return crate::sandbox::compile(&flags);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return report(json, &Failure::Failed(error.into())),
    };
    let outcome = runtime.block_on(async {
        match command {
            Command::Serve(flags) => serve::serve(flags, json).await,
            Command::Dev(flags) => serve::dev(flags, json).await,
            Command::Worker(flags) => worker::run(flags).await,
            Command::Submit(flags) => submit::run(flags, json).await,
            Command::Jobs(flags) => jobs::run(flags, json).await,
            Command::Plugin(flags) => plugin::run(flags, json).await,
            Command::Backup(flags) => backup::run(flags, json),
            Command::Doctor(flags) => doctor::run(flags, json).await,
            Command::DeadLetters(flags) => dead_letters::run(flags, json).await,
            Command::Redrives(flags) => redrives::run(flags, json).await,
            Command::Registry(flags) => registry::run(flags, json).await,
            Command::Gates(flags) => gates::show(flags, json).await,
            Command::Pause(flags) => gates::pause(flags, json).await,
            Command::Resume(flags) => gates::resume(flags, json).await,
            Command::Keys(flags) => keys::run(flags, json).await,
            Command::Audit(flags) => audit::run(flags, json).await,
            Command::Azure(flags) => azure::run(flags, json).await,
            Command::Bench(flags) => crate::bench::run(flags, json)
                .await
                .map_err(Failure::Failed),
            Command::CompileComponent(_) => Ok(()), // returned above, before there were threads
        }
    });
    // Blocking work that is still under way must not keep the program.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(json, &failure),
    }
}

/// True for help and version, asked for or shown since nothing was.
fn wants_help(error: &clap::Error) -> bool {
    !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
}

/// What the parser says, without the usage that it adds in further lines.
fn asked_wrongly(error: &clap::Error) -> anyhow::Error {
    let text = error.to_string();
    let said = text.split("\n\nUsage:").next().unwrap_or_default();
    let said = said.split("\n\nFor more information").next();
    let said = said.unwrap_or_default().trim_start_matches("error: ");
    let words: Vec<&str> = said.split_whitespace().collect();
    anyhow::anyhow!("{}; --help says more", words.join(" "))
}

#[expect(clippy::print_stderr, reason = "the command line's own error line")]
fn report(json: bool, failure: &Failure) -> ExitCode {
    let (error, code) = match failure {
        Failure::Failed(error) => (error, 1),
        Failure::Usage(error) => (error, 2),
    };
    let line = one_line(error);
    if json {
        eprintln!("{}", serde_json::json!({ "error": line }));
    } else {
        eprintln!("error: {line}");
    }
    ExitCode::from(code)
}

/// The error with its causes, but for those that it names itself.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_command_line_is_one_line_that_says_what_is_wrong() {
        for (arguments, expected) in [
            (
                &["lucius", "fly"][..],
                "unrecognized subcommand 'fly'; --help says more",
            ),
            (
                &["lucius", "jobs", "show"],
                "the following required arguments were not provided: <JOB>; --help says more",
            ),
        ] {
            let Err(error) = Cli::try_parse_from(arguments) else {
                panic!("{arguments:?} is understood");
            };
            assert!(!wants_help(&error), "{arguments:?}");
            assert_eq!(asked_wrongly(&error).to_string(), expected);
        }
        for arguments in [&["lucius"][..], &["lucius", "--help"], &["lucius", "-V"]] {
            let shown = Cli::try_parse_from(arguments).err();
            assert!(shown.is_some_and(|it| wants_help(&it)), "{arguments:?}");
        }
    }

    #[test]
    fn a_cause_that_an_error_names_itself_is_not_said_again() {
        let cause = std::io::Error::other("disk on fire");
        let named = anyhow::Error::new(cause).context("cannot write: disk on fire; buy another");
        assert_eq!(one_line(&named), "cannot write: disk on fire; buy another");
        let unnamed =
            anyhow::Error::new(std::io::Error::other("disk on fire")).context("cannot write");
        assert_eq!(one_line(&unnamed), "cannot write: disk on fire");
    }
}
