//! Everything a decision may depend on, typed.

use serde_json::Value;

use crate::Step;
use crate::bindings::lucius::step::types as wit;
use crate::decision::{Dispatch, Refusal};
use crate::document;

/// How the job was asked to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Fairly beside the tenant's other jobs.
    Default,
    /// Spread over the lanes, document by document.
    Burst,
}

/// Where a step's work is kept. A plugin sees the reference, never the content.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    /// The URI.
    pub uri: String,
    /// The media type, when the worker gave one.
    pub content_type: Option<String>,
    /// The size in bytes, when the worker gave one.
    pub size_bytes: Option<u64>,
    /// What the worker noted about it: `{"characters": 0}`.
    pub metadata: Value,
}

impl Artifact {
    /// True when the content type is `media_type`, whatever its parameters: `text/plain; charset=utf-8` is `text/plain`.
    pub fn is(&self, media_type: &str) -> bool {
        self.content_type.as_deref().is_some_and(|content_type| {
            let essence = content_type.split(';').next().unwrap_or_default();
            essence.trim().eq_ignore_ascii_case(media_type)
        })
    }

    /// The count that the worker noted under `key`; none when it noted nothing, or no count.
    pub fn count(&self, key: &str) -> Option<u64> {
        document::as_whole(self.metadata.get(key)?)
    }

    pub(crate) fn read(raw: wit::Artifact) -> Result<Self, Refusal> {
        Ok(Self {
            metadata: document::parse(&raw.metadata)
                .map_err(|reason| unreadable("artifact metadata", &reason))?,
            uri: raw.uri,
            content_type: raw.content_type,
            size_bytes: raw.size_bytes,
        })
    }
}

/// What an earlier step of the same job left behind.
#[derive(Debug, Clone, PartialEq)]
pub struct StepOutput {
    /// The step's id: `ocr`.
    pub step_id: String,
    /// The step's type: `OCR`.
    pub step_type: String,
    /// True when the step was skipped; it then has no artifacts.
    pub skipped: bool,
    /// What it left.
    pub artifacts: Vec<Artifact>,
}

impl StepOutput {
    /// True when the worker noted `key` on at least one artifact, and 0 wherever it noted it. Where nothing is noted
    /// nothing is known, and the answer is false.
    pub fn all_zero(&self, key: &str) -> bool {
        let mut counts = self
            .artifacts
            .iter()
            .filter_map(|artifact| artifact.count(key))
            .peekable();
        counts.peek().is_some() && counts.all(|count| count == 0)
    }
}

/// Everything a decision may depend on.
pub struct Context<S: Step> {
    /// The step's id in its protocol.
    pub step_id: String,
    /// The step's type: `OCR`.
    pub step_type: String,
    /// The service that the protocol declares for the step.
    pub service: String,
    /// How the job was asked to run.
    pub mode: Mode,
    /// The number of the attempt that is decided about, from 1.
    pub attempt: u32,
    /// How many attempts the step may have before it ends.
    pub max_attempts: u32,
    /// The document that the job was submitted with.
    pub input: Artifact,
    /// The payload as [`Step::validate`] returned it.
    pub payload: S::Payload,
    /// The earlier steps of the job, in order.
    pub earlier: Vec<StepOutput>,
    /// The plugin's `config` object from the registry.
    pub config: S::Config,
    /// The payload's text, so that it can be passed on unchanged.
    document: String,
}

impl<S: Step> Context<S> {
    /// A dispatch to the service that the protocol declares, with the payload as it was validated.
    pub fn dispatch(&self) -> Dispatch {
        Dispatch::to(self.service.clone())
    }

    /// The step right before this one; none for a job's first step.
    pub fn previous(&self) -> Option<&StepOutput> {
        self.earlier.last()
    }

    pub(crate) fn document(&self) -> &str {
        &self.document
    }

    pub(crate) fn read(raw: wit::Context) -> Result<Self, Refusal> {
        let config = document::config::<S::Config>(&raw.config)
            .map_err(|reason| Refusal::new(document::CONFIG_INVALID, reason))?;
        let payload = document::typed::<S::Payload>(&raw.payload).map_err(|violations| {
            let message = format!("the step's payload is not usable: {}", violations.summary());
            Refusal::new(document::PAYLOAD_INVALID, message)
        })?;
        let earlier = raw
            .earlier
            .into_iter()
            .map(read_step)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            step_id: raw.step_id,
            step_type: raw.step_type,
            service: raw.service,
            mode: match raw.mode {
                wit::Mode::Default => Mode::Default,
                wit::Mode::Burst => Mode::Burst,
            },
            attempt: raw.attempt,
            max_attempts: raw.max_attempts,
            input: Artifact::read(raw.input)?,
            payload,
            earlier,
            config,
            document: raw.payload,
        })
    }
}

fn read_step(raw: wit::StepOutput) -> Result<StepOutput, Refusal> {
    Ok(StepOutput {
        step_id: raw.step_id,
        step_type: raw.step_type,
        skipped: raw.skipped,
        artifacts: raw
            .artifacts
            .into_iter()
            .map(Artifact::read)
            .collect::<Result<_, _>>()?,
    })
}

pub(crate) fn unreadable(what: &str, reason: &str) -> Refusal {
    Refusal::new(
        document::CONTEXT_INVALID,
        format!("the host passed {what} that is not JSON: {reason}"),
    )
}
