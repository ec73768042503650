//! `lucius redrives`: starting failed jobs again, many at a time.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Failure;
use super::client::{Client, HostUrl};
use super::output::{self, text};

#[derive(Args)]
pub(super) struct Flags {
    #[command(flatten)]
    host: HostUrl,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start failed jobs again, or drain a dead-letter queue of the bus
    Begin(Box<Begin>),
    /// List redrives, newest first
    List,
    /// Show one redrive and its progress
    Show { redrive: String },
    /// Stop a redrive; what was started goes on
    Cancel { redrive: String },
}

#[derive(Args)]
struct Begin {
    /// All jobs that failed
    #[arg(long, conflicts_with_all = ["tenant", "signature", "error_code", "protocol", "request_type", "from", "until"])]
    all: bool,
    /// Only this tenant's jobs
    #[arg(long)]
    tenant: Option<String>,
    /// Only jobs that failed for this reason, as `lucius dead-letters` names it
    #[arg(long)]
    signature: Option<String>,
    /// Only jobs that failed with this code
    #[arg(long)]
    error_code: Option<String>,
    /// Only jobs of this protocol
    #[arg(long)]
    protocol: Option<String>,
    /// Only jobs of this request type
    #[arg(long)]
    request_type: Option<String>,
    /// Only jobs accepted at this moment or later (RFC 3339)
    #[arg(long)]
    from: Option<String>,
    /// Only jobs accepted before this moment (RFC 3339)
    #[arg(long)]
    until: Option<String>,
    /// A dead-letter queue of the bus, in place of failed jobs
    #[arg(long, requires_all = ["lane", "service"])]
    bus: bool,
    /// The queue's lane, 0 to 15
    #[arg(long, requires = "bus")]
    lane: Option<u8>,
    /// The queue's service
    #[arg(long, requires = "bus")]
    service: Option<String>,
    /// Jobs a second
    #[arg(long)]
    rate: Option<u32>,
    /// By the plugins of the live registry, not those that the jobs were accepted under
    #[arg(long)]
    latest: bool,
    /// Only say how many there are
    #[arg(long)]
    dry_run: bool,
    /// Why, for the record
    #[arg(long)]
    reason: Option<String>,
}

pub(super) async fn run(flags: Flags, json: bool) -> Result<(), Failure> {
    let client = Client::new(&flags.host)?;
    let redrive = match flags.command {
        Command::List => return list(&client, json).await,
        Command::Begin(begin) => {
            let order = begin.order().map_err(super::usage)?;
            client.post("/v1/redrives", Some(&order)).await?
        }
        Command::Show { redrive } => client.get(&path(&redrive, "")).await?,
        Command::Cancel { redrive } => client.post(&path(&redrive, ":cancel"), None).await?,
    };
    if json {
        output::json(&redrive);
    } else {
        show(&redrive);
    }
    Ok(())
}

impl Begin {
    fn order(&self) -> anyhow::Result<Value> {
        let mut filter = json!({
            "tenant_id": self.tenant, "signature": self.signature, "error_code": self.error_code,
            "protocol_id": self.protocol, "request_type": self.request_type,
            "from": self.from, "until": self.until, "lane": self.lane, "service": self.service,
            "source": self.bus.then_some("bus"),
        });
        if let Value::Object(members) = &mut filter {
            members.retain(|_, value| !value.is_null());
            if members.is_empty() && !self.all {
                anyhow::bail!(
                    "say which jobs, for example with --signature, or --all for every job that failed"
                );
            }
        }
        let version = if self.latest { "latest" } else { "pinned" };
        Ok(json!({
            "filter": filter, "rate": self.rate, "version": version,
            "dry_run": self.dry_run, "reason": self.reason,
        }))
    }
}

async fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let found = client.get("/v1/redrives").await?;
    if json {
        output::json(&found);
        return Ok(());
    }
    let rows: Vec<Vec<String>> = found["redrives"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|redrive| {
            let names = ["id", "state", "created_at", "redriven", "refused"];
            let mut row = names.map(|name| text(redrive, name)).to_vec();
            row.push(matched(redrive));
            row.push(redrive["filter"].to_string());
            row
        })
        .collect();
    output::table(
        &[
            "redrive",
            "state",
            "asked for",
            "started",
            "refused",
            "of",
            "filter",
        ],
        &rows,
    );
    Ok(())
}

fn show(redrive: &Value) {
    for (name, member) in [
        ("redrive", "id"),
        ("state", "state"),
        ("asked for", "created_at"),
        ("by", "requested_by"),
        ("reason", "reason"),
        ("filter", "filter"),
        ("version", "version"),
        ("rate", "rate"),
        ("started", "redriven"),
        ("refused", "refused"),
    ] {
        output::line(format!("{name:<11}{}", text(redrive, member)));
    }
    output::line(format!("{:<11}{}", "of", matched(redrive)));
    for refused in redrive["refusals"].as_array().into_iter().flatten() {
        let (job, reason) = (text(refused, "jobId"), text(refused, "reason"));
        output::line(format!("  {job}  {reason}"));
    }
}

fn matched(redrive: &Value) -> String {
    let over = if redrive["matched_at_least"] == true {
        "+"
    } else {
        ""
    };
    format!("{}{over}", text(redrive, "matched"))
}

fn path(id: &str, verb: &str) -> String {
    format!("/v1/redrives/{}{verb}", super::client::segment(id))
}
