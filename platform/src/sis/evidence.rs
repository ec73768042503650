//! What a question is asked about: a text in chunks, with vectors or not yet.

use crate::contract::Ref;
use crate::embedding::Embedder;
use crate::embedding::artifact::{Chunk, Document, ModelInfo};
use crate::embedding::chunk::{Lengths, Strategy};
use crate::embedding::model::Model;
use crate::embedding::plan::Plan;
use crate::embedding::position::Positions;
use crate::embedding::source::Text;
use crate::service::{Failure, Task};

/// What was found to ask about.
#[derive(Debug)]
pub(crate) enum Evidence {
    /// The artifact of an embedding step.
    Embedded(Document),
    /// A text that nobody has embedded yet.
    Plain(Text),
}

impl Evidence {
    /// The newest embedding artifact of an earlier step, else the text of one, else the job's
    /// input, which may be either.
    ///
    /// Fails with `EMBEDDING_INVALID` when an artifact says it is an embedding and is none, with
    /// `INPUT_NOT_TEXT`, and as [`Task::fetch`] does.
    pub(crate) async fn of_task(task: &Task) -> Result<Self, Failure> {
        for reference in [
            task.earlier_artifact("application/json"),
            task.earlier_artifact("text/plain"),
        ]
        .into_iter()
        .flatten()
        {
            let content = task.fetch(reference).await?.text().await?;
            match Self::of_content(reference, content) {
                // Another step's JSON beside a text: the text says it better.
                Err(failure) if failure.code == "INPUT_NOT_TEXT" => {}
                read => return read,
            }
        }
        let reference = &task.directive.input_ref;
        let content = task.fetch(reference).await?.text().await?;
        Self::of_content(reference, content)
    }

    fn of_content(reference: &Ref, content: String) -> Result<Self, Failure> {
        if !claims_to_be_embedded(&content) {
            return Text::of_content(reference, content).map(Self::Plain);
        }
        Document::parse(content.as_bytes())
            .map(Self::Embedded)
            .map_err(|error| {
                let message = format!("{} cannot be used: {error}; embed it again", reference.uri);
                Failure::fatal("EMBEDDING_INVALID", message)
            })
    }

    /// Where the text is.
    pub(crate) fn uri(&self) -> &str {
        match self {
            Self::Embedded(document) => &document.source.uri,
            Self::Plain(text) => &text.uri,
        }
    }

    /// The chunks with vectors of the embedder's model: those that came, or new ones.
    ///
    /// Fails with `MODEL_MISMATCH` for good when those that came were made with another model.
    pub(crate) async fn embedded(
        self,
        embedder: &Embedder<'_>,
        max_chunks: usize,
    ) -> Result<Vec<Chunk>, Failure> {
        let text = match self {
            Self::Embedded(document) => {
                same_model(&document, embedder.model)?;
                return Ok(document.chunks);
            }
            Self::Plain(text) => text,
        };
        let plan = Plan {
            model: embedder.model.id().to_owned(),
            strategy: Strategy::Sentence,
            lengths: Lengths {
                max_tokens: 128,
                overlap_tokens: 0,
            },
            normalize: true,
        };
        Ok(embedder.ingest(text, &plan, max_chunks).await?.chunks)
    }

    /// All of it in chunks without a model's help, for a reader that takes it whole: those that
    /// came, or the pages of the text.
    pub(crate) fn whole(&self) -> Vec<Chunk> {
        match self {
            Self::Embedded(document) => document.chunks.clone(),
            Self::Plain(text) => pages(&text.text),
        }
    }

    /// How many characters there are to read.
    pub(crate) fn characters(&self) -> usize {
        match self {
            Self::Embedded(document) => document
                .chunks
                .iter()
                .map(|chunk| chunk.char_end - chunk.char_start)
                .sum(),
            Self::Plain(text) => text.text.chars().count(),
        }
    }
}

fn claims_to_be_embedded(content: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Claim {
        schema: String,
    }
    content.trim_start().starts_with('{')
        && serde_json::from_str::<Claim>(content)
            .is_ok_and(|claim| claim.schema.starts_with("lucius.embedding."))
}

fn same_model(document: &Document, model: &Model) -> Result<(), Failure> {
    let ModelInfo { id, revision, .. } = &document.model;
    if id == model.id() && revision == model.revision() {
        return Ok(());
    }
    let short = |revision: &str| revision.chars().take(8).collect::<String>();
    let message = format!(
        "the vectors were made with {id} ({}) and questions are embedded with {} ({}); embed the \
         text again with that model",
        short(revision),
        model.id(),
        short(model.revision())
    );
    Err(Failure::fatal("MODEL_MISMATCH", message))
}

/// The pages of a text, trimmed, without vectors.
fn pages(text: &str) -> Vec<Chunk> {
    let positions = Positions::new(text);
    let mut chunks = Vec::new();
    let mut page_start = 0;
    for page in text.split('\u{c}') {
        let content = page.trim();
        let byte_start = page_start + (page.len() - page.trim_start().len());
        let byte_end = byte_start + content.len();
        page_start += page.len() + 1;
        if content.is_empty() {
            continue;
        }
        chunks.push(Chunk {
            index: chunks.len(),
            text: content.to_owned(),
            page: positions.page(byte_start),
            char_start: positions.chars_before(byte_start),
            char_end: positions.chars_before(byte_end),
            byte_start,
            byte_end,
            tokens: 0,
            vector: Vec::new(),
        });
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_know_where_they_stand() {
        let text = " é one \u{c}\u{c}\ntwo";
        let pages = pages(text);
        assert_eq!(
            pages.iter().map(|p| p.page).collect::<Vec<_>>(),
            [Some(1), Some(3)]
        );
        for page in &pages {
            assert_eq!(&text[page.byte_start..page.byte_end], page.text);
            let chars: String = text
                .chars()
                .skip(page.char_start)
                .take(page.char_end - page.char_start)
                .collect();
            assert_eq!(chars, page.text);
        }
    }

    #[test]
    fn a_broken_embedding_is_not_taken_for_text() {
        let reference = Ref::bare("file:///e.json");
        let read = |content: &str| Evidence::of_content(&reference, content.to_owned());
        let broken = read(r#"{"schema": "lucius.embedding.v1", "chunks": 3}"#).unwrap_err();
        assert_eq!(broken.code, "EMBEDDING_INVALID");
        let newer = read(r#"{"schema": "lucius.embedding.v2"}"#).unwrap_err();
        assert_eq!(newer.code, "EMBEDDING_INVALID");
        assert!(matches!(read("{curly} prose"), Ok(Evidence::Plain(_))));
    }
}
