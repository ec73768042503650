//! `platform-ocr`: a scanned or printed document becomes text.
//!
//! The file is a stranger's, so it is looked at before any tool is let near it (`format`), and
//! every tool runs within limits of time and memory (`tool`). A PDF's own text layer is exact and
//! free, so it is taken page by page where there is one; the other pages are rendered and read by
//! an [`Engine`], side by side as far as the settings allow. What a client can mend is
//! `NON_RETRYABLE` with a code that says what is wrong; what the operator can mend is `RETRYABLE`.

mod engine;
mod format;
mod output;
mod pages;
mod poppler;
mod reading;
mod tesseract;
mod tool;
mod tsv;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use tokio::sync::Semaphore;

pub use engine::{Engine, Page, Picture, Unit, Word};
pub use tesseract::Tesseract;

use crate::service::{self, Done, Failure, Progress, Task};
use output::Document;
use pages::PageRange;
use reading::Reading;

/// The service's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where `tesseract`, `pdfinfo`, `pdftotext` and `pdftoppm` are; `PATH` when absent.
    pub tools_dir: Option<PathBuf>,
    /// The language of documents whose payload has no `language_hint`, as tesseract names it.
    pub language: String,
    /// How finely PDF pages are rendered, in dots per inch.
    pub dpi: u32,
    /// How many pages of all documents are read at once.
    pub pages_at_once: NonZeroUsize,
    /// The most pages that are read of one document.
    pub pages_max: u32,
    /// How long one run of a tool may take.
    pub page_time_limit: Duration,
    /// How much address space one run of a tool may have; unlimited when absent.
    pub memory_bytes: Option<u64>,
    /// A page whose text layer has fewer visible characters is read by OCR.
    pub text_layer_characters_min: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tools_dir: None,
            language: "eng".to_owned(),
            dpi: 300,
            pages_at_once: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            pages_max: 2_000,
            page_time_limit: Duration::from_secs(120),
            memory_bytes: Some(2 << 30),
            text_layer_characters_min: 16,
        }
    }
}

/// The `ocr.v1` step payload.
#[derive(Debug, Default, Deserialize)]
struct Payload {
    language_hint: Option<String>,
    page_range: Option<String>,
    ocr_engine: Option<String>,
    output_format: Option<output::Format>,
}

/// The OCR service.
pub struct Service {
    settings: Settings,
    engines: Vec<Arc<dyn Engine>>,
    pages_at_once: Arc<Semaphore>,
}

impl Service {
    /// The service with tesseract as its engine.
    pub fn new(settings: Settings) -> Self {
        let tesseract = Arc::new(Tesseract::new(settings.clone()));
        Self {
            pages_at_once: Arc::new(Semaphore::new(settings.pages_at_once.get())),
            engines: vec![tesseract],
            settings,
        }
    }

    /// The service with one more engine, for payloads that name it.
    #[must_use]
    pub fn with_engine(mut self, engine: Arc<dyn Engine>) -> Self {
        self.engines.push(engine);
        self
    }

    fn engine(&self, name: Option<&str>) -> Result<&Arc<dyn Engine>, Failure> {
        let wanted = name.map(|name| name.trim().to_lowercase());
        let found = match wanted.as_deref() {
            None | Some("" | "auto") => self.engines.first(),
            Some(wanted) => self.engines.iter().find(|engine| engine.name() == wanted),
        };
        found.ok_or_else(|| {
            let names: Vec<&str> = self.engines.iter().map(|engine| engine.name()).collect();
            let message = format!(
                "there is no OCR engine {:?} on this worker; use one of: {}",
                wanted.unwrap_or_default(),
                names.join(", ")
            );
            Failure::fatal("OCR_ENGINE_UNKNOWN", message)
        })
    }
}

#[async_trait]
impl service::Service for Service {
    fn name(&self) -> &str {
        "platform-ocr"
    }

    fn step_type(&self) -> &str {
        "OCR"
    }

    async fn run(&self, task: Task, progress: Progress) -> Result<Done, Failure> {
        let payload: Payload = task.payload()?;
        let engine = self.engine(payload.ocr_engine.as_deref())?;
        let range = payload
            .page_range
            .as_deref()
            .map(PageRange::parse)
            .transpose()?;
        let input = task.fetch(&task.directive.input_ref).await?;
        let kind = kind_of(&input).await?;
        let language = engine.language(payload.language_hint.as_deref()).await?;

        let format = payload.output_format.unwrap_or_default();
        let reading = Reading {
            settings: &self.settings,
            engine: Arc::clone(engine),
            language: language.clone(),
            pages_at_once: &self.pages_at_once,
            with_words: format == output::Format::Json,
            progress,
        };
        let pages = reading.document(input.path(), kind, range.as_ref()).await?;
        let document = Document {
            schema_version: "v1",
            engine: engine.name().to_owned(),
            language,
            pages,
        };
        Ok(Done::deliver_first(
            document.write(&task.workspace, format).await?,
        ))
    }
}

/// What the input is; anything that is no document is refused before a tool sees it.
async fn kind_of(input: &crate::refs::LocalCopy) -> Result<format::Format, Failure> {
    if input.size_bytes == 0 {
        return Err(Failure::fatal(
            "INPUT_EMPTY",
            "the input has no bytes; check the upload",
        ));
    }
    let path = input.path().to_owned();
    let sniffed = tokio::task::spawn_blocking(move || format::of_file(&path)).await;
    let unreadable = |error: &dyn std::fmt::Display| {
        Failure::retryable(
            "INPUT_UNREADABLE",
            format!("cannot read the input's copy: {error}"),
        )
    };
    sniffed
        .map_err(|e| unreadable(&e))?
        .map_err(|e| unreadable(&e))?
        .ok_or_else(|| {
            let message = "the input is no PDF, PNG, JPEG, TIFF or WebP; convert it to one of them";
            Failure::fatal("INPUT_NOT_A_DOCUMENT", message)
        })
}
