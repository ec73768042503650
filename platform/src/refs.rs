//! Opens refs, and only those it may.
//!
//! A ref in a directive was written by a client, so a worker that opened whatever it names would
//! read any file of the machine to whoever asks. Therefore only `file` refs below configured roots
//! are opened, after symbolic links are resolved, and inside the workspace a tenant reaches its own
//! folder alone; and refs below configured [`buckets`]. What is opened is first copied, with its size bounded, so that the tools that read
//! it see one unchanging file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;
use url::Url;

use crate::buckets::{self, Buckets};
use crate::contract::Ref;
use crate::service::Failure;

/// Which files a worker may touch.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folders below which refs may be read. They must exist.
    pub read_roots: Vec<PathBuf>,
    /// Folders below which workspaces and outputs may be written (and read). Made when missing.
    pub write_roots: Vec<PathBuf>,
    /// The largest input that is accepted, in bytes.
    pub max_bytes: u64,
    /// Where inputs are copied to while they are worked on. Made when missing.
    pub temp_dir: PathBuf,
    /// Containers and buckets of cloud stores.
    pub buckets: buckets::Settings,
}

/// A root that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// A folder.
    #[error("cannot use the folder {path}: {source}; create it, or change the worker's roots")]
    Folder {
        /// Which.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A container or bucket.
    #[error(transparent)]
    Bucket(#[from] buckets::Error),
}

/// A configured folder: as it was written, and where it really is.
#[derive(Debug)]
struct Root {
    written: PathBuf,
    real: PathBuf,
}

impl Root {
    fn open(path: &Path, create: bool) -> Result<Self, RootError> {
        let fail = |source| RootError::Folder {
            path: path.display().to_string(),
            source,
        };
        if create {
            std::fs::create_dir_all(path).map_err(fail)?;
        }
        let written = std::path::absolute(path).map_err(fail)?;
        let real = written.canonicalize().map_err(fail)?;
        Ok(Self { written, real })
    }
}

/// The checked settings, shared by all tasks of a worker.
#[derive(Debug)]
pub struct Roots {
    readable: Vec<Root>,
    writable: Vec<Root>,
    max_bytes: u64,
    temp_dir: PathBuf,
    pub(crate) buckets: Buckets,
    pub(crate) files: Arc<dyn ObjectStore>,
}

/// The part of the workspace that belongs to one tenant. Elsewhere in the workspace it has no say.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) workspace_root: PathBuf,
    pub(crate) tenant_dir: PathBuf,
}

impl Scope {
    fn allows(&self, real: &Path) -> bool {
        !real.starts_with(&self.workspace_root) || real.starts_with(&self.tenant_dir)
    }
}

impl Roots {
    /// Checks the folders and makes those that are written to.
    pub fn open(settings: &Settings) -> Result<Self, RootError> {
        let open = |paths: &[PathBuf], create| {
            paths
                .iter()
                .map(|path| Root::open(path, create))
                .collect::<Result<Vec<_>, _>>()
        };
        let temp_dir = Root::open(&settings.temp_dir, true)?.real;
        remove_leftovers(&temp_dir);
        Ok(Self {
            readable: open(&settings.read_roots, false)?,
            writable: open(&settings.write_roots, true)?,
            max_bytes: settings.max_bytes,
            temp_dir,
            buckets: Buckets::open(&settings.buckets)?,
            files: Arc::new(LocalFileSystem::new().with_fsync(true)),
        })
    }

    /// The first folder that may be written to.
    pub(crate) fn first_writable(&self) -> Option<&Path> {
        self.writable.first().map(|root| root.real.as_path())
    }

    /// The real path of the existing file behind `uri`.
    async fn readable_file(&self, uri: &str, scope: &Scope) -> Result<PathBuf, Failure> {
        let path = file_path(uri)?;
        let roots = || self.readable.iter().chain(&self.writable);
        // Asked before the file system is, so that an answer says nothing about files elsewhere.
        if !roots().any(|root| path.starts_with(&root.written) || path.starts_with(&root.real)) {
            return Err(not_allowed(uri, "read"));
        }
        let real = tokio::fs::canonicalize(&path)
            .await
            .map_err(|e| cannot_read(uri, &e))?;
        if !roots().any(|root| real.starts_with(&root.real)) || !scope.allows(&real) {
            return Err(not_allowed(uri, "read"));
        }
        let found = tokio::fs::metadata(&real)
            .await
            .map_err(|e| cannot_read(uri, &e))?;
        if !found.is_file() {
            let message = format!("{uri} is not a file; name a file, not a folder or a device");
            return Err(Failure::fatal("INPUT_NOT_A_FILE", message));
        }
        Ok(real)
    }

    /// The real path of the folder behind `uri`, made when missing.
    ///
    /// Without a `scope` any place below the write roots will do.
    pub(crate) async fn writable_dir(
        &self,
        uri: &str,
        scope: Option<&Scope>,
    ) -> Result<PathBuf, Failure> {
        let path = file_path(uri)?;
        self.make_dir(&path, scope)
            .await
            .map_err(|refusal| match refusal {
                Refusal::Outside => not_allowed(uri, "written"),
                Refusal::Io(error) => Failure::retryable(
                    "OUTPUT_NOT_WRITABLE",
                    format!("cannot write to {uri}: {error}"),
                ),
            })
    }

    async fn make_dir(&self, path: &Path, scope: Option<&Scope>) -> Result<PathBuf, Refusal> {
        let below = |path: &Path| {
            self.writable
                .iter()
                .any(|root| path.starts_with(&root.written) || path.starts_with(&root.real))
        };
        let allowed = |real: &Path| {
            self.writable
                .iter()
                .any(|root| real.starts_with(&root.real))
                && scope.is_none_or(|scope| scope.allows(real))
        };
        if !below(path) {
            return Err(Refusal::Outside);
        }
        // The nearest folder that exists decides where the new ones would really be made.
        let mut existing = path;
        let real_parent = loop {
            match tokio::fs::canonicalize(existing).await {
                Ok(real) => break real,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    existing = existing.parent().ok_or(Refusal::Outside)?;
                }
                Err(error) => return Err(Refusal::Io(error)),
            }
        };
        let rest = path.strip_prefix(existing).map_err(|_| Refusal::Outside)?;
        let real = if rest.as_os_str().is_empty() {
            real_parent
        } else {
            real_parent.join(rest)
        };
        if !allowed(&real) {
            return Err(Refusal::Outside);
        }
        tokio::fs::create_dir_all(&real)
            .await
            .map_err(Refusal::Io)?;
        let real = tokio::fs::canonicalize(&real).await.map_err(Refusal::Io)?;
        if allowed(&real) {
            Ok(real)
        } else {
            Err(Refusal::Outside)
        }
    }

    /// The folder that inputs are copied to.
    pub fn temp_dir(&self) -> &Path {
        &self.temp_dir
    }
}

/// Removes what a worker that was killed left behind. Another worker may share the folder, so only
/// what is older than any attempt goes; what cannot be removed does no harm.
fn remove_leftovers(temp_dir: &Path) {
    const OLD: Duration = Duration::from_secs(2 * 86_400);
    let is_old = |entry: &std::fs::DirEntry| {
        let name = entry.file_name();
        let ours = name
            .to_str()
            .is_some_and(|n| n.starts_with("input-") || n.starts_with("ocr-"));
        let changed = entry.metadata().and_then(|found| found.modified());
        ours && changed.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > OLD))
    };
    for entry in std::fs::read_dir(temp_dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter(is_old)
    {
        let path = entry.path();
        let removed = if path.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        if let Err(error) = removed {
            tracing::warn!(path = %path.display(), %error, "cannot remove an old temporary file");
        }
    }
}

enum Refusal {
    Outside,
    Io(std::io::Error),
}

/// Opens refs on behalf of one tenant.
#[derive(Debug, Clone)]
pub struct Reader {
    pub(crate) roots: Arc<Roots>,
    pub(crate) scope: Scope,
}

impl Reader {
    /// Copies what `reference` points at to a local file.
    ///
    /// A declared size or checksum is compared with what was found. Fails with `REF_INVALID`,
    /// `REF_SCHEME_UNSUPPORTED`, `REF_NOT_ALLOWED`, `INPUT_NOT_FOUND`, `INPUT_NOT_A_FILE`,
    /// `INPUT_TOO_LARGE` or `INPUT_MISMATCH` for good, and with `INPUT_UNREADABLE` for now.
    pub async fn fetch(&self, reference: &Ref) -> Result<LocalCopy, Failure> {
        let uri = &reference.uri;
        let (store, location) = if buckets::is_local(uri) {
            let real = self.roots.readable_file(uri, &self.scope).await?;
            (Arc::clone(&self.roots.files), object_path(&real)?)
        } else {
            let place = self.roots.buckets.readable(uri)?;
            (place.store, place.path)
        };
        let found = store.get(&location).await.map_err(|error| {
            match matches!(error, object_store::Error::NotFound { .. }) {
                true => missing(uri),
                false => unreadable(uri, &error),
            }
        })?;
        self.within_limit(uri, found.meta.size)?;

        let temp = tempfile::Builder::new()
            .prefix("input-")
            .tempfile_in(&self.roots.temp_dir)
            .map_err(|e| unreadable(uri, &e))?;
        let handle = temp.reopen().map_err(|e| unreadable(uri, &e))?;
        let mut file = tokio::fs::File::from_std(handle);
        let mut digest = Sha256::new();
        let mut size_bytes: u64 = 0;
        let mut chunks = found.into_stream();
        while let Some(chunk) = chunks.try_next().await.map_err(|e| unreadable(uri, &e))? {
            size_bytes += chunk.len() as u64;
            self.within_limit(uri, size_bytes)?;
            digest.update(&chunk);
            file.write_all(&chunk)
                .await
                .map_err(|e| unreadable(uri, &e))?;
        }
        file.flush().await.map_err(|e| unreadable(uri, &e))?;

        let checksum = checksum_of(digest);
        as_declared(reference, size_bytes, &checksum)?;
        Ok(LocalCopy {
            file: temp,
            size_bytes,
            checksum,
        })
    }

    fn within_limit(&self, uri: &str, size_bytes: u64) -> Result<(), Failure> {
        let limit = self.roots.max_bytes;
        if size_bytes <= limit {
            return Ok(());
        }
        let message = format!("{uri} is larger than {limit} bytes; raise the worker's max_bytes");
        Err(Failure::fatal("INPUT_TOO_LARGE", message))
    }
}

/// A private copy of an input, removed when dropped.
#[derive(Debug)]
pub struct LocalCopy {
    file: NamedTempFile,
    /// The size in bytes.
    pub size_bytes: u64,
    /// `sha256:` and 64 hex digits.
    pub checksum: String,
}

impl LocalCopy {
    /// Where the copy is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The content as UTF-8 text; anything else is `INPUT_NOT_TEXT`.
    pub async fn text(&self) -> Result<String, Failure> {
        let bytes = tokio::fs::read(self.path())
            .await
            .map_err(|e| Failure::retryable("INPUT_UNREADABLE", format!("input copy: {e}")))?;
        String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let message = format!("the input is not UTF-8 text (byte {at}); convert it first");
            Failure::fatal("INPUT_NOT_TEXT", message)
        })
    }
}

/// `sha256:` and the digest in hex.
pub(crate) fn checksum_of(digest: Sha256) -> String {
    let hex: String = digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

/// The name of a real file in the object store.
pub(crate) fn object_path(real: &Path) -> Result<object_store::path::Path, Failure> {
    object_store::path::Path::from_absolute_path(real).map_err(|error| {
        Failure::fatal(
            "REF_INVALID",
            format!("cannot use the path {}: {error}", real.display()),
        )
    })
}

/// The local path that a `file` URI means. It may not exist.
fn file_path(uri: &str) -> Result<PathBuf, Failure> {
    let invalid = |why: &str| Failure::fatal("REF_INVALID", format!("{uri} {why}"));
    let url = Url::parse(uri).map_err(|_| invalid("is not a URI; write file:///folder/file"))?;
    if url.scheme() != "file" {
        let message = format!(
            "this worker opens no {} refs here; use a file ref below one of its roots",
            url.scheme()
        );
        return Err(Failure::fatal("REF_SCHEME_UNSUPPORTED", message));
    }
    url.to_file_path()
        .map_err(|()| invalid("names no local file; write file:///folder/file"))
}

fn not_allowed(uri: &str, verb: &str) -> Failure {
    let message = format!(
        "{uri} may not be {verb} by this worker; move it below one of its roots or add a root"
    );
    Failure::fatal("REF_NOT_ALLOWED", message)
}

fn cannot_read(uri: &str, error: &std::io::Error) -> Failure {
    if error.kind() == std::io::ErrorKind::NotFound {
        return missing(uri);
    }
    unreadable(uri, error)
}

fn missing(uri: &str) -> Failure {
    Failure::fatal("INPUT_NOT_FOUND", format!("{uri} does not exist"))
}

fn unreadable(uri: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::retryable("INPUT_UNREADABLE", format!("cannot read {uri}: {error}"))
}

fn as_declared(reference: &Ref, size_bytes: u64, checksum: &str) -> Result<(), Failure> {
    let size_differs = reference
        .size_bytes
        .is_some_and(|declared| declared != size_bytes);
    let sum_differs = reference.checksum.as_deref().is_some_and(|declared| {
        declared.starts_with("sha256:") && !declared.eq_ignore_ascii_case(checksum)
    });
    if !size_differs && !sum_differs {
        return Ok(());
    }
    let uri = &reference.uri;
    let message = format!("{uri} is {size_bytes} bytes with {checksum}, not what its ref declares");
    Err(Failure::fatal("INPUT_MISMATCH", message))
}

#[cfg(test)]
#[path = "refs_tests.rs"]
mod tests;
