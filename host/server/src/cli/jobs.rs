//! `lucius jobs`: the read side and the verbs; what is about plugins is in [`decisions`].

use clap::{Args, Subcommand};
use serde_json::Value;

use super::Failure;
use super::client::{Client, HostUrl, query, segment};
use super::decisions;
use super::output::{self, text};

mod watch;

#[derive(Args)]
pub(super) struct Flags {
    #[command(flatten)]
    host: HostUrl,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List jobs, newest first
    List(ListFlags),
    /// Show one job and its steps
    Show { job: String },
    /// Show all that happened to a job
    Events { job: String },
    /// Watch jobs as they go, until interrupted or all that are named are over
    Watch(watch::Flags),
    /// Cancel a job
    Cancel { job: String },
    /// Start a failed job again at its failed step
    Redrive { job: String },
    /// Show what plugins decided about a job, one by one
    Explain { job: String },
    /// Write what plugins decided about a job as cases for lucius plugin test
    Export(decisions::Export),
    /// Move a job to another registry generation
    Migrate(decisions::Migrate),
}

/// What a list of jobs can be narrowed by.
#[derive(Args)]
struct ListFlags {
    /// Only this tenant's
    #[arg(long)]
    tenant: Option<String>,
    /// Only in this state, for example IN_PROGRESS
    #[arg(long)]
    state: Option<String>,
    /// Only of this request type
    #[arg(long)]
    request_type: Option<String>,
    /// Only of this protocol
    #[arg(long)]
    protocol: Option<String>,
    /// Only failed ones with this code
    #[arg(long)]
    error_code: Option<String>,
    /// Only failed ones with this signature, as `lucius dead-letters` names it
    #[arg(long)]
    signature: Option<String>,
    /// Only jobs accepted at this moment or later (RFC 3339)
    #[arg(long)]
    from: Option<String>,
    /// Only jobs accepted before this moment (RFC 3339)
    #[arg(long)]
    until: Option<String>,
    /// At most this many
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Go on where an earlier list ended
    #[arg(long)]
    cursor: Option<String>,
}

impl ListFlags {
    fn query(self) -> String {
        query([
            ("limit", Some(self.limit.to_string())),
            ("tenant_id", self.tenant),
            ("state", self.state),
            ("request_type", self.request_type),
            ("protocol_id", self.protocol),
            ("error_code", self.error_code),
            ("signature", self.signature),
            ("from", self.from),
            ("until", self.until),
            ("cursor", self.cursor),
        ])
    }
}

pub(super) async fn run(flags: Flags, json: bool) -> Result<(), Failure> {
    let client = Client::new(&flags.host)?;
    match flags.command {
        Command::List(flags) => {
            let page = client.get(&format!("/v1/jobs?{}", flags.query())).await?;
            if json {
                output::json(&page)
            } else {
                list(&page)
            }
        }
        Command::Watch(flags) => watch::run(&client, flags, json).await?,
        Command::Show { job } => show(&client, &job, json).await?,
        Command::Events { job } => {
            let events = client
                .get(&format!("/v1/jobs/{}/events", segment(&job)))
                .await?;
            if json {
                output::json(&events);
            } else {
                for event in events["events"].as_array().into_iter().flatten() {
                    output::line(event_line(event));
                }
            }
        }
        Command::Cancel { job } => verb(&client, &job, "cancel", json).await?,
        Command::Redrive { job } => verb(&client, &job, "redrive", json).await?,
        Command::Explain { job } => decisions::explain(&client, &job, json).await?,
        Command::Export(flags) => decisions::export(&client, flags, json).await?,
        Command::Migrate(flags) => decisions::migrate(&client, flags, json).await?,
    }
    Ok(())
}

/// Shows a job and its steps.
pub(super) async fn show(client: &Client, job: &str, json: bool) -> anyhow::Result<()> {
    let id = segment(job);
    let job = client.get(&format!("/v1/jobs/{id}")).await?;
    let steps = client.get(&format!("/v1/jobs/{id}/steps")).await?;
    if json {
        let mut document = job;
        document["steps"] = steps["steps"].clone();
        output::json(&document);
        return Ok(());
    }
    for name in [
        "jobId",
        "tenant_id",
        "request_type",
        "protocol_id",
        "state",
        "created_at",
        "completed_at",
    ] {
        output::line(format!("{name:<14}{}", text(&job, name)));
    }
    if !job["error_code"].is_null() {
        output::line(format!(
            "{:<14}{}: {}",
            "error",
            text(&job, "error_code"),
            text(&job, "error_message")
        ));
    }
    output::line("");
    let rows: Vec<Vec<String>> = steps["steps"]
        .as_array()
        .into_iter()
        .flatten()
        .map(step_row)
        .collect();
    output::table(
        &["step", "state", "attempt", "service", "lane", "note"],
        &rows,
    );
    Ok(())
}

fn step_row(step: &Value) -> Vec<String> {
    let note = ["skip_reason", "last_error_message", "next_attempt_at"]
        .iter()
        .find_map(|name| step[*name].as_str())
        .unwrap_or_default();
    let mut row: Vec<String> = ["step_id", "state", "attempt_no", "service", "lane"]
        .map(|name| text(step, name))
        .to_vec();
    row.push(note.to_owned());
    row
}

fn list(page: &Value) {
    let names = [
        "jobId",
        "state",
        "tenant_id",
        "request_type",
        "created_at",
        "error_code",
    ];
    let rows: Vec<Vec<String>> = page["jobs"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|job| names.map(|name| text(job, name)).to_vec())
        .collect();
    output::table(
        &["job", "state", "tenant", "request", "created", "error"],
        &rows,
    );
    if let Some(cursor) = page["next_cursor"].as_str() {
        output::line(format!("more: --cursor {cursor}"));
    }
}

async fn verb(client: &Client, job: &str, verb: &str, json: bool) -> anyhow::Result<()> {
    let job = client
        .post(&format!("/v1/jobs/{}:{verb}", segment(job)), None)
        .await?;
    if json {
        output::json(&job);
    } else {
        output::line(format!("{}  {}", text(&job, "jobId"), text(&job, "state")));
    }
    Ok(())
}

/// `2026-11-23T13:34:00.25Z  attempt_created  ocr #1  ...`
pub(super) fn event_line(event: &Value) -> String {
    let attempt = event["attempt_no"]
        .as_u64()
        .map(|no| format!(" #{no}"))
        .unwrap_or_default();
    let step = event["step_id"].as_str().unwrap_or_default();
    let shown = ["seq", "at", "type", "step_id", "attempt_no"];
    let more: Vec<String> = event
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, value)| {
            !shown.contains(&name.as_str())
                && !value.is_null()
                && !value.is_object()
                && !value.is_array()
        })
        .map(|(name, _)| format!("{name}={}", text(event, name)))
        .collect();
    let (at, kind) = (text(event, "at"), text(event, "type"));
    let line = format!(
        "{at:<26}{kind:<18}{:<14}{}",
        format!("{step}{attempt}"),
        more.join(" ")
    );
    line.trim_end().to_owned()
}
