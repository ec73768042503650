//! `lucius gates`, `pause` and `resume`: why commands are refused or wait, and stopping parts of the work.

use clap::Args;
use serde_json::{Value, json};

use super::Failure;
use super::client::{Client, HostUrl};
use super::output::{self, text};

#[derive(Args)]
pub(super) struct Show {
    #[command(flatten)]
    host: HostUrl,
}

#[derive(Args)]
pub(super) struct Pause {
    #[command(flatten)]
    host: HostUrl,
    /// everything, tenant:ID, protocol:ID, lane:0-15, or plugin:ID@VERSION
    target: String,
    /// Refuse new commands; without it they are accepted and wait
    #[arg(long)]
    refuse: bool,
    /// Why; for the audit trail and for clients that are refused
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Args)]
pub(super) struct Resume {
    #[command(flatten)]
    host: HostUrl,
    /// As it was paused
    target: String,
    /// Why, for the audit trail
    #[arg(long)]
    reason: Option<String>,
}

pub(super) async fn show(flags: Show, json: bool) -> Result<(), Failure> {
    let gates = Client::new(&flags.host)?.get("/v1/gates").await?;
    if json {
        output::json(&gates);
        return Ok(());
    }
    const COLUMNS: [&str; 6] = [
        "gate",
        "fullest",
        "used",
        "limit",
        "refused",
        "freed_per_second",
    ];
    let rows: Vec<Vec<String>> = gates["gates"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|gate| COLUMNS.map(|name| text(gate, name)).to_vec())
        .collect();
    output::table(&COLUMNS, &rows);
    if gates["draining"] == true {
        output::line("the host is stopping and takes no commands");
    }
    paused(&gates);
    Ok(())
}

pub(super) async fn pause(flags: Pause, json: bool) -> Result<(), Failure> {
    let manner = if flags.refuse { "refuse" } else { "hold" };
    let wanted = json!({ "target": flags.target, "manner": manner, "reason": flags.reason });
    let client = Client::new(&flags.host)?;
    let reason = flags.reason.as_deref();
    let left = client.act("/v1/pauses", Some(&wanted), reason).await?;
    if json {
        output::json(&left);
    } else {
        paused(&left);
    }
    Ok(())
}

pub(super) async fn resume(flags: Resume, json: bool) -> Result<(), Failure> {
    let wanted = json!({ "target": flags.target });
    let client = Client::new(&flags.host)?;
    let reason = flags.reason.as_deref();
    let left = client
        .act("/v1/pauses:resume", Some(&wanted), reason)
        .await?;
    if json {
        output::json(&left);
    } else {
        paused(&left);
    }
    Ok(())
}

fn paused(document: &Value) {
    let pauses = document["pauses"].as_array().map(Vec::as_slice);
    let pauses = pauses.unwrap_or_default();
    if pauses.is_empty() {
        output::line("nothing is paused");
    }
    for pause in pauses {
        let [target, manner, since, by, reason] =
            ["target", "manner", "since", "by", "reason"].map(|name| text(pause, name));
        output::line(format!(
            "paused  {target} ({manner}) since {since} by {by}: {reason}"
        ));
    }
}
