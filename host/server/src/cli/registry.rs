//! `lucius registry`: check a folder offline; look at the live one, and change which generation is live.

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
    /// Say what a reload would change, and change nothing
    Plan(Look),
    /// Make the host read its registry again
    Reload(Look),
    /// Go back to an earlier generation, from what the host has kept
    Rollback {
        #[command(flatten)]
        act: Act,
        /// Which; what was live before the live one when absent
        #[arg(long, value_name = "GENERATION")]
        to: Option<u64>,
    },
    /// Let a component have what its entry asks for, although it is more than the plugin had
    Approve(Component),
    /// Let a component out of quarantine
    Release(Component),
    /// Show what is live
    Status(HostUrl),
}

/// A host, and why something is asked of it.
#[derive(Args)]
struct Act {
    #[command(flatten)]
    host: HostUrl,
    /// Why, for the audit trail
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Args)]
struct Look {
    #[command(flatten)]
    act: Act,
    /// How many past decisions of a plugin are put to the version that would replace it
    #[arg(long)]
    replay: Option<u64>,
    /// How many of them it may decide otherwise
    #[arg(long)]
    max_diff: Option<u64>,
}

#[derive(Args)]
struct Component {
    #[command(flatten)]
    act: Act,
    /// The component's SHA-256
    digest: String,
}

impl Look {
    fn body(&self) -> Value {
        json!({ "replay": self.replay, "max_diff": self.max_diff })
    }
}

pub(super) async fn run(flags: Flags, json: bool) -> Result<(), Failure> {
    match flags.command {
        Command::Check { registry, config } => check(registry, load(config)?, json).await,
        Command::Plan(look) => {
            let body = look.body();
            let plan = post(&look.act, "plan", &body).await?;
            if json {
                output::json(&plan);
            } else {
                show_plan(&plan);
            }
            Ok(())
        }
        Command::Reload(look) => {
            let body = look.body();
            changed(&post(&look.act, "reload", &body).await?, json);
            Ok(())
        }
        Command::Rollback { act, to } => {
            changed(&post(&act, "rollback", &json!({ "to": to })).await?, json);
            Ok(())
        }
        Command::Approve(Component { act, digest }) => {
            let approval = post(&act, "approve", &json!({ "digest": digest })).await?;
            if json {
                output::json(&approval);
            } else {
                let plugin = text(&approval, "plugin");
                output::line(format!("approved  {plugin}: reload to make it live"));
            }
            Ok(())
        }
        Command::Release(Component { act, digest }) => {
            let status = post(&act, "release", &json!({ "digest": digest })).await?;
            show(&status, json);
            Ok(())
        }
        Command::Status(host) => {
            let client = Client::new(&host)?;
            let mut status = client.get("/v1/registry").await?;
            // Who may look at the registry may not be allowed to look at the hosts.
            if let Ok(hosts) = client.get("/v1/hosts").await {
                status["hosts"] = hosts["hosts"].clone();
            }
            show(&status, json);
            Ok(())
        }
    }
}

async fn post(act: &Act, verb: &str, body: &Value) -> anyhow::Result<Value> {
    let path = format!("/v1/registry:{verb}");
    let host = Client::new(&act.host)?;
    host.act(&path, Some(body), act.reason.as_deref()).await
}

fn changed(activated: &Value, json: bool) {
    if !json {
        show_plan(&activated["changes"]);
    }
    show(activated, json);
}

fn rows<'a>(document: &'a Value, member: &str) -> impl Iterator<Item = &'a Value> {
    document[member].as_array().into_iter().flatten()
}

fn show_plan(plan: &Value) {
    let (from, to) = (text(plan, "generation"), text(plan, "next_generation"));
    if from == to {
        output::line(format!("generation {from} stays as it is"));
    } else {
        output::line(format!("generation {from} -> {to}"));
    }
    for plugin in rows(plan, "plugins") {
        let held = match plugin["jobs"].as_u64() {
            None | Some(0) => String::new(),
            Some(1) => "  (1 job holds it)".to_owned(),
            Some(jobs) => format!("  ({jobs} jobs hold it)"),
        };
        let (change, name) = (text(plugin, "change"), text(plugin, "plugin"));
        output::line(format!("{change:<9}plugin {name}{held}"));
    }
    for protocol in rows(plan, "protocols") {
        let (change, name) = (text(protocol, "change"), text(protocol, "protocol_id"));
        output::line(format!("{change:<9}protocol {name}"));
    }
    for trial in rows(plan, "trials") {
        let (change, name) = (text(trial, "change"), text(trial, "trial"));
        output::line(format!("{change:<9}trial {name}"));
    }
    if plan["tenants_changed"] == true {
        output::line("changed  tenants");
    }
    for replay in rows(plan, "replays") {
        output::line(text(replay, "summary"));
        for sample in rows(replay, "samples") {
            output::line(format!(
                "  job {} step {} {}: {} -> {}",
                text(sample, "jobId"),
                text(sample, "step_id"),
                text(sample, "kind"),
                sample["was"],
                sample["now"]
            ));
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

/// Who runs what, where hosts share a ledger.
fn host_row(host: &Value) -> Vec<String> {
    let lanes = host["lanes"].as_array().map_or(0, Vec::len);
    let seen = match host["alive"] == true {
        true => "now".to_owned(),
        false => format!("{}, silent since", text(host, "seen_at")),
    };
    vec![
        text(host, "id"),
        text(host, "address"),
        text(host, "registry_generation"),
        lanes.to_string(),
        seen,
    ]
}

fn show(status: &Value, json: bool) {
    if json {
        output::json(status);
        return;
    }
    let (generation, since) = (text(status, "generation"), text(status, "activated_at"));
    let how = match status["origin"].as_str() {
        Some("rollback") => ", by a rollback",
        Some("quarantine") => ", in place of one whose plugin broke down",
        Some(_) | None => "",
    };
    output::line(format!("generation {generation}, live since {since}{how}"));
    let table: Vec<Vec<String>> = rows(status, "plugins")
        .map(|plugin| {
            ["id", "version", "state", "digest"]
                .map(|name| text(plugin, name))
                .to_vec()
        })
        .collect();
    output::table(&["plugin", "version", "state", "digest"], &table);
    for trial in rows(status, "trials") {
        output::line(format!(
            "{} {} -> {} for {} % of tenants: {}",
            text(trial, "mode"),
            text(trial, "plugin"),
            text(trial, "candidate"),
            trial["percent"],
            text(trial, "summary")
        ));
        for sample in rows(trial, "samples") {
            let (function, kind) = (text(sample, "function"), text(sample, "kind"));
            let (was, now) = (&sample["was"], &sample["now"]);
            output::line(format!("  {function} {kind}: {was} -> {now}"));
        }
    }
    for broken in rows(status, "quarantined") {
        output::line(format!(
            "quarantined  {} {}: {}; let it out with lucius registry release {}",
            text(broken, "plugin"),
            text(broken, "at"),
            text(broken, "reason"),
            text(broken, "digest")
        ));
    }
    let hosts: Vec<Vec<String>> = rows(status, "hosts").map(host_row).collect();
    if hosts.len() > 1 {
        output::table(&["host", "address", "generation", "lanes", "seen"], &hosts);
    }
    for error in rows(&status["last_reload"], "errors") {
        output::line(format!(
            "last reload refused  {}: {}",
            text(error, "entry"),
            text(error, "reason")
        ));
    }
}
