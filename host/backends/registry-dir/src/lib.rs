//! A registry in a folder: `registry.json` and what it names.
//!
//! Every file is opened once and read once, so that what is hashed is what is compiled. Paths stay below the
//! registry, symbolic links are not followed out of it, and anything that is not a regular file is refused. Bytes
//! that were activated are kept by their digest in a folder of the host's own; they serve restarts, rollbacks, and
//! jobs that hold an older generation.

use std::io::Read as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use lucius_domain::id::Digest;
use lucius_ports::registry::{Error, Source};

/// The largest manifest, in bytes.
const MANIFEST_LIMIT: u64 = 4 << 20;
/// The largest component or schema, in bytes. Components of interpreted languages have 12 to 18 MB.
const FILE_LIMIT: u64 = 32 << 20;

/// What the name of a file ends with that is still being written.
const UNFINISHED: &str = ".part";

/// A registry folder, and the folder that keeps what was activated.
#[derive(Clone, Debug)]
pub struct RegistryDir {
    root: PathBuf,
    kept: PathBuf,
}

impl RegistryDir {
    /// A registry at `root`; `kept` is made when it is first needed.
    pub fn new(root: impl Into<PathBuf>, kept: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            kept: kept.into(),
        }
    }

    fn below_root(&self, path: &str) -> Result<PathBuf, Error> {
        let plain = Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if path.is_empty() || !plain || path.contains(['\0', '\\']) {
            return Err(Error::Path(path.to_owned()));
        }
        let unreadable = |error: std::io::Error| Error::Unreadable(format!("{path}: {error}"));
        let root = self.root.canonicalize().map_err(unreadable)?;
        let file = root.join(path).canonicalize().map_err(unreadable)?;
        if file.starts_with(&root) {
            Ok(file)
        } else {
            Err(Error::Path(path.to_owned()))
        }
    }

    fn kept_path(&self, digest: Digest) -> PathBuf {
        self.kept.join(digest.to_string())
    }
}

#[async_trait]
impl Source for RegistryDir {
    async fn manifest(&self) -> Result<String, Error> {
        let path = self.root.join("registry.json");
        let folder = self.root.display().to_string();
        let bytes = blocking(move || read(&path, &folder, MANIFEST_LIMIT))
            .await
            .map_err(|error| {
                Error::Unreadable(format!("{error}; name the registry folder with --registry"))
            })?;
        String::from_utf8(bytes).map_err(|_| Error::Unreadable("is not UTF-8 text".to_owned()))
    }

    async fn file(&self, path: &str) -> Result<Arc<[u8]>, Error> {
        let (this, name) = (self.clone(), path.to_owned());
        let bytes = blocking(move || {
            this.below_root(&name)
                .and_then(|file| read(&file, &name, FILE_LIMIT))
        });
        Ok(bytes.await?.into())
    }

    async fn keep(&self, digest: Digest, bytes: Arc<[u8]>) -> Result<(), Error> {
        let (folder, path) = (self.kept.clone(), self.kept_path(digest));
        blocking(move || {
            if path.exists() {
                return Ok(());
            }
            write_whole(&folder, &path, &bytes)
                .map_err(|error| Error::Unreadable(format!("{}: {error}", path.display())))
        })
        .await
    }

    async fn kept(&self, digest: Digest) -> Result<Arc<[u8]>, Error> {
        let path = self.kept_path(digest);
        let name = format!("kept component {digest}");
        Ok(blocking(move || read(&path, &name, FILE_LIMIT))
            .await?
            .into())
    }

    async fn all_kept(&self) -> Result<Vec<Digest>, Error> {
        let folder = self.kept.clone();
        blocking(move || {
            let failed =
                |error: std::io::Error| Error::Unreadable(format!("{}: {error}", folder.display()));
            let entries = match std::fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(failed(error)),
            };
            let names = entries.map(|entry| Ok(entry?.file_name()));
            let names = names.collect::<Result<Vec<_>, _>>().map_err(failed)?;
            let kept = names.iter().filter_map(|name| {
                let name = name.to_str()?;
                Digest::parse(name.strip_suffix(UNFINISHED).unwrap_or(name))
            });
            Ok(kept.collect())
        })
        .await
    }

    async fn forget(&self, digest: Digest) -> Result<(), Error> {
        let path = self.kept_path(digest);
        blocking(move || remove(&unfinished(&path)).and_then(|()| remove(&path))).await
    }
}

fn read(path: &Path, name: &str, limit: u64) -> Result<Vec<u8>, Error> {
    let unreadable = |error: std::io::Error| Error::Unreadable(format!("{name}: {error}"));
    // Asked before opening: opening a FIFO would wait for its writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(Error::Unreadable(format!("{name} is not a regular file")));
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(Error::TooLarge {
            name: name.to_owned(),
            limit,
        });
    }
    Ok(bytes)
}

/// Where a file is written until it is whole. Who is killed over it leaves it there; it counts as kept, so that it is
/// dropped with what nobody needs.
fn unfinished(path: &Path) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(UNFINISHED);
    path.into()
}

fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::Unreadable(format!("{}: {error}", path.display()))),
    }
}

/// Writes beside the place, syncs, and renames, so that a file under its name is always whole.
fn write_whole(folder: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    std::fs::create_dir_all(folder)?;
    let unfinished = unfinished(path);
    let mut file = std::fs::File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    std::fs::File::open(folder)?.sync_all()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::Unreadable(format!("reading was cut off: {error}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> (tempfile::TempDir, RegistryDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("registry");
        std::fs::create_dir_all(root.join("components")).expect("a registry");
        std::fs::write(root.join("registry.json"), "{}").expect("a manifest");
        std::fs::write(root.join("components/a.wasm"), b"bytes").expect("a component");
        std::fs::write(folder.path().join("secret"), b"secret").expect("a file outside");
        let source = RegistryDir::new(root, folder.path().join("kept"));
        (folder, source)
    }

    #[tokio::test]
    async fn it_reads_what_is_below_the_registry() {
        let (_folder, source) = registry();
        assert_eq!(source.manifest().await, Ok("{}".to_owned()));
        assert_eq!(
            source.file("components/a.wasm").await.as_deref(),
            Ok(&b"bytes"[..])
        );
    }

    #[tokio::test]
    async fn w27_a_path_that_leaves_the_registry_is_refused() {
        let (folder, source) = registry();
        let link = folder.path().join("registry/components/link.wasm");
        std::os::unix::fs::symlink(folder.path().join("secret"), link).expect("a link");
        for path in [
            "../secret",
            "/etc/hostname",
            "components/../../secret",
            "",
            "a\0b",
            "components/link.wasm",
        ] {
            let refused = source.file(path).await;
            assert!(
                matches!(refused, Err(Error::Path(_))),
                "{path:?}: {refused:?}"
            );
        }
    }

    #[tokio::test]
    async fn w27_a_folder_is_not_a_component() {
        let (_folder, source) = registry();
        assert!(matches!(
            source.file("components").await,
            Err(Error::Unreadable(_))
        ));
        assert!(matches!(
            source.file("components/none.wasm").await,
            Err(Error::Unreadable(_))
        ));
    }

    #[tokio::test]
    async fn what_was_kept_is_found_by_its_digest() {
        let (_folder, source) = registry();
        let digest = Digest::of(b"bytes");
        assert!(source.kept(digest).await.is_err());
        for _ in 0..2 {
            source
                .keep(digest, Arc::from(&b"bytes"[..]))
                .await
                .expect("kept");
        }
        assert_eq!(source.kept(digest).await.as_deref(), Ok(&b"bytes"[..]));
    }

    #[tokio::test]
    async fn what_is_forgotten_is_gone_and_the_rest_stays() {
        let (folder, source) = registry();
        assert_eq!(source.all_kept().await, Ok(Vec::new()));
        let digests = [b"one", b"two"].map(|bytes| Digest::of(bytes));
        source
            .keep(digests[0], Arc::from(&b"one"[..]))
            .await
            .expect("kept");
        source
            .keep(digests[1], Arc::from(&b"two"[..]))
            .await
            .expect("kept");
        std::fs::write(folder.path().join("kept/notes.txt"), "mine").expect("a file");
        for _ in 0..2 {
            assert_eq!(source.forget(digests[0]).await, Ok(()));
        }
        assert_eq!(source.all_kept().await, Ok(vec![digests[1]]));
        assert!(source.kept(digests[0]).await.is_err());
    }

    #[tokio::test]
    async fn what_was_half_written_when_the_host_died_is_dropped_too() {
        let (folder, source) = registry();
        let digest = Digest::of(b"bytes");
        let half = folder.path().join(format!("kept/{digest}.part"));
        std::fs::create_dir(folder.path().join("kept")).expect("a folder");
        std::fs::write(&half, b"by").expect("a file");
        assert!(source.kept(digest).await.is_err());
        assert_eq!(source.all_kept().await, Ok(vec![digest]));
        assert_eq!(source.forget(digest).await, Ok(()));
        assert!(!half.exists());
    }
}
