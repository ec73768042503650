//! The artifact `lucius.embedding.v1`, described in docs/platform-embedding.md.

use serde::{Deserialize, Serialize};

/// The value of the artifact's `schema` field.
pub const SCHEMA: &str = "lucius.embedding.v1";

/// A text as chunks with vectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// What the vectors were made with.
    pub model: ModelInfo,
    /// True when every vector has length 1.
    pub normalized: bool,
    /// How the text was cut, when its maker says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunking: Option<Chunking>,
    /// The text that was cut.
    pub source: Source,
    /// The chunks, in the order of the text.
    pub chunks: Vec<Chunk>,
}

/// What vectors were made with. Those of different models or revisions must not be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The model's name.
    pub id: String,
    /// The SHA-256 of its weights, 64 hex digits.
    pub revision: String,
    /// How many numbers a vector has.
    pub dimension: usize,
    /// How many word pieces of a text the model sees, without its own marks.
    pub max_tokens: usize,
}

/// How a text was cut, after the model's own limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunking {
    /// `sentence` or `fixed`.
    pub strategy: String,
    /// Word pieces of a chunk at most.
    pub max_tokens: usize,
    /// Word pieces of its predecessor that a chunk repeats at most.
    pub overlap_tokens: usize,
}

/// The text that was cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Where it is. Offsets count in it.
    pub uri: String,
}

/// A part of the text, and its vector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// Its place among the chunks, from 0.
    pub index: usize,
    /// The part of the text, to the letter.
    pub text: String,
    /// Its page, from 1; absent when the text has no form feeds.
    #[serde(default)]
    pub page: Option<u32>,
    /// Its first character, counted in Unicode scalar values.
    pub char_start: usize,
    /// The character behind it.
    pub char_end: usize,
    /// Its first byte in UTF-8.
    pub byte_start: usize,
    /// The byte behind it.
    pub byte_end: usize,
    /// How many word pieces of it the model saw.
    pub tokens: usize,
    /// As many numbers as the model's dimension.
    pub vector: Vec<f32>,
}

/// Why some bytes are no such artifact.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// Not JSON, or a field is missing or of another type.
    #[error("not a {SCHEMA} document: {0}")]
    Shape(#[from] serde_json::Error),
    /// Another kind of document.
    #[error("its schema is {0:?}, not \"{SCHEMA}\"")]
    Schema(String),
    /// A chunk contradicts itself or the document.
    #[error("chunk {index}: {reason}")]
    Chunk {
        /// Which one.
        index: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl Document {
    /// Reads an artifact and checks that its parts agree.
    pub fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        let document: Self = serde_json::from_slice(bytes)?;
        if document.schema != SCHEMA {
            return Err(Invalid::Schema(document.schema));
        }
        for (index, chunk) in document.chunks.iter().enumerate() {
            if let Some(reason) = chunk.contradiction(document.model.dimension) {
                return Err(Invalid::Chunk { index, reason });
            }
        }
        Ok(document)
    }
}

impl Chunk {
    fn contradiction(&self, dimension: usize) -> Option<&'static str> {
        let bytes = self.byte_end.checked_sub(self.byte_start);
        let chars = self.char_end.checked_sub(self.char_start);
        if self.vector.len() != dimension {
            Some("its vector has not the model's dimension")
        } else if self.vector.iter().any(|x| !x.is_finite()) {
            Some("its vector has a number that is too large")
        } else if bytes != Some(self.text.len()) {
            Some("its byte offsets do not fit its text")
        } else if chars != Some(self.text.chars().count()) {
            Some("its character offsets do not fit its text")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn document() -> Value {
        json!({
            "schema": SCHEMA,
            "model": {"id": "m", "revision": "r", "dimension": 2, "max_tokens": 254},
            "normalized": false,
            "source": {"uri": "file:///a.txt"},
            "chunks": [{
                "index": 0, "text": "né", "page": null, "char_start": 3, "char_end": 5,
                "byte_start": 4, "byte_end": 7, "tokens": 1, "vector": [0.25, -1.0]
            }]
        })
    }

    #[test]
    fn a_document_reads_back_as_it_was_written() {
        let read = Document::parse(document().to_string().as_bytes()).unwrap();
        let again = Document::parse(&serde_json::to_vec(&read).unwrap()).unwrap();
        assert_eq!(read, again);
        assert_eq!(again.chunks[0].vector, [0.25, -1.0]);
    }

    #[test]
    fn a_document_that_contradicts_itself_is_refused() {
        let broken = [
            ("/schema", json!("lucius.embedding.v2")),
            ("/chunks/0/vector", json!([1.0])),
            ("/chunks/0/vector/0", json!(1e300)),
            ("/chunks/0/byte_end", json!(8)),
            ("/chunks/0/char_start", json!(6)),
            ("/model", json!({})),
        ];
        for (pointer, value) in broken {
            let mut changed = document();
            *changed.pointer_mut(pointer).unwrap() = value;
            assert!(
                Document::parse(changed.to_string().as_bytes()).is_err(),
                "{pointer}"
            );
        }
        assert!(Document::parse(b"%PDF-1.7").is_err());
    }
}
