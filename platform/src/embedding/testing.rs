//! What the tests of the services share: the real model, and a task whose files are real.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::Models;
use crate::contract::{Directive, Ref};
use crate::refs::{Roots, Settings};
use crate::service::{Artifact, Done, Failure, Progress, Service, Task};
use crate::workspace::Places;

/// The folder of the models: `$LUCIUS_MODELS`, else where `cargo xtask setup` puts them.
pub(crate) fn models_dir() -> PathBuf {
    let set = std::env::var_os("LUCIUS_MODELS").map(PathBuf::from);
    let dir = set
        .unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/models")));
    let weights = dir.join("all-MiniLM-L6-v2/model.safetensors");
    assert!(
        weights.is_file(),
        "{} is missing: run cargo xtask setup",
        weights.display()
    );
    dir
}

/// The models, loaded once for all tests.
pub(crate) fn models() -> Arc<Models> {
    static MODELS: OnceLock<Arc<Models>> = OnceLock::new();
    Arc::clone(MODELS.get_or_init(|| Arc::new(Models::new(models_dir()))))
}

/// A folder with a job in it.
#[derive(Debug)]
pub(crate) struct Desk {
    dir: TempDir,
    inputs: Vec<Value>,
}

impl Desk {
    /// An empty job.
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            inputs: Vec::new(),
        }
    }

    /// Writes a file and gives its ref.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> Ref {
        let folder = self.dir.path().join("in");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        Ref::bare(Url::from_file_path(path).unwrap())
    }

    /// Adds an earlier step with one artifact.
    pub(crate) fn earlier(mut self, step_type: &str, artifact: impl Into<Ref>) -> Self {
        let artifact: Ref = artifact.into();
        self.inputs.push(json!({
            "step_id": step_type.to_lowercase(), "step_type": step_type,
            "artifact_refs": [artifact]
        }));
        self
    }

    /// Runs `service` on the job.
    pub(crate) async fn run(
        &self,
        service: &dyn Service,
        input: &Ref,
        payload: Value,
    ) -> Result<Done, Failure> {
        service
            .run(
                self.task(service.step_type(), input, payload).await,
                Progress::new().0,
            )
            .await
    }

    async fn task(&self, step_type: &str, input: &Ref, payload: Value) -> Task {
        let path = |name: &str| self.dir.path().join(name);
        std::fs::create_dir_all(path("in")).unwrap();
        let folder = |name: &str| Url::from_directory_path(path(name)).unwrap().to_string();
        let directive = json!({
            "jobId": "job-1", "tenant_id": "acme", "stepId": step_type.to_lowercase(),
            "protocol_id": "p.v1", "step_type": step_type, "attempt_no": 1,
            "lease_id": "7b0f3f0e-6d5d-4a39-9f0f-8f6a3a6f8f11",
            "input_ref": input, "workspace_ref": folder("ws"), "output_ref": folder("out"),
            "payload": payload, "inputs": self.inputs,
            "callback_urls": {"ack": "http://h/a", "result": "http://h/r", "heartbeat": "http://h/h"}
        });
        let directive = Directive::parse(directive.to_string().as_bytes()).unwrap();
        let roots = Roots::open(&Settings {
            read_roots: vec![path("in")],
            write_roots: vec![path("ws"), path("out")],
            max_bytes: 10_000_000,
            temp_dir: path("tmp"),
            buckets: Default::default(),
        });
        let places = Places::open(&Arc::new(roots.unwrap()), &directive, false)
            .await
            .unwrap();
        Task {
            directive: Arc::new(directive),
            workspace: places.workspace,
            refs: places.reader,
            cancel: CancellationToken::new(),
        }
    }
}

/// The content of an artifact.
pub(crate) fn content(artifact: &Artifact) -> Vec<u8> {
    std::fs::read(Url::parse(&artifact.uri).unwrap().to_file_path().unwrap()).unwrap()
}
