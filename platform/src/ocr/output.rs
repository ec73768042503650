//! What OCR leaves behind: `text.txt` always, `pages.json` when JSON is asked for.
//!
//! `text.txt` is UTF-8 with a form feed between pages. `pages.json` is
//!
//! ```json
//! {"schema_version": "v1", "engine": "tesseract", "language": "eng", "pages": [
//!   {"page": 1, "source": "ocr", "confidence": 96.1,
//!    "width": 2480.0, "height": 3508.0, "unit": "px", "text": "...",
//!    "words": [{"text": "The", "box": [60.0, 68.0, 73.0, 30.0], "confidence": 96.1, "line": 1}]}]}
//! ```
//!
//! with `source` `text_layer` (then sizes are in `pt`) or `ocr` (in `px`), boxes as left, top, width
//! and height from the upper left corner, and confidence from 0 to 100 (`null` for no words).
//! Both carry the metadata `characters` (white space not counted, so 0 means blank), `pages`, and
//! how many of the pages came from the text layer and how many from OCR.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::engine::Page;
use crate::service::{Artifact, Failure};
use crate::workspace::{Label, Workspace};

/// Where a page's text came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Source {
    TextLayer,
    Ocr,
}

/// A page that has been read.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ReadPage {
    /// Its number in the document, from 1.
    #[serde(rename = "page")]
    pub(super) number: u32,
    pub(super) source: Source,
    pub(super) confidence: Option<f64>,
    #[serde(flatten)]
    pub(super) page: Page,
}

impl ReadPage {
    pub(super) fn new(number: u32, source: Source, mut page: Page) -> Self {
        page.text = tidy(&page.text);
        Self {
            number,
            source,
            confidence: mean_confidence(&page),
            page,
        }
    }
}

/// A document that has been read.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    pub(super) schema_version: &'static str,
    pub(super) engine: String,
    pub(super) language: String,
    pub(super) pages: Vec<ReadPage>,
}

/// What the step's payload asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Format {
    #[default]
    Text,
    Json,
}

impl Document {
    /// Writes the artifacts, the one that was asked for first.
    pub(super) async fn write(
        &self,
        workspace: &Workspace,
        format: Format,
    ) -> Result<Vec<Artifact>, Failure> {
        let texts: Vec<&str> = self
            .pages
            .iter()
            .map(|page| page.page.text.as_str())
            .collect();
        let label = Label {
            name: "text.txt",
            content_type: "text/plain",
            metadata: self.metadata(),
        };
        let text = workspace
            .write(label, Bytes::from(texts.join("\u{c}")))
            .await?;
        match format {
            Format::Text => Ok(vec![text]),
            Format::Json => {
                let label = Label {
                    name: "pages.json",
                    content_type: "application/json",
                    metadata: self.metadata(),
                };
                let body = serde_json::to_vec(self).map_err(|error| {
                    Failure::fatal("OCR_OUTPUT_INVALID", format!("cannot write JSON: {error}"))
                })?;
                Ok(vec![workspace.write(label, Bytes::from(body)).await?, text])
            }
        }
    }

    fn metadata(&self) -> Map<String, Value> {
        let from = |source| {
            self.pages
                .iter()
                .filter(|page| page.source == source)
                .count()
        };
        let characters: usize = self.pages.iter().map(|page| visible(&page.page.text)).sum();
        let metadata = json!({
            "characters": characters,
            "pages": self.pages.len(),
            "pages_from_text_layer": from(Source::TextLayer),
            "pages_from_ocr": from(Source::Ocr),
        });
        match metadata {
            Value::Object(metadata) => metadata,
            // `json!` of braces is an object; the other kinds are listed to see a new one.
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Map::new(),
        }
    }
}

/// How many characters of a text can be seen.
pub(super) fn visible(text: &str) -> usize {
    text.chars()
        .filter(|c| !c.is_whitespace() && !c.is_control())
        .count()
}

/// The text without what tools leave around it: form feeds, blanks at line ends, empty lines at
/// both ends.
fn tidy(text: &str) -> String {
    let lines: Vec<&str> = text
        .split('\n')
        .map(|line| line.trim_end_matches(is_end))
        .collect();
    let first = lines
        .iter()
        .position(|line| !line.is_empty())
        .unwrap_or(lines.len());
    let last = lines
        .iter()
        .rposition(|line| !line.is_empty())
        .map_or(first, |at| at + 1);
    let mut tidy = lines[first..last].join("\n").replace(['\u{c}', '\r'], "");
    if !tidy.is_empty() {
        tidy.push('\n');
    }
    tidy
}

fn is_end(c: char) -> bool {
    c.is_whitespace() || c == '\u{c}'
}

fn mean_confidence(page: &Page) -> Option<f64> {
    let sum: f64 = page.words.iter().map(|word| word.confidence).sum();
    let count = u32::try_from(page.words.len())
        .ok()
        .filter(|count| *count > 0)?;
    Some((sum / f64::from(count) * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_its_layout_and_loses_what_tools_leave_around_it() {
        assert_eq!(
            tidy("\n\n  Total   5  \n\n42\n\u{c}"),
            "  Total   5\n\n42\n"
        );
        assert_eq!(tidy(" \n\u{c}"), "");
        assert_eq!(visible("a b\n\u{c}c"), 3);
    }
}
