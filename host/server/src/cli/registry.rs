//! `lucius registry`: check a folder offline; look at and reload the live one.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lucius_registry_dir::RegistryDir;
use lucius_wasm::Sandbox;
use serde_json::{Value, json};

use super::client::{Client, HostUrl};
use super::output::{self, text};
use super::{Failure, load};

#[derive(Args)]
pub(super) struct Flags {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check a registry folder as a host would, without a host
    Check {
        /// The folder
        #[arg(long, default_value = "./registry")]
        registry: PathBuf,
        /// A TOML file with settings
        #[arg(long, env = "LUCIUS_CONFIG")]
        config: Option<PathBuf>,
    },
    /// Make the host read its registry again
    Reload(HostUrl),
    /// Show what is live
    Status(HostUrl),
}

pub(super) async fn run(flags: Flags, json: bool) -> Result<(), Failure> {
    match flags.command {
        Command::Check { registry, config } => check(registry, load(config)?, json).await,
        Command::Reload(host) => {
            let status = Client::new(&host)?
                .post("/v1/registry:reload", None)
                .await?;
            show(&status, json);
            Ok(())
        }
        Command::Status(host) => {
            let status = Client::new(&host)?.get("/v1/registry").await?;
            show(&status, json);
            Ok(())
        }
    }
}

async fn check(
    registry: PathBuf,
    config: crate::config::Config,
    json: bool,
) -> Result<(), Failure> {
    let kept = tempfile::tempdir()?;
    let source = RegistryDir::new(&registry, kept.path());
    let sandbox = Sandbox::start(crate::sandbox::settings(&config.plugins))?;
    let checked = lucius_engine::registry::check(&source, &sandbox, config.plugins.cap()).await;
    match checked {
        Ok(snapshot) => {
            let plugins: Vec<Value> = snapshot
                .plugins
                .iter()
                .map(|plugin| json!({ "plugin": plugin.pin.to_string(), "digest": plugin.pin.digest }))
                .collect();
            if json {
                output::json(&json!({ "ok": true, "plugins": plugins }));
            } else {
                for plugin in &plugins {
                    output::line(format!(
                        "ok  {:<20}{}",
                        text(plugin, "plugin"),
                        text(plugin, "digest")
                    ));
                }
                output::line(format!("ok  {} protocols", snapshot.protocols.len()));
            }
            Ok(())
        }
        Err(errors) => {
            if json {
                output::json(&json!({ "ok": false, "errors": errors }));
            } else {
                for error in &errors {
                    output::line(format!("refused  {error}"));
                }
            }
            let count = errors.len();
            Err(Failure::Failed(anyhow::anyhow!(
                "the registry in {} has {count} errors",
                registry.display()
            )))
        }
    }
}

fn show(status: &Value, json: bool) {
    if json {
        output::json(status);
        return;
    }
    let (generation, since) = (text(status, "generation"), text(status, "activated_at"));
    output::line(format!("generation {generation}, live since {since}"));
    let rows: Vec<Vec<String>> = status["plugins"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|plugin| {
            ["id", "version", "state", "digest"]
                .map(|name| text(plugin, name))
                .to_vec()
        })
        .collect();
    output::table(&["plugin", "version", "state", "digest"], &rows);
    for error in status["last_reload"]["errors"]
        .as_array()
        .into_iter()
        .flatten()
    {
        output::line(format!(
            "last reload refused  {}: {}",
            text(error, "entry"),
            text(error, "reason")
        ));
    }
}
