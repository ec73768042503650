//! A worker on folders of its own, with a service that does what the test says.

use std::future::Future;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use lucius_platform::bus::Anonymous;
use lucius_platform::refs;
use lucius_platform::service::{Done, Failure, Progress, Service, Task};
use lucius_platform::worker::{self, Config, Timing};
use lucius_platform::workspace::Label;
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fake_host::{Event, FakeHost};

pub(crate) type Outcome = Pin<Box<dyn Future<Output = Result<Done, Failure>> + Send>>;

/// A service that does what the test says, and counts how often.
pub(crate) struct Scripted<F> {
    script: F,
    pub(crate) runs: Arc<AtomicUsize>,
}

#[async_trait]
impl<F: Fn(Task, Progress) -> Outcome + Send + Sync + 'static> Service for Scripted<F> {
    fn name(&self) -> &str {
        "test-service"
    }

    fn step_type(&self) -> &str {
        "OCR"
    }

    async fn run(&self, task: Task, progress: Progress) -> Result<Done, Failure> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        (self.script)(task, progress).await
    }
}

pub(crate) struct Rig {
    pub(crate) host: Arc<FakeHost>,
    pub(crate) root: PathBuf,
    pub(crate) runs: Arc<AtomicUsize>,
    _dir: tempfile::TempDir,
}

pub(crate) struct Running {
    pub(crate) stop: CancellationToken,
    pub(crate) worker: JoinHandle<Result<(), worker::Error>>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.worker.await.unwrap().unwrap();
    }

    /// Ends the worker as a crash would, between any two steps.
    pub(crate) async fn crash(self) {
        self.worker.abort();
        assert!(self.worker.await.unwrap_err().is_cancelled());
    }
}

impl Rig {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("in")).unwrap();
        std::fs::write(root.join("in/input"), "input text").unwrap();
        Self {
            host: FakeHost::start().await,
            root,
            runs: Arc::default(),
            _dir: dir,
        }
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            bus: self.host.bus(),
            data_dir: self.root.join("data"),
            record: None,
            refs: refs::Settings {
                read_roots: vec![self.root.join("in")],
                write_roots: vec![self.root.join("workspace"), self.root.join("out")],
                max_bytes: 1 << 20,
                temp_dir: self.root.join("tmp"),
                buckets: Default::default(),
            },
            concurrency: NonZeroUsize::new(2).unwrap(),
            accept_ahead: 8,
            timing: Timing {
                poll: Duration::from_secs(2),
                poll_pause: Duration::from_millis(1),
                lock_renewal: Duration::from_millis(20),
                heartbeat: Duration::from_millis(20),
                progress: Duration::from_millis(1),
                retry_first: Duration::from_millis(1),
                retry_longest: Duration::from_millis(20),
                stop_grace: Duration::from_secs(30),
                ..Timing::default()
            },
            authorization: Arc::new(Anonymous),
            status: Default::default(),
        }
    }

    pub(crate) fn run<F>(&self, script: F) -> Running
    where
        F: Fn(Task, Progress) -> Outcome + Send + Sync + 'static,
    {
        self.run_as(self.config(), script)
    }

    pub(crate) fn run_as<F>(&self, config: Config, script: F) -> Running
    where
        F: Fn(Task, Progress) -> Outcome + Send + Sync + 'static,
    {
        let service = Arc::new(Scripted {
            script,
            runs: Arc::clone(&self.runs),
        });
        let stop = CancellationToken::new();
        let worker = tokio::spawn(worker::run(config, service, stop.clone()));
        Running { stop, worker }
    }

    pub(crate) fn directive(&self, job: &str) -> Value {
        self.host.directive(&self.root, job, json!({}))
    }

    /// Runs one attempt of `service` to its RESULT, with this step payload.
    pub(crate) async fn result_of(&self, service: Arc<dyn Service>, payload: Value) -> Value {
        self.result_of_changed(service, json!({ "payload": payload }))
            .await
    }

    /// As [`Self::result_of`], with other fields of the directive changed.
    pub(crate) async fn result_of_changed(
        &self,
        service: Arc<dyn Service>,
        change: Value,
    ) -> Value {
        let stop = CancellationToken::new();
        let worker = tokio::spawn(worker::run(self.config(), service, stop.clone()));
        let directive = self.host.directive(&self.root, "job", change);
        let message = self.host.publish(0, directive);
        self.host.until_seen(Event::Completed(message)).await;
        Running { stop, worker }.stop().await;
        self.host.results().remove(0)
    }

    pub(crate) fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }
}

/// Copies the input to the artifact `text.txt`.
pub(crate) fn copy_input(task: Task, _progress: Progress) -> Outcome {
    Box::pin(async move {
        let text = task.fetch(&task.directive.input_ref).await?.text().await?;
        let mut metadata = Map::new();
        metadata.insert("characters".into(), json!(text.len()));
        let label = Label {
            name: "text.txt",
            content_type: "text/plain",
            metadata,
        };
        Ok(Done::deliver_first(vec![
            task.workspace.write(label, text.into()).await?,
        ]))
    })
}

/// Signals that it runs, then waits until the test lets it go on.
pub(crate) fn gated(
    running: &Arc<Semaphore>,
    gate: &Arc<Notify>,
) -> impl Fn(Task, Progress) -> Outcome + use<> {
    let (running, gate) = (Arc::clone(running), Arc::clone(gate));
    move |_task, progress| {
        let (running, gate) = (Arc::clone(&running), Arc::clone(&gate));
        Box::pin(async move {
            progress.report(40, "page 2 of 5");
            running.add_permits(1);
            gate.notified().await;
            Ok(Done::deliver_first(vec![]))
        })
    }
}

pub(crate) async fn started(running: &Semaphore, count: u32) {
    running.acquire_many(count).await.unwrap().forget();
}
