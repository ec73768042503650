//! What a platform service is to the worker: one asynchronous function from a [`Task`] to artifacts
//! or a [`Failure`].
//!
//! Everything about delivery (locks, leases, duplicates, callbacks, retries) is the worker's, so a
//! service holds no state between tasks and may be stopped at any `await`. Running the same task
//! twice must be harmless: each attempt writes into its own folder.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::contract::{Directive, FailureClass, ProgressReport, Ref};
use crate::refs::{self, LocalCopy};
use crate::workspace::Workspace;

/// A platform service.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// The service's name, which is also its subscription on the bus: `platform-ocr`.
    fn name(&self) -> &str;

    /// The kind of step the service was made for, shown when the worker starts: `OCR`. A protocol
    /// may route other step types to it.
    fn step_type(&self) -> &str;

    /// True when the service brings its results where they belong by itself, to places that the
    /// worker may have no hand in. The worker then does not ask for the client's output folder, and
    /// lends a folder of its own for a workspace that it may not write to.
    fn places_results(&self) -> bool {
        false
    }

    /// Does the work of one attempt.
    ///
    /// The future is dropped when the attempt is no longer wanted; work on other threads should
    /// watch [`Task::cancel`].
    async fn run(&self, task: Task, progress: Progress) -> Result<Done, Failure>;
}

/// One attempt to work on.
#[derive(Debug, Clone)]
pub struct Task {
    /// The order: tenant, job, step, attempt, payload, refs and the artifacts of earlier steps.
    pub directive: Arc<Directive>,
    /// Where the attempt's artifacts go.
    pub workspace: Workspace,
    /// Opens refs on behalf of this attempt's tenant.
    pub refs: refs::Reader,
    /// Cancelled when the attempt is no longer wanted.
    pub cancel: CancellationToken,
}

impl Task {
    /// The step's parameters as `T`; a mismatch is `PAYLOAD_INVALID`, which no retry cures.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        T::deserialize(&self.directive.payload)
            .map_err(|error| Failure::fatal("PAYLOAD_INVALID", format!("step payload: {error}")))
    }

    /// The newest artifact of an earlier step with the media type `essence`.
    pub fn earlier_artifact(&self, essence: &str) -> Option<&Ref> {
        let newest_first = self.directive.inputs.iter().rev();
        newest_first
            .flat_map(|step| &step.artifact_refs)
            .find(|artifact| artifact.is_type(essence))
    }

    /// Copies what `reference` points at to a local file, within the limits of the settings.
    pub async fn fetch(&self, reference: &Ref) -> Result<LocalCopy, Failure> {
        self.refs.fetch(reference).await
    }
}

/// Tells the host, with the next heartbeat, how far the work is.
#[derive(Debug, Clone)]
pub struct Progress(watch::Sender<Option<ProgressReport>>);

impl Progress {
    /// A progress and the side that sees each report.
    pub fn new() -> (Self, watch::Receiver<Option<ProgressReport>>) {
        let (sender, receiver) = watch::channel(None);
        (Self(sender), receiver)
    }

    /// Says how far the work is; only the newest report is sent. More than 100 percent counts as
    /// 100.
    pub fn report(&self, percent: u8, message: impl Into<String>) {
        let report = ProgressReport {
            percent: percent.min(100),
            message: message.into(),
        };
        self.0.send_replace(Some(report));
    }
}

/// What a service made.
#[derive(Debug, Clone)]
pub struct Done {
    /// What was made, the main artifact first.
    pub artifacts: Vec<Artifact>,
    /// Who brings the main artifact to the client's `output_ref`.
    pub delivery: Delivery,
}

impl Done {
    /// The work is done; the worker delivers the first artifact.
    pub const fn deliver_first(artifacts: Vec<Artifact>) -> Self {
        Self {
            artifacts,
            delivery: Delivery::FirstArtifact,
        }
    }
}

/// Who brings the main artifact to the client's `output_ref`.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// The worker copies the first artifact to `<output_ref>/<step_id>.<ext>`.
    FirstArtifact,
    /// The service has seen to it, and says where when it is anywhere.
    ByService(Option<Ref>),
}

/// Something a step made. [`Workspace::write`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Where it is.
    pub uri: String,
    /// Its media type.
    pub content_type: Option<String>,
    /// Its size in bytes.
    pub size_bytes: Option<u64>,
    /// `sha256:` and 64 hex digits.
    pub checksum: Option<String>,
    /// What plugins and later steps rely on, for example `{"characters": 120, "pages": 2}`.
    pub metadata: Map<String, Value>,
}

impl From<Artifact> for Ref {
    fn from(artifact: Artifact) -> Self {
        let Artifact {
            uri,
            content_type,
            size_bytes,
            checksum,
            metadata,
        } = artifact;
        Self {
            uri,
            checksum,
            size_bytes,
            content_type,
            metadata,
        }
    }
}

impl From<Ref> for Artifact {
    fn from(reference: Ref) -> Self {
        let Ref {
            uri,
            checksum,
            size_bytes,
            content_type,
            metadata,
        } = reference;
        Self {
            uri,
            content_type,
            size_bytes,
            checksum,
            metadata,
        }
    }
}

/// Why the work is not done.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Failure {
    /// Whether another attempt may help.
    pub class: FailureClass,
    /// A stable code in UPPER_SNAKE_CASE.
    pub code: Cow<'static, str>,
    /// One line for a person: what is wrong and what to do.
    pub message: String,
    /// More for a program, when there is more.
    pub details: Option<Value>,
}

impl Failure {
    /// A failure that another attempt may cure.
    pub fn retryable(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(FailureClass::Retryable, code.into(), message.into())
    }

    /// A failure that the same input will meet again.
    pub fn fatal(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(FailureClass::NonRetryable, code.into(), message.into())
    }

    const fn new(class: FailureClass, code: Cow<'static, str>, message: String) -> Self {
        Self {
            class,
            code,
            message,
            details: None,
        }
    }

    /// The same failure with more for a program.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }
}
