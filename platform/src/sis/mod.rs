//! `platform-sis` (semantic-intelligence): a question about a text becomes an answer with its
//! source.
//!
//! With an endpoint configured a model words the answer from what it is shown of the document.
//! Without one the answer is quoted: the passages most like the question, with where they stand.
//! Which of the two it was is in every answer as its `kind`; a quote is never presented as
//! generated. The artifact is `lucius.sis.v1`, described in docs/platform-sis.md.

pub mod artifact;
pub mod endpoint;
#[cfg(test)]
mod endpoint_tests;
mod evidence;
mod extractive;
mod generated;
pub mod request;
pub mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Map, Value};

pub use self::settings::{PromptSet, Settings, SettingsError};

use self::artifact::{Document, Kind, Model, SCHEMA, Source};
use self::endpoint::{Endpoint, Question};
use self::evidence::Evidence;
use self::extractive::Found;
use self::generated::Shown;
use self::request::{Payload, Request, ResponseFormat};
use crate::contract::Secret;
use crate::embedding::{Embedder, Models};
use crate::service::{Artifact, Done, Failure, Progress, Service, Task};
use crate::workspace::{Label, Workspace};

/// The service `platform-sis`.
#[derive(Debug)]
pub struct Intelligence {
    models: Arc<Models>,
    settings: Settings,
    endpoint: Option<Endpoint>,
}

impl Intelligence {
    /// A service that takes its embedding model from `models`. `api_key` is the endpoint's key,
    /// which [`Settings::api_key`] reads from the environment.
    pub fn new(
        models: Arc<Models>,
        settings: Settings,
        api_key: Option<&Secret<String>>,
    ) -> Result<Self, SettingsError> {
        let endpoint = settings
            .endpoint
            .clone()
            .map(|endpoint| Endpoint::new(endpoint, api_key));
        Ok(Self {
            models,
            settings,
            endpoint: endpoint.transpose()?,
        })
    }

    /// Quotes the passages that answer.
    async fn extract(
        &self,
        request: &Request,
        evidence: Evidence,
        progress: &Progress,
    ) -> Result<Document, Failure> {
        let source = Source {
            uri: evidence.uri().to_owned(),
        };
        progress.report(0, "loading the model");
        let model = self.models.get(&self.settings.model).await?;
        let embedder = Embedder {
            models: &self.models,
            model: &model,
            progress,
        };
        let chunks = evidence
            .embedded(&embedder, self.settings.max_chunks)
            .await?;
        let Found { answers, passages } =
            extractive::search(&embedder, &chunks, request, &self.settings).await?;
        let answer = match answers.as_slice() {
            [only] => only.answer.clone(),
            several => several
                .iter()
                .map(|answer| format!("{}\n{}", answer.prompt, answer.answer))
                .collect::<Vec<_>>()
                .join("\n\n"),
        };
        Ok(Document {
            schema: SCHEMA.to_owned(),
            kind: Kind::Extractive,
            prompt_set: request.prompt_set.clone(),
            prompt: request.prompt(),
            answer: Value::from(answer),
            answers,
            passages,
            model: Model {
                id: model.id().to_owned(),
                revision: Some(model.revision().to_owned()),
            },
            source,
        })
    }

    /// Has a model word the answer.
    async fn generate(
        &self,
        endpoint: &Endpoint,
        request: &Request,
        evidence: Evidence,
        progress: &Progress,
    ) -> Result<Document, Failure> {
        let source = Source {
            uri: evidence.uri().to_owned(),
        };
        let shown = self
            .shown(endpoint.context_chars(), request, evidence, progress)
            .await?;
        progress.report(50, "waiting for the model's answer");
        let reply = endpoint
            .ask(Question {
                system: &generated::system(request),
                user: &generated::user(&shown, request),
                temperature: request.temperature,
                max_tokens: request.max_tokens,
                json: request.format == ResponseFormat::Json,
            })
            .await?;
        let answer = match request.format {
            ResponseFormat::Text => Value::from(reply.content),
            ResponseFormat::Json => endpoint::json_answer(&reply.content)?,
        };
        Ok(Document {
            schema: SCHEMA.to_owned(),
            kind: Kind::Generated,
            prompt_set: request.prompt_set.clone(),
            prompt: request.prompt(),
            answer,
            answers: Vec::new(),
            passages: generated::passages(shown),
            model: Model {
                id: reply.model,
                revision: None,
            },
            source,
        })
    }

    /// What of the document the model gets to see: all, or what is most like the questions.
    async fn shown(
        &self,
        limit_chars: usize,
        request: &Request,
        evidence: Evidence,
        progress: &Progress,
    ) -> Result<Vec<Shown>, Failure> {
        if evidence.characters() <= limit_chars {
            let whole = evidence.whole().into_iter();
            return Ok(whole.map(|chunk| Shown { chunk, score: None }).collect());
        }
        let model = self.models.get(&self.settings.model).await?;
        let embedder = Embedder {
            models: &self.models,
            model: &model,
            progress,
        };
        let chunks = evidence
            .embedded(&embedder, self.settings.max_chunks)
            .await?;
        let asked = embedder
            .vectors(request.questions.clone(), "questions")
            .await?;
        Ok(generated::within(
            extractive::ranked(&asked, &chunks),
            limit_chars,
        ))
    }
}

#[async_trait]
impl Service for Intelligence {
    fn name(&self) -> &str {
        "platform-sis"
    }

    fn step_type(&self) -> &str {
        "SIS"
    }

    async fn run(&self, task: Task, progress: Progress) -> Result<Done, Failure> {
        let request = Request::new(task.payload::<Payload>()?, &self.settings)?;
        let evidence = Evidence::of_task(&task).await?;
        let document = match &self.endpoint {
            Some(endpoint) => {
                self.generate(endpoint, &request, evidence, &progress)
                    .await?
            }
            None => self.extract(&request, evidence, &progress).await?,
        };
        let json = write_json(&task.workspace, &document).await?;
        Ok(Done::deliver_first(match request.format {
            ResponseFormat::Json => vec![json],
            ResponseFormat::Text => vec![write_text(&task.workspace, &document).await?, json],
        }))
    }
}

fn metadata(document: &Document) -> Map<String, Value> {
    let found = match document.kind {
        Kind::Extractive => Some(document.answers.iter().any(|answer| answer.found)),
        Kind::Generated => None,
    };
    let mut metadata = Map::from_iter([
        ("schema".to_owned(), Value::from(SCHEMA)),
        ("kind".to_owned(), Value::from(document.kind.as_str())),
        ("passages".to_owned(), Value::from(document.passages.len())),
        ("model".to_owned(), Value::from(document.model.id.as_str())),
    ]);
    metadata.extend(found.map(|found| ("found".to_owned(), Value::from(found))));
    metadata
}

async fn write_json(workspace: &Workspace, document: &Document) -> Result<Artifact, Failure> {
    let bytes = serde_json::to_vec(document).map_err(|error| {
        Failure::fatal(
            "ANSWER_NOT_WRITABLE",
            format!("the answer cannot be written: {error}"),
        )
    })?;
    let label = Label {
        name: "answer.json",
        content_type: "application/json",
        metadata: metadata(document),
    };
    workspace.write(label, Bytes::from(bytes)).await
}

async fn write_text(workspace: &Workspace, document: &Document) -> Result<Artifact, Failure> {
    let label = Label {
        name: "answer.txt",
        content_type: "text/plain; charset=utf-8",
        metadata: metadata(document),
    };
    workspace.write(label, Bytes::from(as_text(document))).await
}

/// The answer for a person, with what it is and where it stands.
fn as_text(document: &Document) -> String {
    let answer = document
        .answer
        .as_str()
        .map_or_else(|| document.answer.to_string(), str::to_owned);
    let mut text = format!("{answer}\n\n");
    match document.kind {
        Kind::Generated => {
            text.push_str(&format!("(generated by {})\n", document.model.id));
        }
        Kind::Extractive => {
            text.push_str("(extractive: quoted from the document, not generated)\n");
            for passage in &document.passages {
                let page = passage
                    .page
                    .map_or_else(String::new, |page| format!("page {page}, "));
                let (start, end) = (passage.char_start, passage.char_end);
                let score = passage.score.unwrap_or_default();
                let quote = passage.text.replace('\n', " ");
                text.push_str(&format!(
                    "- {page}characters {start}-{end}, score {score:.2}: {quote}\n"
                ));
            }
        }
    }
    text
}
