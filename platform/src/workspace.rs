//! Where an attempt's artifacts go.
//!
//! Every attempt has a folder of its own, `<workspace>/<tenant>/<jobId>/<step_type>/<attempt_no>/`,
//! so two attempts that run at once (the first one late, the second one current) never see each
//! other's files. Artifacts appear whole: each is staged, synced to disk and renamed, because the
//! RESULT that names it may be the last thing this machine ever sends.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use object_store::buffered::BufWriter;
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use url::Url;

use crate::buckets;
use crate::contract::{Directive, FailureClass, Ref};
use crate::refs::{Reader, Roots, Scope, checksum_of, object_path};
use crate::service::{Artifact, Failure};

/// The folder of one attempt.
#[derive(Debug, Clone)]
pub struct Workspace {
    dir: PathBuf,
    roots: Arc<Roots>,
}

/// What an artifact is, beside its bytes.
#[derive(Debug, Clone)]
pub struct Label<'a> {
    /// The file name: `text.txt`. One path segment.
    pub name: &'a str,
    /// The media type: `text/plain`.
    pub content_type: &'a str,
    /// What plugins and later steps rely on.
    pub metadata: Map<String, Value>,
}

/// The three places of one attempt: where it writes, what it may read, where its client looks.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) workspace: Workspace,
    pub(crate) reader: Reader,
    /// Nothing when the service sees to the output itself.
    pub(crate) output: Option<OutputFolder>,
}

impl Places {
    /// Makes the attempt's folder and the client's output folder, so that work whose outcome could
    /// not be stored is not even begun. See [`Service::places_results`] for services to which that
    /// is not the worker's business.
    ///
    /// [`Service::places_results`]: crate::service::Service::places_results
    pub(crate) async fn open(
        roots: &Arc<Roots>,
        directive: &Directive,
        places_results: bool,
    ) -> Result<Self, Failure> {
        let named = roots.writable_dir(&directive.workspace_ref.uri, None).await;
        let workspace_root = match (named, roots.first_writable()) {
            (Err(refused), Some(lent))
                if places_results && refused.class == FailureClass::NonRetryable =>
            {
                lent.to_owned()
            }
            (named, _) => named?,
        };
        let tenant_dir = workspace_root.join(segment(&directive.tenant_id));
        let scope = Scope {
            workspace_root,
            tenant_dir,
        };
        let dir = scope
            .tenant_dir
            .join(segment(&directive.job_id))
            .join(segment(&directive.step_type))
            .join(directive.attempt_no.to_string());
        let dir = roots.writable_dir(&folder_uri(&dir)?, Some(&scope)).await?;
        let output = match places_results {
            true => None,
            false => Some(OutputFolder::open(roots, &directive.output_ref.uri, &scope).await?),
        };
        Ok(Self {
            workspace: Workspace {
                dir,
                roots: Arc::clone(roots),
            },
            reader: Reader {
                roots: Arc::clone(roots),
                scope,
            },
            output,
        })
    }
}

impl Workspace {
    /// The folder itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder as a URI.
    pub fn uri(&self) -> Result<String, Failure> {
        folder_uri(&self.dir)
    }

    /// Writes an artifact; one of the same name in this attempt is replaced.
    ///
    /// Fails with `WORKSPACE_NOT_WRITABLE` for now, when the disk is full or the folder is gone.
    pub async fn write(&self, label: Label<'_>, bytes: Bytes) -> Result<Artifact, Failure> {
        let Label {
            name,
            content_type,
            metadata,
        } = label;
        let path = self.dir.join(segment(name));
        let size_bytes = bytes.len() as u64;
        let checksum = checksum_of(Sha256::new_with_prefix(&bytes));
        self.roots
            .files
            .put(&object_path(&path)?, bytes.into())
            .await
            .map_err(|error| not_writable("WORKSPACE_NOT_WRITABLE", &path, &error))?;
        Ok(Artifact {
            uri: file_uri(&path)?,
            content_type: Some(content_type.to_owned()),
            size_bytes: Some(size_bytes),
            checksum: Some(checksum),
            metadata,
        })
    }
}

impl Workspace {
    /// The file behind an artifact that [`Self::write`] made.
    fn file_of(&self, artifact: &Artifact) -> Result<PathBuf, Failure> {
        let path = Url::parse(&artifact.uri)
            .ok()
            .and_then(|url| url.to_file_path().ok());
        path.filter(|path| path.starts_with(&self.dir))
            .ok_or_else(|| {
                let message = format!("{} is no file of this attempt's workspace", artifact.uri);
                Failure::fatal("ARTIFACT_OUTSIDE_WORKSPACE", message)
            })
    }
}

/// Where the client wants the main artifact.
#[derive(Debug, Clone)]
pub(crate) enum OutputFolder {
    /// A folder of this machine.
    Local {
        dir: PathBuf,
        files: Arc<dyn ObjectStore>,
    },
    /// A folder of a container or bucket.
    Bucket(buckets::Place),
}

impl OutputFolder {
    async fn open(roots: &Roots, uri: &str, scope: &Scope) -> Result<Self, Failure> {
        if !buckets::is_local(uri) {
            return Ok(Self::Bucket(roots.buckets.writable(uri)?));
        }
        Ok(Self::Local {
            dir: roots.writable_dir(uri, Some(scope)).await?,
            files: Arc::clone(&roots.files),
        })
    }

    /// The store, the name in it, and the URI of what is called `name` here.
    fn target(&self, name: &str) -> Result<(Arc<dyn ObjectStore>, StorePath, String), Failure> {
        match self {
            Self::Local { dir, files } => {
                let path = dir.join(name);
                Ok((Arc::clone(files), object_path(&path)?, file_uri(&path)?))
            }
            Self::Bucket(place) => {
                let (path, uri) = place.below(name);
                Ok((Arc::clone(&place.store), path, uri))
            }
        }
    }

    /// Copies an artifact of `workspace` to `<step_id>.<ext>`, where `<ext>` is the artifact's own.
    pub(crate) async fn deliver(
        &self,
        artifact: &Artifact,
        workspace: &Workspace,
        step_id: &str,
    ) -> Result<Ref, Failure> {
        let source = workspace.file_of(artifact)?;
        let extension = source.extension().and_then(|e| e.to_str()).unwrap_or("bin");
        let name = format!("{}.{extension}", segment(step_id));
        let (store, path, uri) = self.target(&name)?;
        let failed = |error: &dyn std::fmt::Display| {
            Failure::retryable(
                "OUTPUT_NOT_WRITABLE",
                format!("cannot write {uri}: {error}"),
            )
        };

        let mut from = tokio::fs::File::open(&source)
            .await
            .map_err(|e| failed(&e))?;
        let mut to = BufWriter::new(store, path);
        if let Err(error) = tokio::io::copy(&mut from, &mut to).await {
            // Else the parts that are there already stay in the bucket, unseen and paid for.
            if let Err(error) = to.abort().await {
                tracing::warn!(%error, uri, "parts of an output that failed may be left in its bucket");
            }
            return Err(failed(&error));
        }
        to.shutdown().await.map_err(|e| failed(&e))?;
        Ok(Ref {
            uri,
            ..Ref::from(artifact.clone())
        })
    }
}

/// What common file systems allow is 255; the rest is left for staging suffixes.
const SEGMENT_MAX_BYTES: usize = 200;

/// One safe path segment for any text: letters, digits, `-` and `_` stay, and `.` unless it leads;
/// every other byte becomes `%` and two hex digits. What would be too long ends in its SHA-256.
/// Different texts give different segments.
pub fn segment(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => safe.push(char::from(byte)),
            b'.' if at > 0 => safe.push('.'),
            other => safe.push_str(&format!("%{other:02X}")),
        }
    }
    if safe.len() > SEGMENT_MAX_BYTES {
        let digest = checksum_of(Sha256::new_with_prefix(text)).replace(':', "-");
        // `~` is never kept from a text, so a shortened segment is no other text's plain one.
        safe.truncate(SEGMENT_MAX_BYTES - digest.len() - 1);
        safe = format!("{safe}~{digest}");
    }
    safe
}

fn folder_uri(dir: &Path) -> Result<String, Failure> {
    Url::from_directory_path(dir)
        .map(String::from)
        .map_err(|()| no_uri(dir))
}

fn file_uri(path: &Path) -> Result<String, Failure> {
    Url::from_file_path(path)
        .map(String::from)
        .map_err(|()| no_uri(path))
}

fn no_uri(path: &Path) -> Failure {
    Failure::fatal(
        "REF_INVALID",
        format!("the path {} has no URI", path.display()),
    )
}

fn not_writable(code: &'static str, path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::retryable(code, format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn a_tenant_cannot_leave_its_folder_by_name() {
        assert_eq!(segment("acme"), "acme");
        assert_eq!(
            segment("../../etc"),
            "%2E./".replace('/', "%2F") + "..%2Fetc"
        );
        assert_eq!(segment(".."), "%2E.");
        assert_eq!(segment("a/b\\c:d e"), "a%2Fb%5Cc%3Ad%20e");
        assert_eq!(segment("Müller"), "M%C3%BCller");
    }

    #[test]
    fn two_long_names_with_one_beginning_stay_apart() {
        let (one, two) = (segment(&"ü".repeat(300)), segment(&"ü".repeat(301)));
        assert!(one.len() <= 200 && two.len() <= 200);
        assert_ne!(one, two);
        assert!(!one.ends_with('%'));
    }
}
