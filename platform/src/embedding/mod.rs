//! `platform-embedding` (vector-ingestion): text becomes vectors.
//!
//! The text of the step before, or the job's own input, is cut into chunks that fit the model, and
//! each chunk gets a vector. Text, vectors and where each chunk stands in the text go into one
//! artifact, `lucius.embedding.v1`, described in docs/platform-embedding.md, so that a later step
//! can quote its source without opening it.

pub mod artifact;
pub mod chunk;
pub mod model;
pub mod models;
pub mod plan;
pub mod position;
pub mod sentence;
pub mod source;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tokenizer;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::models::Models;

use self::artifact::{Chunk, Chunking, Document, ModelInfo, SCHEMA, Source};
use self::chunk::Lengths;
use self::model::{EmbedError, Embedding, Model};
use self::plan::{Payload, Plan};
use self::position::Positions;
use self::source::Text;
use crate::service::{Done, Failure, Progress, Service, Task};
use crate::workspace::Label;

/// How this service works when a payload does not say.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The model, a folder of the models' folder.
    pub model: String,
    /// Word pieces of a chunk at most, from 1.
    pub max_tokens: usize,
    /// Word pieces of its predecessor that a chunk repeats at most.
    pub overlap_tokens: usize,
    /// A text with more chunks is refused, as it would keep the worker from all others.
    pub max_chunks: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model: "all-MiniLM-L6-v2".to_owned(),
            max_tokens: 128,
            overlap_tokens: 16,
            max_chunks: 20_000,
        }
    }
}

/// The service `platform-embedding`.
#[derive(Debug)]
pub struct Ingestion {
    models: Arc<Models>,
    settings: Settings,
}

impl Ingestion {
    /// A service that takes its models from `models`.
    pub const fn new(models: Arc<Models>, settings: Settings) -> Self {
        Self { models, settings }
    }
}

#[async_trait]
impl Service for Ingestion {
    fn name(&self) -> &str {
        "platform-embedding"
    }

    fn step_type(&self) -> &str {
        "EMBEDDING"
    }

    async fn run(&self, task: Task, progress: Progress) -> Result<Done, Failure> {
        let plan = Plan::new(task.payload::<Payload>()?, &self.settings)?;
        let text = Text::of_task(&task).await?;
        progress.report(0, "loading the model");
        let model = self.models.get(&plan.model).await?;
        let embedder = Embedder {
            models: &self.models,
            model: &model,
            progress: &progress,
        };
        let document = embedder
            .ingest(text, &plan, self.settings.max_chunks)
            .await?;
        let metadata = Map::from_iter([
            ("schema".to_owned(), Value::from(SCHEMA)),
            ("chunks".to_owned(), Value::from(document.chunks.len())),
            (
                "dimension".to_owned(),
                Value::from(document.model.dimension),
            ),
            ("model".to_owned(), Value::from(document.model.id.as_str())),
        ]);
        let bytes = serde_json::to_vec(&document).map_err(|error| {
            Failure::fatal(
                "EMBEDDING_FAILED",
                format!("the vectors cannot be written: {error}"),
            )
        })?;
        let label = Label {
            name: "embedding.json",
            content_type: "application/json",
            metadata,
        };
        let artifact = task.workspace.write(label, Bytes::from(bytes)).await?;
        Ok(Done::deliver_first(vec![artifact]))
    }
}

/// A model at work for one task.
#[derive(Debug)]
pub(crate) struct Embedder<'a> {
    /// Where the model runs.
    pub(crate) models: &'a Models,
    /// The model.
    pub(crate) model: &'a Arc<Model>,
    /// Who hears how far it is.
    pub(crate) progress: &'a Progress,
}

impl Embedder<'_> {
    /// Cuts `text` and embeds each chunk.
    ///
    /// Fails with `TEXT_TOO_LONG` for good when there would be more than `max_chunks`, and as
    /// [`Models::embed`] does.
    pub(crate) async fn ingest(
        &self,
        text: Text,
        plan: &Plan,
        max_chunks: usize,
    ) -> Result<Document, Failure> {
        let model = self.model;
        let lengths = plan.lengths_within(model.max_tokens());
        let mut chunks = cut(model, text.text, plan, lengths).await?;
        let total = chunks.len();
        if total > max_chunks {
            let message = format!(
                "the text has {total} chunks and at most {max_chunks} are allowed; split the \
                 document, use longer chunks or raise max_chunks"
            );
            return Err(Failure::fatal("TEXT_TOO_LONG", message));
        }
        let texts = chunks.iter().map(|chunk| chunk.text.clone()).collect();
        for (chunk, embedding) in chunks.iter_mut().zip(self.embed(texts, "chunks").await?) {
            let embedding = if plan.normalize {
                embedding.normalized()
            } else {
                embedding
            };
            chunk.tokens = embedding.tokens;
            chunk.vector = embedding.vector;
        }
        Ok(Document {
            schema: SCHEMA.to_owned(),
            model: ModelInfo {
                id: model.id().to_owned(),
                revision: model.revision().to_owned(),
                dimension: model.dimension(),
                max_tokens: model.max_tokens(),
            },
            normalized: plan.normalize,
            chunking: Some(Chunking {
                strategy: plan.strategy.to_string(),
                max_tokens: lengths.max_tokens,
                overlap_tokens: lengths.overlap_tokens,
            }),
            source: Source { uri: text.uri },
            chunks,
        })
    }

    /// Vectors of length 1, one for each of `texts`, which progress reports call `noun`.
    pub(crate) async fn vectors(
        &self,
        texts: Vec<String>,
        noun: &str,
    ) -> Result<Vec<Vec<f32>>, Failure> {
        let embeddings = self.embed(texts, noun).await?;
        Ok(embeddings
            .into_iter()
            .map(|embedding| embedding.normalized().vector)
            .collect())
    }

    async fn embed(&self, texts: Vec<String>, noun: &str) -> Result<Vec<Embedding>, Failure> {
        let total = texts.len();
        let report = |done: usize| {
            let percent = u8::try_from(done * 100 / total.max(1)).unwrap_or(100);
            self.progress
                .report(percent, format!("{done} of {total} {noun} embedded"));
        };
        self.models.embed(self.model, texts, report).await
    }
}

/// The chunks of `text`, still without vectors.
async fn cut(
    model: &Arc<Model>,
    text: String,
    plan: &Plan,
    lengths: Lengths,
) -> Result<Vec<Chunk>, Failure> {
    let (model, strategy) = (Arc::clone(model), plan.strategy);
    models::blocking(move || {
        let ranges = chunk::cut(&text, strategy, lengths, &*model)?;
        let positions = Positions::new(&text);
        let chunks = ranges.into_iter().enumerate().map(|(index, range)| Chunk {
            index,
            text: text[range.clone()].to_owned(),
            page: positions.page(range.start),
            char_start: positions.chars_before(range.start),
            char_end: positions.chars_before(range.end),
            byte_start: range.start,
            byte_end: range.end,
            tokens: 0,
            vector: Vec::new(),
        });
        Ok::<_, EmbedError>(chunks.collect())
    })
    .await?
    .map_err(models::not_embedded)
}
