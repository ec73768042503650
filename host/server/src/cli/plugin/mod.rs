//! `lucius plugin`: everything between an idea and a component that a host takes, without a host and without a network.
//!
//! What is said here about a component is what a host would say, since the host's own code says it: the same sandbox
//! admits it, and the same check of a registry reads its entry. Nothing is decided twice.

mod add;
mod build;
mod cases;
mod check;
mod embedded;
mod folder;
mod inspect;
mod package;
mod scaffold;
mod sign;
mod test;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use lucius_domain::plugin::Description;
use lucius_ports::plugin::{AdmissionError, Limits, Runtime as _};
use lucius_wasm::Sandbox;

use self::folder::{Built, Folder};
use crate::cli::{Failure, load};
use crate::config::Plugins;

#[derive(Args)]
pub(super) struct Flags {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a folder with a plugin that builds and passes its own tests
    New(scaffold::Flags),
    /// Build the component
    Build(Place),
    /// Say everything that a host would say when it admits the component
    Check(Judged),
    /// Run the golden cases on the component, in the sandbox that a host runs it in
    Test(test::Flags),
    /// Show what the component is: imports, exports, size, digest, limits
    Inspect(Judged),
    /// Vouch for the component with a key of yours
    Sign(sign::Flags),
    /// Place the plugin in a registry folder: its component, its entry and its protocols
    Add(add::Flags),
}

/// Which plugin.
#[derive(Args)]
struct Place {
    /// The plugin's folder, or a component's file
    #[arg(default_value = ".")]
    plugin: PathBuf,
}

/// Which plugin, and what an operator would grant it.
#[derive(Args)]
struct Judged {
    #[command(flatten)]
    place: Place,
    /// A TOML file with the host's settings, whose caps hold; the defaults without one
    #[arg(long, env = "LUCIUS_CONFIG")]
    config: Option<PathBuf>,
}

pub(super) async fn run(flags: Flags, json: bool) -> Result<(), Failure> {
    match flags.command {
        Command::New(flags) => scaffold::run(flags, json),
        Command::Build(place) => build::run(&Folder::open(&place.plugin)?, json),
        Command::Check(judged) => check::run(&judged.open()?, json).await,
        Command::Test(flags) => test::run(flags, json).await,
        Command::Inspect(judged) => inspect::run(&judged.open()?, json).await,
        Command::Sign(flags) => sign::run(flags, json).await,
        Command::Add(flags) => add::run(flags, json).await,
    }
}

/// A component that was built, and what it may use here.
struct Candidate {
    folder: Folder,
    built: Built,
    /// What the operator caps.
    settings: Plugins,
    /// What is asked for, within them.
    granted: Limits,
}

impl Judged {
    fn open(self) -> Result<Candidate, Failure> {
        let settings = load(self.config)?.plugins;
        let folder = Folder::open(&self.place.plugin)?;
        let granted = folder.granted(settings.cap())?;
        Ok(Candidate {
            built: folder.read()?,
            folder,
            settings,
            granted,
        })
    }
}

impl Candidate {
    /// A sandbox, as a host starts it.
    fn sandbox(&self) -> anyhow::Result<Sandbox> {
        Ok(Sandbox::start(crate::sandbox::settings(&self.settings))?)
    }

    /// Has the sandbox admit the component.
    async fn admit(&self, sandbox: &Sandbox) -> Result<Description, AdmissionError> {
        sandbox
            .admit(Arc::clone(&self.built.bytes), self.granted)
            .await
    }
}
