//! Reads the artifacts that the steps left, from where the API says they are.

use std::fs;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::api::Step;

/// What the semantic step answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    /// How it came about: `extractive` or `generated`.
    pub(super) mode: String,
    /// The passage of the document.
    pub(super) quote: String,
    /// How well it fits, up to 1.
    pub(super) score: Option<f64>,
    /// The page it stands on, from 1.
    pub(super) page: Option<u64>,
}

impl Answer {
    /// Where it comes from, on one line.
    pub(super) fn source(&self) -> String {
        let page = self
            .page
            .map(|page| format!("page {page}, "))
            .unwrap_or_default();
        let score = self
            .score
            .map(|score| format!(", score {score:.2}"))
            .unwrap_or_default();
        format!("{page}{}{score}", self.mode)
    }
}

#[derive(Deserialize)]
struct Recognised {
    pages: Vec<Page>,
}

#[derive(Deserialize)]
struct Page {
    text: String,
}

/// The recognised text, pages in order.
pub(super) fn recognised_text(ocr: &Step) -> Result<String> {
    let recognised: Recognised = open(ocr)?;
    let pages: Vec<String> = recognised.pages.into_iter().map(|page| page.text).collect();
    Ok(pages.join("\n"))
}

/// The best answer of the semantic step.
pub(super) fn answer(sis: &Step) -> Result<Answer> {
    let document: serde_json::Value = open(sis)?;
    bail!("{document}")
}

/// The step's main artifact, as JSON.
fn open<T: serde::de::DeserializeOwned>(step: &Step) -> Result<T> {
    let id = &step.step_id;
    let uri = step
        .main_artifact()
        .with_context(|| format!("step {id} left no artifact"))?;
    let Some(path) = uri.strip_prefix("file://") else {
        bail!("the artifact of step {id} is no file: {uri}");
    };
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    serde_json::from_str(&text).with_context(|| format!("{path} is not as documented"))
}
