//! `lucius submit`: send a command, and watch what becomes of it.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::client::{Client, HostUrl};
use super::output::{self, text};
use super::progress::{Bars, is_over};
use super::{Failure, jobs, usage};
use crate::host::file_uri;

/// How long a follower waits for a host that went away.
const PATIENCE: Duration = Duration::from_secs(120);
/// How many lines of a recognised text are shown.
const TEXT_LINES: usize = 3;

#[derive(Args)]
pub(super) struct Flags {
    #[command(flatten)]
    host: HostUrl,
    /// A file that holds the command as JSON; - for standard input
    #[arg(
        required_unless_present = "request_type",
        conflicts_with = "request_type"
    )]
    file: Option<PathBuf>,
    /// What is asked for, for example "OCR->EMBEDDING->SIS"
    #[arg(long, requires = "input")]
    request_type: Option<String>,
    /// The document: a URI, or a path on this machine
    #[arg(long)]
    input: Option<String>,
    /// The folder for results: a URI, or a path on this machine
    #[arg(long, default_value = "lucius-output")]
    output: String,
    /// Who it belongs to
    #[arg(long, default_value = "default")]
    tenant: String,
    /// The payload as JSON
    #[arg(long, default_value = "{}")]
    payload: String,
    /// A question for the SIS step, in place of writing it into the payload
    #[arg(long)]
    prompt: Option<String>,
    /// Your name for the document
    #[arg(long)]
    doc_id: Option<String>,
    /// DEFAULT or BURST
    #[arg(long)]
    mode: Option<String>,
    /// Your key for this very request
    #[arg(long)]
    idempotency_key: Option<String>,
    /// Show the steps as they go, then the result
    #[arg(long)]
    follow: bool,
}

pub(super) async fn run(flags: Flags, json: bool) -> Result<(), Failure> {
    let command = command(&flags).map_err(usage)?;
    let client = Client::new(&flags.host)?;
    let accepted = client.post("/v1/commands", Some(&command)).await?;
    let job = text(&accepted, "jobId");
    if !flags.follow {
        if json {
            output::json(&accepted);
        } else {
            let known = if accepted["duplicate"] == true {
                "  (accepted before)"
            } else {
                ""
            };
            output::line(format!("{job}  {}{known}", text(&accepted, "state")));
        }
        return Ok(());
    }
    follow(&client, &job, json).await?;
    let ended = client.get(&format!("/v1/jobs/{job}")).await?;
    jobs::show(&client, &job, json).await?;
    if !json {
        results(&client, &job).await?;
    }
    match ended["state"].as_str() {
        Some("SUCCEEDED") => Ok(()),
        _ => Err(Failure::Failed(anyhow::anyhow!(
            "the job ended as {}",
            text(&ended, "state")
        ))),
    }
}

fn command(flags: &Flags) -> anyhow::Result<Value> {
    if let Some(file) = &flags.file {
        let mut content = String::new();
        if file == Path::new("-") {
            std::io::stdin().read_to_string(&mut content)?;
        } else {
            content = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read the command in {}", file.display()))?;
        }
        return serde_json::from_str(&content)
            .with_context(|| format!("{} does not hold JSON", file.display()));
    }
    let mut payload: Value =
        serde_json::from_str(&flags.payload).context("--payload is not JSON")?;
    if let Some(prompt) = &flags.prompt {
        let place = match payload.get("steps") {
            Some(_) => &mut payload["steps"]["sis"]["prompt"],
            None => &mut payload["prompt"],
        };
        *place = prompt.as_str().into();
    }
    let mut command = json!({
        "tenant_id": flags.tenant,
        "request_type": flags.request_type,
        "input_ref": document(flags.input.as_deref().unwrap_or_default())?,
        "output_ref": as_uri(&flags.output)?,
        "payload": payload,
        "schema_version": "v1",
    });
    let optional = [
        ("doc_id", &flags.doc_id),
        ("mode", &flags.mode),
        ("idempotency_key", &flags.idempotency_key),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            command[name] = value.as_str().into();
        }
    }
    Ok(command)
}

/// The document's URI. A path is looked at, since a job with a mistyped one could only fail, and later.
fn document(place: &str) -> anyhow::Result<String> {
    if place.is_empty() {
        bail!("give a document with --input");
    }
    if !place.contains("://") && !Path::new(place).exists() {
        bail!(
            "there is no document at {place}: name one on this machine, or a URI if it lies elsewhere"
        );
    }
    as_uri(place)
}

/// A URI as it is; a path as a `file` URI.
fn as_uri(place: &str) -> anyhow::Result<String> {
    if place.contains("://") {
        return Ok(place.to_owned());
    }
    Ok(file_uri(&std::path::absolute(place)?))
}

/// Prints events until the job is over. A host that goes away is waited for.
async fn follow(client: &Client, job: &str, json: bool) -> anyhow::Result<()> {
    let mut seen = 0;
    let mut bars = Bars::new();
    let mut lost: Option<Instant> = None;
    loop {
        match watch(client, job, &mut seen, &mut bars, json).await {
            Ok(true) => {
                bars.end();
                return Ok(());
            }
            Ok(false) => lost = None,
            Err(error) if lost.get_or_insert_with(Instant::now).elapsed() > PATIENCE => {
                return Err(error);
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(300)).await,
        }
    }
}

/// Prints events of one connection. True when the job is over.
async fn watch(
    client: &Client,
    job: &str,
    seen: &mut u64,
    bars: &mut Bars,
    json: bool,
) -> anyhow::Result<bool> {
    let mut chunks = client.stream(job, *seen).await?.bytes_stream();
    let mut buffered: Vec<u8> = Vec::new();
    while let Some(chunk) = chunks.next().await {
        buffered.extend_from_slice(&chunk.context("the stream broke off")?);
        while let Some(end) = buffered.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffered.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let Some(data) = line.strip_prefix("data:") else {
                continue;
            };
            let Ok(event) = serde_json::from_str::<Value>(data.trim()) else {
                continue;
            };
            *seen = event["seq"].as_u64().unwrap_or(*seen);
            let noise = matches!(event["type"].as_str(), Some("decided"));
            if !json && !noise {
                bars.line(&jobs::event_line(&event));
                if bars.are_drawn() {
                    draw(client, job, bars).await?;
                }
            }
        }
    }
    let state = client.get(&format!("/v1/jobs/{job}")).await?;
    Ok(is_over(&state))
}

/// Draws the job as it is now.
async fn draw(client: &Client, job: &str, bars: &mut Bars) -> anyhow::Result<()> {
    let document = client.get(&format!("/v1/jobs/{job}")).await?;
    let steps = client.get(&format!("/v1/jobs/{job}/steps")).await?;
    bars.show(&document, &steps);
    Ok(())
}

/// Where the results are, and what they say where that can be read from here.
async fn results(client: &Client, job: &str) -> anyhow::Result<()> {
    let steps = client.get(&format!("/v1/jobs/{job}/steps")).await?;
    for step in steps["steps"].as_array().into_iter().flatten() {
        let output = &step["output_ref"];
        if output.is_null() {
            continue;
        }
        let place = output
            .as_str()
            .map_or_else(|| text(output, "uri"), str::to_owned);
        output::line(format!("\n{:<11}{place}", text(step, "step_id")));
        let path = url::Url::parse(&place)
            .ok()
            .and_then(|uri| uri.to_file_path().ok());
        // A result on another machine, or one that is gone by now, is named and not shown.
        if let Some(content) = path.and_then(|path| std::fs::read_to_string(path).ok()) {
            for line in shown(&content) {
                output::line(format!("  {line}"));
            }
        }
    }
    Ok(())
}

/// What of a result is worth a look: an answer with its sources, or the first lines of a text.
fn shown(content: &str) -> Vec<String> {
    let Ok(document) = serde_json::from_str::<Value>(content) else {
        let lines = content.lines().filter(|line| !line.trim().is_empty());
        return lines.take(TEXT_LINES).map(str::to_owned).collect();
    };
    if document["answer"].is_null() {
        return Vec::new();
    }
    let mut lines = vec![format!(
        "{}: {}",
        text(&document, "kind"),
        text(&document, "answer")
    )];
    for passage in document["passages"].as_array().into_iter().flatten() {
        let (page, score) = (
            text(passage, "page"),
            passage["score"].as_f64().unwrap_or_default(),
        );
        lines.push(format!(
            "page {page}, score {score:.2}: {}",
            text(passage, "text")
        ));
    }
    lines
}
