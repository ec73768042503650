//! What reads a picture: the place where another OCR engine can be added.

use std::path::Path;

use async_trait::async_trait;
use serde::Serialize;

use crate::service::Failure;

/// An OCR engine.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// The name that a payload's `ocr_engine` asks for, in lower case.
    fn name(&self) -> &str;

    /// Checks what a payload's `language_hint` asks for (the setting's language when absent) and
    /// gives it as this engine names it; `LANGUAGE_NOT_INSTALLED` when it cannot be read here.
    async fn language(&self, hint: Option<&str>) -> Result<String, Failure>;

    /// Reads one picture in a language that [`Self::language`] gave. A blank picture is a page
    /// without text, not a failure.
    async fn recognize(&self, picture: Picture<'_>, language: &str) -> Result<Page, Failure>;
}

/// One picture of a page.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// The file; its first bytes have been checked to be a picture's.
    pub path: &'a Path,
    /// Which picture of a file that holds several, from 0.
    pub frame: Option<u32>,
}

/// What stands on a page.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Page {
    /// In `unit`.
    pub width: f64,
    /// In `unit`.
    pub height: f64,
    /// What the page's and the words' sizes are counted in.
    pub unit: Unit,
    /// The text in reading order, with its line breaks.
    pub text: String,
    /// The words in reading order.
    pub words: Vec<Word>,
}

/// What sizes are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Pixels of the picture that was read.
    Px,
    /// 1/72 inch, as PDF counts.
    Pt,
}

/// One word and where it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Word {
    /// The word.
    pub text: String,
    /// Left, top, width and height, from the page's upper left corner.
    #[serde(rename = "box")]
    pub bounds: [f64; 4],
    /// How sure the engine is, 0 to 100.
    pub confidence: f64,
    /// The number of its line on the page, from 1.
    pub line: u32,
}
