//! What compiling has come to, kept on disk, so that a start compiles nothing.
//!
//! An entry is named after the component's digest and everything about the compiler that shapes its output, so an entry
//! of another version or processor is simply never found. It is sealed with a key that only this host has, name
//! included: a file that was put there by somebody else, swapped, or damaged does not pass and counts as absent.
//! Nothing is synced and nothing is locked; an entry is written aside and renamed, and the worst that a crash or a
//! second host can do is that something is compiled again.

use std::fs::{self, DirBuilder};
use std::hash::{Hash as _, Hasher};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::PathBuf;

use hmac::{Hmac, Mac as _};
use lucius_domain::id::Digest;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tempfile::NamedTempFile;
use wasmtime::Engine;

use crate::compiler::Bounds;
use crate::revive::Trusted;

/// Entries of another layout are never found.
const LAYOUT: &str = "lucius compile cache 1";
const SEAL_BYTES: usize = 32;
/// What an entry holds is said by its first byte after the seal.
const CODE: u8 = b'c';
const VERDICT: u8 = b'v';
/// Files that are larger are no entry.
const MAX_ENTRY_BYTES: u64 = 1 << 30;

/// Where compiled code is kept between starts.
#[derive(Clone, PartialEq, Eq)]
pub struct CacheSettings {
    /// A folder for nothing else; made if need be, for its owner alone.
    pub folder: PathBuf,
    /// Seals the entries; a secret of this host.
    pub key: [u8; 32],
    /// When the entries are more than this many bytes together, the oldest go.
    pub max_bytes: u64,
}

impl std::fmt::Debug for CacheSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            folder,
            key: _,
            max_bytes,
        } = self;
        f.debug_struct("CacheSettings")
            .field("folder", folder)
            .field("max_bytes", max_bytes)
            .finish_non_exhaustive()
    }
}

/// The opened cache.
pub(crate) struct Cache {
    settings: CacheSettings,
    /// What about the compiler shapes its output.
    compiler: Digest,
}

/// Compiling was stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// In words.
    pub(crate) why: String,
    /// What it was allowed.
    pub(crate) bounds: Bounds,
}

/// What an entry holds.
pub(crate) enum Entry {
    Code(Trusted),
    Stopped(Verdict),
}

impl Cache {
    /// Opens the folder.
    ///
    /// # Errors
    /// It cannot be made, or others may write into it.
    pub(crate) fn open(settings: CacheSettings, engine: &Engine) -> std::io::Result<Self> {
        let folder = &settings.folder;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let found = fs::symlink_metadata(folder)?;
        if !found.is_dir() || found.mode() & 0o077 != 0 {
            return Err(std::io::Error::other(
                "others may reach into it: make it a folder with mode 700",
            ));
        }
        let compiler = fingerprint(engine);
        Ok(Self { settings, compiler })
    }

    /// What is known of a component; damage and forgery count as nothing.
    pub(crate) fn find(&self, component: &Digest) -> Option<Entry> {
        let name = self.name(component);
        let path = self.path(&name);
        let size = fs::symlink_metadata(&path).ok()?;
        if !size.is_file() || size.len() > MAX_ENTRY_BYTES {
            return None;
        }
        let mut entry = fs::read(&path).ok()?;
        if entry.len() <= SEAL_BYTES {
            return None;
        }
        let content = entry.split_off(SEAL_BYTES);
        if self.seal(&name, &content).verify_slice(&entry).is_err() {
            tracing::warn!(entry = %path.display(), "an entry of the compile cache is not this host's work, or damaged: compiling again");
            return None;
        }
        let (kind, body) = content.split_first()?;
        match *kind {
            CODE => Some(Entry::Code(Trusted::sealed(body.to_vec()))),
            VERDICT => serde_json::from_slice(body).ok().map(Entry::Stopped),
            _ => None,
        }
    }

    /// Keeps compiled code. A disk that is full costs time at the next start and nothing else.
    pub(crate) fn keep_code(&self, component: &Digest, code: &Trusted) {
        self.keep(component, CODE, code.bytes());
    }

    /// Keeps that compiling was stopped.
    pub(crate) fn keep_verdict(&self, component: &Digest, verdict: &Verdict) {
        // Two plain fields always serialize.
        let text = serde_json::to_vec(verdict).unwrap_or_default();
        self.keep(component, VERDICT, &text);
    }

    fn keep(&self, component: &Digest, kind: u8, body: &[u8]) {
        let name = self.name(component);
        if let Err(error) = self.write(&name, kind, body).and_then(|()| self.tidy()) {
            let folder = self.settings.folder.display();
            tracing::warn!(%folder, "the compile cache cannot be written: {error}");
        }
    }

    fn write(&self, name: &str, kind: u8, body: &[u8]) -> std::io::Result<()> {
        let mut content = Vec::with_capacity(body.len().saturating_add(1));
        content.push(kind);
        content.extend_from_slice(body);
        // Readable by its owner alone, and so under its final name.
        let mut file = NamedTempFile::new_in(&self.settings.folder)?;
        file.write_all(&self.seal(name, &content).finalize().into_bytes())?;
        file.write_all(&content)?;
        file.persist(self.path(name)).map_err(|error| error.error)?;
        Ok(())
    }

    /// Removes the oldest entries while they are too many bytes together.
    fn tidy(&self) -> std::io::Result<()> {
        let mut files = Vec::new();
        for file in fs::read_dir(&self.settings.folder)? {
            let file = file?;
            let about = file.metadata()?;
            files.push((about.modified()?, about.len(), file.path()));
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in files {
            if total <= self.settings.max_bytes {
                break;
            }
            fs::remove_file(path)?;
            total = total.saturating_sub(bytes);
        }
        Ok(())
    }

    fn name(&self, component: &Digest) -> String {
        let parts = [self.compiler.to_string(), component.to_string()];
        Digest::of(parts.concat().as_bytes()).to_string()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.settings.folder.join(name)
    }

    fn seal(&self, name: &str, content: &[u8]) -> Hmac<Sha256> {
        // HMAC takes a key of any length.
        #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
        let mut seal = Hmac::<Sha256>::new_from_slice(&self.settings.key).expect("any length");
        seal.update(name.as_bytes());
        seal.update(content);
        seal
    }
}

/// A digest of everything that shapes what the compiler makes.
fn fingerprint(engine: &Engine) -> Digest {
    /// Takes in what is hashed instead of hashing it.
    struct Everything(Vec<u8>);
    impl Hasher for Everything {
        fn write(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }
        // Nobody asks.
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut all = Everything(LAYOUT.as_bytes().to_vec());
    engine.precompile_compatibility_hash().hash(&mut all);
    Digest::of(&all.0)
}
