//! The models of this process: each is loaded once, when first needed, and shared by all tasks.
//!
//! Loading and inference run on blocking threads, one batch of one task at a time, so that a long
//! document neither stalls the runtime nor keeps a short one waiting for more than a batch.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore};

use super::model::{EmbedError, Embedding, LoadError, Model};
use crate::service::Failure;

/// More threads than this gain little on batches of this size.
const MOST_THREADS: usize = 4;

/// Loads models from one folder.
#[derive(Debug)]
pub struct Models {
    dir: PathBuf,
    threads: NonZeroUsize,
    loaded: Mutex<BTreeMap<String, Arc<Model>>>,
    turns: Arc<Semaphore>,
}

impl Models {
    /// Models are the folders of `dir`, by name. Nothing is loaded yet; each will compute on half
    /// the machine's cores, at most four.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = NonZeroUsize::new(cores.div_ceil(2).min(MOST_THREADS));
        Self {
            dir: dir.into(),
            threads: threads.unwrap_or(NonZeroUsize::MIN),
            loaded: Mutex::default(),
            turns: Arc::new(Semaphore::new(1)),
        }
    }

    /// The same with another number of threads.
    #[must_use]
    pub fn with_threads(self, threads: NonZeroUsize) -> Self {
        Self { threads, ..self }
    }

    /// The model `name`, loaded when it is not yet. `organisation/name` means the same as `name`.
    ///
    /// Fails with `MODEL_UNKNOWN` for good when the name can be no folder's, and for now with
    /// `MODEL_NOT_INSTALLED` when it is not there, `MODEL_UNUSABLE` when it is broken.
    pub async fn get(&self, name: &str) -> Result<Arc<Model>, Failure> {
        let id = folder_name(name)?;
        let mut loaded = self.loaded.lock().await;
        if let Some(model) = loaded.get(id) {
            return Ok(Arc::clone(model));
        }
        let (directory, threads, owned) = (self.dir.join(id), self.threads, id.to_owned());
        let model = blocking(move || {
            let model = Model::load(&directory, &owned, threads);
            model.map_err(|error| not_loaded(&owned, &directory, &error))
        })
        .await??;
        tracing::info!(
            model = id,
            revision = model.revision(),
            "embedding model loaded"
        );
        let model = Arc::new(model);
        loaded.insert(id.to_owned(), Arc::clone(&model));
        Ok(model)
    }

    /// One vector for each text, in order. `report` hears how many are done after each batch.
    ///
    /// Fails with `EMBEDDING_FAILED`, for good, as the same text would fail again.
    pub async fn embed(
        &self,
        model: &Arc<Model>,
        texts: Vec<String>,
        mut report: impl FnMut(usize) + Send,
    ) -> Result<Vec<Embedding>, Failure> {
        let preparing = Arc::clone(model);
        let prepared = blocking(move || {
            texts
                .iter()
                .map(|text| preparing.prepare(text))
                .collect::<Result<Vec<_>, _>>()
        })
        .await?
        .map_err(not_embedded)?;
        let prepared = Arc::new(prepared);
        let mut embeddings: Vec<Option<Embedding>> = vec![None; prepared.len()];
        let mut done = 0;
        for batch in Model::batches(&prepared) {
            let turn = Arc::clone(&self.turns)
                .acquire_owned()
                .await
                .map_err(crashed)?;
            let (model, prepared) = (Arc::clone(model), Arc::clone(&prepared));
            let (batch, vectors) = blocking(move || {
                // Held by the work itself: a task that is dropped meanwhile must not let a second
                // batch run beside this one.
                let _turn = turn;
                let texts: Vec<_> = batch.iter().map(|index| &prepared[*index]).collect();
                let vectors = model.embed(&texts);
                (batch, vectors)
            })
            .await?;
            done += batch.len();
            for (index, vector) in batch.into_iter().zip(vectors.map_err(not_embedded)?) {
                embeddings[index] = Some(vector);
            }
            report(done);
        }
        let all: Option<Vec<Embedding>> = embeddings.into_iter().collect();
        all.ok_or_else(|| Failure::fatal("EMBEDDING_FAILED", "the model left out a text"))
    }
}

/// The folder a model name means.
pub(crate) fn folder_name(name: &str) -> Result<&str, Failure> {
    let folder = name.rsplit('/').next().unwrap_or(name);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !folder.is_empty() && !folder.starts_with('.') && folder.chars().all(plain) {
        return Ok(folder);
    }
    let message =
        format!("{name:?} is no model name; use letters, digits, '-', '_' and '.' as in a folder");
    Err(Failure::fatal("MODEL_UNKNOWN", message))
}

/// Runs `work` on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(crashed)
}

fn crashed(error: impl std::fmt::Display) -> Failure {
    Failure::retryable(
        "WORKER_CRASHED",
        format!("the model's thread stopped: {error}"),
    )
}

pub(crate) fn not_embedded(error: EmbedError) -> Failure {
    Failure::fatal(
        "EMBEDDING_FAILED",
        format!("the text could not be embedded: {error}"),
    )
}

fn not_loaded(id: &str, directory: &Path, error: &LoadError) -> Failure {
    let directory = directory.display();
    match error {
        LoadError::File { error: io, .. } if io.kind() == std::io::ErrorKind::NotFound => {
            let message = format!(
                "the model {id} is not in {directory} ({error}); run `cargo xtask setup`, or set \
                 models_dir to the folder that holds {id}/"
            );
            Failure::retryable("MODEL_NOT_INSTALLED", message)
        }
        LoadError::File { .. } | LoadError::Content { .. } => {
            let message = format!(
                "the model in {directory} cannot be used: {error}; install it again with `cargo \
                 xtask setup`"
            );
            Failure::retryable("MODEL_UNUSABLE", message)
        }
        LoadError::Threads(_) => {
            Failure::retryable("WORKER_CRASHED", format!("cannot start the model: {error}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::FailureClass;

    #[tokio::test]
    async fn a_model_that_is_not_there_says_how_to_get_it() {
        let dir = tempfile::tempdir().unwrap();
        let failure = Models::new(dir.path())
            .get("all-MiniLM-L6-v2")
            .await
            .unwrap_err();
        assert_eq!(
            (failure.class, &*failure.code),
            (FailureClass::Retryable, "MODEL_NOT_INSTALLED")
        );
        assert!(failure.message.contains("cargo xtask setup"), "{failure}");
        assert!(failure.message.contains("models_dir"), "{failure}");
    }

    #[tokio::test]
    async fn a_broken_model_is_named_with_the_broken_file() {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("m");
        std::fs::create_dir(&model).unwrap();
        std::fs::write(model.join("config.json"), "{").unwrap();
        let failure = Models::new(dir.path()).get("m").await.unwrap_err();
        assert_eq!(failure.code, "MODEL_UNUSABLE");
        assert!(failure.message.contains("config.json"), "{failure}");
    }

    #[tokio::test]
    async fn a_name_cannot_lead_out_of_the_folder() {
        for name in ["..", "a/..", "", "a/", ".hidden", "a\\b", "a\0b"] {
            let failure = Models::new("/nowhere").get(name).await.unwrap_err();
            assert_eq!(failure.code, "MODEL_UNKNOWN", "{name:?}");
            assert_eq!(failure.class, FailureClass::NonRetryable);
        }
        assert_eq!(
            folder_name("sentence-transformers/all-MiniLM-L6-v2").unwrap(),
            "all-MiniLM-L6-v2"
        );
    }
}
