//! The artifact `lucius.sis.v1`, described in docs/platform-sis.md.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The value of the artifact's `schema` field.
pub const SCHEMA: &str = "lucius.sis.v1";

/// The answer when no passage is enough like the question.
pub const NOTHING_FOUND: &str = "Nothing in the document answers this.";

/// An answer and what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Whether the answer is quoted or worded by a model.
    pub kind: Kind,
    /// The prompt set that was used.
    pub prompt_set: String,
    /// What was asked; several questions stand one a line.
    pub prompt: String,
    /// The answer: text, or a generated JSON value when JSON was asked for.
    pub answer: Value,
    /// One entry a question when the answer is extractive; absent when it is generated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answer>,
    /// Extractive: the quotes, best first for each question. Generated: what the model was shown.
    pub passages: Vec<Passage>,
    /// What ranked or worded the answer.
    pub model: Model,
    /// The text that was asked about.
    pub source: Source,
}

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Quoted from the document, to the letter.
    Extractive,
    /// Worded by a model that was shown the document.
    Generated,
}

impl Kind {
    /// The word for it in artifacts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Extractive => "extractive",
            Self::Generated => "generated",
        }
    }
}

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The question.
    pub prompt: String,
    /// The best passage, or [`NOTHING_FOUND`].
    pub answer: String,
    /// False when no passage was enough like the question.
    pub found: bool,
}

/// A part of the document, to the letter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Passage {
    /// Which of the questions it answers, from 0; absent when a model was shown it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<usize>,
    /// What it says.
    pub text: String,
    /// Its page, from 1; null when the document has no page marks.
    #[serde(default)]
    pub page: Option<u32>,
    /// The chunk it was found in.
    pub chunk: usize,
    /// Its first character, counted in Unicode scalar values.
    pub char_start: usize,
    /// The character behind it.
    pub char_end: usize,
    /// Its first byte in UTF-8.
    pub byte_start: usize,
    /// The byte behind it.
    pub byte_end: usize,
    /// How much it is like the question: the cosine of their vectors, -1 to 1. Null when it was
    /// not compared, because the whole document was shown.
    #[serde(default)]
    pub score: Option<f32>,
}

/// What ranked or worded an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Its name.
    pub id: String,
    /// The SHA-256 of its weights, when it is ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// The text that was asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Where it is. Offsets count in it.
    pub uri: String,
}
