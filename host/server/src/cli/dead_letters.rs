//! `lucius dead-letters`: what came to nothing, and why.

use clap::Args;
use serde_json::Value;

use super::Failure;
use super::client::{Client, HostUrl, query};
use super::output::{self, text};

#[derive(Args)]
pub(super) struct Flags {
    #[command(flatten)]
    host: HostUrl,
    /// Only this tenant's jobs
    #[arg(long)]
    tenant: Option<String>,
    /// At most this many groups
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

pub(super) async fn run(flags: Flags, json: bool) -> Result<(), Failure> {
    let client = Client::new(&flags.host)?;
    let query = query([
        ("limit", Some(flags.limit.to_string())),
        ("tenant_id", flags.tenant),
    ]);
    let found = client.get(&format!("/v1/dead-letters?{query}")).await?;
    if json {
        output::json(&found);
        return Ok(());
    }
    let groups = rows(&found["groups"], group);
    let queues = rows(&found["queues"], |queue| {
        ["lane", "service", "messages"]
            .map(|name| text(queue, name))
            .to_vec()
    });
    let unknown = found["queues_unknown"].as_str();
    if groups.is_empty() && queues.is_empty() && unknown.is_none() {
        output::line("nothing is dead");
    }
    if !groups.is_empty() {
        output::table(
            &["signature", "jobs", "last", "step", "plugin", "error"],
            &groups,
        );
        output::line("start them again: lucius redrives begin --signature SIGNATURE");
    }
    if !queues.is_empty() {
        output::table(&["lane", "service", "dead messages"], &queues);
        output::line("drain one: lucius redrives begin --bus --lane LANE --service SERVICE");
    }
    if let Some(reason) = unknown {
        output::line(format!(
            "the bus's dead-letter queues are not known: {reason}"
        ));
    }
    Ok(())
}

fn rows(list: &Value, row: impl Fn(&Value) -> Vec<String>) -> Vec<Vec<String>> {
    list.as_array().into_iter().flatten().map(row).collect()
}

fn group(group: &Value) -> Vec<String> {
    let mut row: Vec<String> = ["signature", "count", "last_at", "step_id", "plugin"]
        .map(|name| text(group, name))
        .to_vec();
    row.push(format!(
        "{}: {}",
        text(group, "error_code"),
        text(group, "message")
    ));
    row
}
