//! Where registries come from.

use std::sync::Arc;

use async_trait::async_trait;
use lucius_domain::id::Digest;

/// Why something could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not there, or not readable.
    #[error("{0}")]
    Unreadable(String),
    /// The name leaves the registry.
    #[error("\"{0}\" is not a plain path below the registry: use components/<sha256>.wasm")]
    Path(String),
    /// Larger than allowed.
    #[error("{name} has more than {limit} bytes")]
    TooLarge {
        /// What was read.
        name: String,
        /// The limit.
        limit: u64,
    },
}

/// A registry, and the components that were ever activated from it. Everything is read once, into memory; whoever
/// hashes and compiles uses that buffer.
#[async_trait]
pub trait Source: Send + Sync {
    /// The text of `registry.json`.
    async fn manifest(&self) -> Result<String, Error>;

    /// A file that the manifest names: a component or a payload schema.
    async fn file(&self, path: &str) -> Result<Arc<[u8]>, Error>;

    /// Keeps the bytes of a component or a schema, durably, until they are forgotten.
    async fn keep(&self, digest: Digest, bytes: Arc<[u8]>) -> Result<(), Error>;

    /// The bytes that were kept.
    async fn kept(&self, digest: Digest) -> Result<Arc<[u8]>, Error>;

    /// Everything that is kept.
    async fn all_kept(&self) -> Result<Vec<Digest>, Error>;

    /// Drops what was kept; what is not there is dropped already.
    async fn forget(&self, digest: Digest) -> Result<(), Error>;
}
