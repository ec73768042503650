//! The step plugin `ocr`: what the schema of an OCR payload cannot say.
//!
//! A page range that reads backwards, or an engine that nobody runs, would only come to light in a worker, minutes after
//! the client was told that its job is fine. Here it is a violation before the job exists. What is ambiguous is refused;
//! what only looks different (` 1 - 3,5`) is written one way, so that equal requests give equal directives.

mod page_range;

use std::time::Duration;

use lucius_step_sdk::{Context, Description, Outcome, Rest, Settle, Step, Violations, quoted};
use serde::{Deserialize, Serialize};

use crate::page_range::PageRange;

/// How long a worker whose model is overloaded is left alone.
const OVERLOADED_DELAY: Duration = Duration::from_secs(30);

/// The language that a document is taken to be in when nobody says.
const LANGUAGE_DEFAULT: &str = "eng";

/// How to recognise a document's text.
#[derive(Debug, Serialize, Deserialize)]
pub struct Payload {
    #[serde(skip_serializing_if = "Option::is_none")]
    language_hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    page_range: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ocr_engine: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_format: Option<OutputFormat>,
    #[serde(flatten)]
    rest: Rest,
}

/// What the worker writes.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum OutputFormat {
    /// Plain text.
    #[default]
    Text,
    /// Pages with boxes and confidence.
    Json,
}

/// What the registry says about this installation.
#[derive(Debug, Deserialize)]
pub struct Config {
    /// The engines that the workers run.
    engines: Vec<String>,
}

/// The plugin.
#[derive(Debug)]
pub struct Ocr;

impl Step for Ocr {
    type Payload = Payload;
    type Config = Config;

    fn describe() -> Description {
        Description::new("ocr", env!("CARGO_PKG_VERSION"))
            .step_type("OCR")
            .service("platform-ocr")
    }

    fn validate(payload: Payload, config: &Config) -> Result<Payload, Violations> {
        let mut violations = Violations::new();
        let page_range = payload
            .page_range
            .map(|text| match PageRange::parse(&text) {
                Ok(range) => range.to_string(),
                Err(wrong) => {
                    violations.add("/page_range", wrong.code(), wrong.to_string());
                    text
                }
            });
        let ocr_engine = trimmed(payload.ocr_engine);
        if let Some(engine) = ocr_engine
            .as_ref()
            .filter(|engine| !config.engines.contains(engine))
        {
            let known = config.engines.join(", ");
            let message = format!("no engine {} here; choose one of: {known}", quoted(engine));
            violations.add("/ocr_engine", "ENGINE_UNKNOWN", message);
        }
        violations.or(Payload {
            language_hint: trimmed(payload.language_hint).or_else(|| Some(LANGUAGE_DEFAULT.into())),
            page_range,
            ocr_engine,
            output_format: Some(payload.output_format.unwrap_or_default()),
            rest: payload.rest,
        })
    }

    fn settle(_: &Context<Self>, outcome: &Outcome) -> Settle {
        match outcome {
            // A page without text still leaves a text of no characters; nothing at all is a worker's mistake.
            Outcome::Succeeded(artifacts) if artifacts.is_empty() => Settle::fail(
                "ARTIFACTS_MISSING",
                "the worker reported success but named no artifact; it must name the text it wrote in artifact_refs",
            ),
            Outcome::Failed(failure) if failure.code == "MODEL_OVERLOADED" => {
                Settle::retry_after(OVERLOADED_DELAY, failure.reason())
            }
            Outcome::Succeeded(_) | Outcome::Failed(_) => Settle::by_default(outcome),
        }
    }
}

lucius_step_sdk::export!(Ocr);

/// What is blank counts as not given.
fn trimmed(text: Option<String>) -> Option<String> {
    text.map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
}
