//! The platform workers, when they run in this program.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

/// The platform workers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Worker {
    /// Attempts that one worker works on at once.
    pub concurrency: NonZeroUsize,
    /// Where workers remember what they have finished.
    pub record: RecordBackend,
    /// Folders below which `file` references may be read, besides `workspace` and `output` in the data directory.
    pub read_roots: Vec<PathBuf>,
    /// Folders below which results may be written, besides `workspace` and `output` in the data directory.
    pub write_roots: Vec<PathBuf>,
    /// URLs of containers and buckets below which references may be read: `az://container/folder`, `s3://bucket`.
    pub read_buckets: Vec<String>,
    /// URLs of containers and buckets below which results may be written, and references read.
    pub write_buckets: Vec<String>,
    /// The largest input, in bytes.
    pub input_bytes: u64,
    /// The folder that holds models, each in a folder of its own.
    pub models_dir: PathBuf,
    /// Pages of one document that are recognised at once.
    pub ocr_pages_at_once: NonZeroUsize,
    /// How long one page may take, in milliseconds.
    pub ocr_page_ms: u64,
    /// How long a program of `lucius worker -- PROGRAM` may take, in milliseconds.
    pub program_ms: u64,
}

impl Default for Worker {
    fn default() -> Self {
        const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);
        Self {
            concurrency: TWO,
            record: RecordBackend::File,
            read_roots: vec![PathBuf::from(".")],
            write_roots: Vec::new(),
            read_buckets: Vec::new(),
            write_buckets: Vec::new(),
            input_bytes: 256 << 20,
            models_dir: PathBuf::from("target/models"),
            ocr_pages_at_once: TWO,
            ocr_page_ms: 120_000,
            program_ms: 600_000,
        }
    }
}

/// Where workers remember what they have finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordBackend {
    /// A file each in the data directory.
    #[default]
    File,
    /// A table that workers share, named by `LUCIUS_TABLES_CONNECTION` and `ledger.table_prefix`.
    AzureTables,
}

/// The embedding service.
pub type Embedding = lucius_platform::embedding::Settings;

/// The semantic service.
pub type Sis = lucius_platform::sis::Settings;
