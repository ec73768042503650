//! The demo: a scanned document goes through the real system, which is killed half-way.
//!
//! It is a client from outside. It starts the built program, speaks the HTTP API, opens the artifacts that the API
//! names, and knows nothing else of the host. The crash is a SIGKILL while the second step is out, and the second
//! start finds what the first one had committed. With `--check` what came out is compared with what is known of the
//! document, so that the demo is also the test of the whole.

mod api;
mod artifact;
mod compare;
mod follow;
pub(crate) mod host;
mod report;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{plugins, setup, shell};
use api::{Api, Step};
use follow::Timeline;
use host::{Host, Setting};
use report::Report;

const DOCUMENT: &str = "docs/demo/invoice.pdf";
const KNOWN_TEXT: &str = "docs/demo/invoice.txt";
const QUESTION: &str = "What is the total amount due?";
const EXPECTED: &str = "EUR 1,284.50";
/// The step during which the host is killed.
const KILLED_STEP: &str = "embedding";
/// How much of the recognised text is shown.
const SHOWN_LINES: usize = 8;

/// `cargo xtask demo`: everything from set-up on, unless that is there already.
pub(crate) fn command(check: bool, no_build: bool) -> Result<()> {
    if !no_build {
        println!("set-up");
        setup::run()?;
        println!("build");
        plugins::run()?;
        let build = [
            "build",
            "--release",
            "-p",
            "lucius-server",
            "--bin",
            "lucius",
        ];
        shell::run(&mut shell::cargo(&build))?;
    }
    perform(check)
}

/// The demo with its check, on what is already set up and built.
pub(crate) fn checked_on_present_build() -> Result<()> {
    perform(true)
}

fn perform(check: bool) -> Result<()> {
    let setting = Setting::fresh()?;
    let report = run(&setting)?;
    show_result(&report);
    if !check {
        show_places(&setting);
        return Ok(());
    }
    let known = fs::read_to_string(shell::root().join(KNOWN_TEXT))?;
    let findings = report.findings(&known, EXPECTED);
    if !findings.is_empty() {
        bail!(
            "the demo went wrong: {}; the host's output is in {}",
            findings.join("; "),
            shell::short(&setting.log())
        );
    }
    println!("\nchecked: the text and the answer are right, and the crash lost nothing");
    fs::remove_dir_all(&setting.data).context("cannot remove the demo's data")
}

/// Runs the document through, with the crash, to the end of the job.
fn run(setting: &Setting) -> Result<Report> {
    println!("\ndemo");
    println!("  document   {DOCUMENT}: two scanned pages, no text layer");
    println!("  question   {QUESTION}");
    println!("  host       {}\n", setting.typed());
    let first = Host::start(setting)?;
    let api = Api::new(&setting.address);
    let command = submission(&setting.data)?;

    let mut timeline = Timeline::start();
    timeline.tell("host", format!("ready, pid {}", first.pid()));
    let job = api.submit(&command)?;
    timeline.tell("job", format!("accepted: {job}"));
    let killed_in = kill_during(KILLED_STEP, first, &api, &job, &mut timeline)?;

    let second = Host::start(setting).context("after the crash")?;
    timeline.tell(
        "host",
        format!("started again on the same data, pid {}", second.pid()),
    );
    let (ended, steps) = follow::to_the_end(&api, &job, &mut timeline)?;
    timeline.tell("job", ended.state.clone());
    drop(second);
    if ended.state != "SUCCEEDED" {
        let code = ended.error_code.as_deref().unwrap_or("no code");
        let why = ended.error_message.as_deref().unwrap_or("no reason given");
        bail!(
            "job {job} ended in {}: {code}: {why}; see {}",
            ended.state,
            shell::short(&setting.log())
        );
    }
    Ok(Report {
        recognised: artifact::recognised_text(step(&steps, "ocr")?)?,
        answer: artifact::answer(step(&steps, "sis")?)?,
        steps: steps
            .into_iter()
            .map(|step| (step.step_id, step.state))
            .collect(),
        job: ended,
        killed_in,
    })
}

/// Waits until the step is being worked on, and kills the host; the state that the step was seen in.
fn kill_during(
    id: &str,
    host: Host,
    api: &Api,
    job: &str,
    timeline: &mut Timeline,
) -> Result<String> {
    let begun = |state: &str| !matches!(state, "PENDING" | "DISPATCHING" | "AWAITING_ACK");
    let is_due = |steps: &[Step]| {
        steps
            .iter()
            .any(|step| step.step_id == id && begun(&step.state))
    };
    let failed = |steps: &[Step]| steps.iter().any(|step| step.state == "FAILED_FINAL");
    let steps = follow::until(api, job, timeline, |steps| is_due(steps) || failed(steps))?;
    let pid = host.pid();
    host.kill()?;
    let state = step(&steps, id)?.state.clone();
    timeline.tell(
        "host",
        format!("killed with SIGKILL (pid {pid}) while {id} was {state}"),
    );
    Ok(state)
}

/// The command as a client would post it. The document is read where it lies: a worker may read below the folder
/// it is started in, and write below its data folder.
fn submission(data: &Path) -> Result<Value> {
    Ok(json!({
        "schema_version": "v1",
        "tenant_id": "demo",
        "request_type": "OCR->EMBEDDING->SIS",
        "doc_id": "invoice",
        "input_ref": {
            "uri": artifact::file_uri(&shell::root().join(DOCUMENT))?,
            "content_type": "application/pdf",
        },
        "output_ref": artifact::file_uri(&data.join("output"))?,
        "payload": { "steps": {
            "ocr": { "output_format": "JSON", "language_hint": "eng" },
            "embedding": { "chunking": { "strategy": "sentence", "max_tokens": 48, "overlap_tokens": 8 } },
            "sis": { "prompt": QUESTION, "prompt_set": "invoice", "response_format": "JSON" },
        }},
    }))
}

fn step<'a>(steps: &'a [Step], id: &str) -> Result<&'a Step> {
    steps
        .iter()
        .find(|step| step.step_id == id)
        .with_context(|| format!("the job shows no step {id}"))
}

fn show_result(report: &Report) {
    println!("\nrecognised text, first lines");
    for line in report
        .recognised
        .lines()
        .filter(|line| !line.trim().is_empty())
        .take(SHOWN_LINES)
    {
        println!("  | {line}");
    }
    println!("\nquestion   {QUESTION}");
    println!("answer     {}", report.answer.text);
    println!("source     {}", report.answer.source());
}

fn show_places(setting: &Setting) {
    println!("\ndata       {}", shell::short(&setting.data));
    println!("output     {}", shell::short(&setting.data.join("output")));
    println!("log        {}", shell::short(&setting.log()));
    println!("keep it running with\n  {}", setting.typed());
}
