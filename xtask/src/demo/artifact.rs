//! Reads the artifacts that the steps left, from where the API says they are.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use url::Url;

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
    let path = Url::parse(uri)
        .ok()
        .and_then(|url| url.to_file_path().ok())
        .with_context(|| format!("the artifact of step {id} is no file: {uri}"))?;
    let name = path.display();
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
    serde_json::from_str(&text).with_context(|| format!("{name} is not as documented"))
}

/// An absolute path as a reference.
pub(super) fn file_uri(path: &Path) -> Result<String> {
    match Url::from_file_path(path) {
        Ok(url) => Ok(url.into()),
        Err(()) => bail!("{} is not an absolute path", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn step_with(folder: &Path, document: &serde_json::Value) -> Step {
        let file = folder.join("an artifact.json");
        fs::write(&file, document.to_string()).unwrap();
        let reference = json!({ "uri": file_uri(&file).unwrap() });
        let step = json!({ "step_id": "x", "state": "SUCCEEDED", "service": "platform-x",
            "artifact_refs": [reference, "file:///elsewhere"] });
        serde_json::from_value(step).unwrap()
    }

    #[test]
    fn the_pages_of_the_first_artifact_are_read_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let document = json!({ "engine": "tesseract", "pages": [{ "page": 1, "text": "one" },
            { "page": 2, "text": "two" }] });
        let text = recognised_text(&step_with(folder.path(), &document)).unwrap();
        assert_eq!(text, "one\ntwo");
    }

    #[test]
    fn an_answer_is_shown_with_kind_page_place_and_score() {
        let folder = tempfile::tempdir().unwrap();
        let document = json!({ "kind": "extractive", "answer": "Total\ndue: 1", "passages": [
            { "text": "Total\ndue: 1", "page": 2, "char_start": 5, "char_end": 17, "score": 0.714 }] });
        let answer = answer(&step_with(folder.path(), &document)).unwrap();
        let expected = "extractive: page 2, characters 5 to 17, score 0.71: \"Total due: 1\"";
        assert_eq!(answer.source(), expected);
    }

    #[test]
    fn an_artifact_of_another_shape_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let error =
            recognised_text(&step_with(folder.path(), &json!({ "sheets": [] }))).unwrap_err();
        assert!(error.to_string().contains("artifact.json"), "{error}");
    }
}
