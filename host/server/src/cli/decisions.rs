//! `lucius jobs explain`, `export` and `migrate`: what plugins decided about a job, and who decides from now on.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use lucius_ports::case::{Case, Cases};
use serde_json::{Value, json};

use super::client::Client;
use super::output::{self, text};

/// What stands for a text that was taken out. The same text is replaced by the same word everywhere, so that what
/// depends on two texts being equal still does.
const REDACTED: &str = "redacted-";

#[derive(Args)]
pub(super) struct Export {
    job: String,
    /// The file to write; standard output when absent
    #[arg(long)]
    out: Option<PathBuf>,
    /// Take out the texts at this JSON Pointer of each case, for example /payload/prompt; may be given again
    #[arg(long, value_name = "POINTER")]
    redact: Vec<String>,
    /// Leave the addresses of documents in; they are taken out otherwise
    #[arg(long)]
    keep_addresses: bool,
}

#[derive(Args)]
pub(super) struct Migrate {
    job: String,
    /// The registry generation to move it to
    #[arg(long, value_name = "GENERATION")]
    to: u64,
    /// Move it although the plugins there would have decided otherwise
    #[arg(long)]
    force: bool,
}

pub(super) async fn explain(client: &Client, job: &str, json: bool) -> anyhow::Result<()> {
    let document = decisions(client, job).await?;
    if json {
        output::json(&document);
        return Ok(());
    }
    for decision in document["decisions"].as_array().into_iter().flatten() {
        let digest = text(decision, "digest");
        output::line(format!(
            "{}  {:<10}{:<10}{} ({})  fuel {}",
            text(decision, "at"),
            text(decision, "step_id"),
            text(decision, "function"),
            text(decision, "plugin"),
            digest.get(..12).unwrap_or(&digest),
            text(decision, "fuel"),
        ));
        output::line(format!("    {}", decision["answer"]));
    }
    Ok(())
}

pub(super) async fn export(client: &Client, flags: Export, json: bool) -> anyhow::Result<()> {
    let document = decisions(client, &flags.job).await?;
    let cases = document["decisions"].as_array().into_iter().flatten();
    let cases = cases.filter(|decision| !decision["case"].is_null());
    let cases = cases.map(|decision| {
        let case = redacted(decision["case"].clone(), &flags);
        serde_json::from_value::<Case>(case).context("the host gave a case that is none")
    });
    let cases: Vec<Case> = cases.collect::<Result<_, _>>()?;
    let count = cases.len();
    let mut file = Cases::new(cases);
    file.description = Some(format!("What plugins decided about job {}", flags.job));
    let value = serde_json::to_value(&file)?;
    let Some(path) = flags.out else {
        output::json(&value);
        return Ok(());
    };
    std::fs::write(&path, format!("{value:#}\n"))
        .with_context(|| format!("cannot write {}", path.display()))?;
    if json {
        output::json(&json!({ "file": path.display().to_string(), "cases": count }));
    } else {
        output::line(format!("{count} cases in {}", path.display()));
    }
    Ok(())
}

pub(super) async fn migrate(client: &Client, flags: Migrate, json: bool) -> anyhow::Result<()> {
    let Migrate { job, to, force } = flags;
    let path = format!("/v1/jobs/{}:migrate", super::client::segment(&job));
    let body = json!({ "to": to, "force": force });
    let moved = client.post(&path, Some(&body)).await?;
    if json {
        output::json(&moved);
        return Ok(());
    }
    output::line(format!(
        "{}  {}  generation {}",
        text(&moved, "jobId"),
        text(&moved, "state"),
        text(&moved, "registry_generation")
    ));
    for difference in moved["differences"].as_array().into_iter().flatten() {
        output::line(format!(
            "  step {} {}: {} -> {}",
            text(difference, "step_id"),
            text(difference, "kind"),
            difference["was"],
            difference["now"]
        ));
    }
    Ok(())
}

async fn decisions(client: &Client, job: &str) -> anyhow::Result<Value> {
    let path = format!("/v1/jobs/{}/decisions", super::client::segment(job));
    client.get(&path).await
}

/// The case without what must not leave this place.
fn redacted(mut case: Value, flags: &Export) -> Value {
    let mut words = BTreeMap::new();
    if !flags.keep_addresses {
        addresses(&case, &mut words);
    }
    for pointer in &flags.redact {
        if let Some(value) = case.pointer(pointer) {
            texts(value, &mut words);
        }
    }
    replace(&mut case, &words);
    case
}

fn note(text: &str, words: &mut BTreeMap<String, String>) {
    let next = format!("{REDACTED}{}", words.len() + 1);
    words.entry(text.to_owned()).or_insert(next);
}

/// Every text below a value.
fn texts(value: &Value, words: &mut BTreeMap<String, String>) {
    match value {
        Value::String(text) => note(text, words),
        Value::Array(items) => items.iter().for_each(|item| texts(item, words)),
        Value::Object(members) => members.values().for_each(|member| texts(member, words)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Every address of a document: a member called `uri`, and a reference that is a plain text.
fn addresses(value: &Value, words: &mut BTreeMap<String, String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| addresses(item, words)),
        Value::Object(members) => {
            for (name, member) in members {
                match (name.as_str(), member) {
                    ("uri" | "output_ref", Value::String(text)) => note(text, words),
                    ("artifact_refs", Value::Array(items)) => {
                        let plain = items.iter().filter_map(Value::as_str);
                        plain.for_each(|text| note(text, words));
                        addresses(member, words);
                    }
                    _ => addresses(member, words),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn replace(value: &mut Value, words: &BTreeMap<String, String>) {
    match value {
        Value::String(text) => {
            if let Some(word) = words.get(text) {
                text.clone_from(word);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, words)),
        Value::Object(members) => members
            .values_mut()
            .for_each(|member| replace(member, words)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(redact: &[&str], keep_addresses: bool) -> Export {
        Export {
            job: String::new(),
            out: None,
            redact: redact.iter().map(|it| (*it).to_owned()).collect(),
            keep_addresses,
        }
    }

    #[test]
    fn what_is_taken_out_is_gone_everywhere_and_equal_texts_stay_equal() {
        let case = json!({
            "call": "route",
            "context": {
                "input": { "uri": "s3://secret/a.pdf" },
                "payload": { "prompt": "who is ill?", "pages": "1-3" },
                "earlier": [{ "artifacts": [{ "uri": "s3://secret/b.json" }] }],
            },
            "report": { "artifact_refs": ["s3://secret/b.json"], "output_ref": "s3://secret/c" },
            "expect": { "route": "dispatch", "payload": { "prompt": "who is ill?" } },
        });
        let out = redacted(
            case.clone(),
            &flags(&["/context/payload/prompt", "/none"], false),
        );
        let text = out.to_string();
        assert!(!text.contains("secret") && !text.contains("ill"), "{text}");
        assert_eq!(
            out["context"]["payload"]["prompt"],
            out["expect"]["payload"]["prompt"]
        );
        assert_eq!(
            out["context"]["earlier"][0]["artifacts"][0]["uri"],
            out["report"]["artifact_refs"][0]
        );
        assert_eq!(out["context"]["payload"]["pages"], "1-3");
        assert_eq!(redacted(case.clone(), &flags(&[], true)), case);
    }
}
