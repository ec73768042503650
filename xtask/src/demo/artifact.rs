//! Reads the artifacts that the steps left, from where the API says they are.

use std::fs;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::api::Step;
use super::compare;

/// What the semantic step answered, as in its artifact `lucius.sis.v1`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Answer {
    /// How it came about: `extractive` or `generated`.
    pub(super) kind: String,
    /// The answer.
    #[serde(rename = "answer")]
    pub(super) text: String,
    /// The parts of the document that it rests on, best first.
    pub(super) passages: Vec<Passage>,
}

/// A part of the document, to the letter.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Passage {
    pub(super) text: String,
    /// From 1.
    pub(super) page: Option<u64>,
    /// Its first character, and the one behind it.
    pub(super) char_start: u64,
    pub(super) char_end: u64,
    /// How much it is like the question, up to 1.
    pub(super) score: Option<f64>,
}

impl Answer {
    /// Where it comes from, on one line.
    pub(super) fn source(&self) -> String {
        let Some(passage) = self.passages.first() else {
            return format!("{}, without a passage", self.kind);
        };
        let page = passage
            .page
            .map(|page| format!("page {page}, "))
            .unwrap_or_default();
        let score = passage
            .score
            .map(|score| format!(", score {score:.2}"))
            .unwrap_or_default();
        let (start, end) = (passage.char_start, passage.char_end);
        let quote = compare::squeeze(&passage.text);
        format!(
            "{}: {page}characters {start} to {end}{score}: \"{quote}\"",
            self.kind
        )
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

/// The answer of the semantic step.
pub(super) fn answer(sis: &Step) -> Result<Answer> {
    open(sis)
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
