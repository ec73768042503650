//! The bytes of components and schemas where hosts share a ledger: kept in it, so that a host can run a generation that
//! another one activated from files that it alone has.
//!
//! They lie in the ledger as records, cut into pieces, so nothing else has to be set up, allowed and backed up. First
//! the pieces are written, then the [`Head`] that says they are whole; a crash in between leaves pieces that the next
//! try finds and goes on from, since a piece follows from the digest and its number. What comes back is checked
//! against the digest. Nothing is ever dropped: it grows with activations alone, which people make.
//!
//! On failure: a generation is not appended before its bytes are whole in here, and one whose bytes cannot be read
//! does not go live on that host, which tries again. Who finds bytes damaged marks their head, so that the next host
//! that keeps them, as it does at a start or a reload, writes them anew.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lucius_domain::id::Digest;
use lucius_ports::ledger;
use lucius_ports::records::{Document, Key, Kind, Records, Written};
use lucius_ports::registry::{Error, Source};
use serde::{Deserialize, Serialize};

/// The bytes of one piece; a third more in base64, and still within a record.
const PIECE_BYTES: usize = 21_000;
/// How many pieces are read at once.
const PAGE: usize = 100;

/// A source whose kept bytes are shared through the ledger. The registry itself, and a copy of what was kept, are this
/// host's own.
pub struct SharedSource {
    own: Arc<dyn Source>,
    records: Arc<dyn Records>,
}

/// Says that all pieces of some bytes are there.
#[derive(Serialize, Deserialize)]
struct Head {
    bytes: usize,
    /// Somebody read the pieces, and they were not what was kept.
    #[serde(default)]
    damaged: bool,
}

impl Document for Head {
    const KIND: Kind = Kind("kept-bytes");
}

/// Some of the bytes, in base64.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Piece(String);

impl Document for Piece {
    const KIND: Kind = Kind("kept-piece");
}

fn head_key(digest: Digest) -> Key {
    Key::of(&digest.to_string())
}

/// In the order of their numbers, and all of one digest together.
fn piece_key(digest: Digest, number: usize) -> Key {
    Key::of(&format!("{digest}-{number:06}"))
}

impl SharedSource {
    /// With this host's own registry, and the records of the ledger.
    pub fn new(own: Arc<dyn Source>, records: Arc<dyn Records>) -> Self {
        Self { own, records }
    }

    async fn share(&self, digest: Digest, bytes: &[u8]) -> Result<(), ledger::Error> {
        let key = head_key(digest);
        let head = self.records.read::<Head>(&key).await?;
        if head.as_ref().is_some_and(|head| !head.document.damaged) {
            return Ok(());
        }
        for (number, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
            let piece = Piece(STANDARD.encode(piece));
            self.write_piece(&piece_key(digest, number), piece).await?;
        }
        let whole = Head {
            bytes: bytes.len(),
            damaged: false,
        };
        // In conflict with a host that does the same.
        let expected = head.map(|head| head.version);
        self.records.write(&key, &whole, expected).await?;
        Ok(())
    }

    /// Writes a piece, also over one that is damaged.
    async fn write_piece(&self, key: &Key, piece: Piece) -> Result<(), ledger::Error> {
        if self.records.write(key, &piece, None).await? != Written::Conflict {
            return Ok(());
        }
        // As it is stored, since what is damaged may not be understood.
        let Some(found) = self.records.get(Piece::KIND, key).await? else {
            return Ok(());
        };
        let there: Option<Piece> = serde_json::from_str(&found.body).ok();
        if there.is_none_or(|there| there.0 != piece.0) {
            let expected = Some(found.version);
            self.records.write(key, &piece, expected).await?;
        }
        Ok(())
    }

    /// What was shared under a digest, if anything was.
    async fn shared(&self, digest: Digest) -> Result<Option<Vec<u8>>, ledger::Error> {
        let key = head_key(digest);
        let Some(head) = self.records.read::<Head>(&key).await? else {
            return Ok(None);
        };
        if !head.document.damaged {
            let bytes = self.joined(digest, head.document.bytes).await?;
            if let Some(bytes) = bytes.filter(|bytes| Digest::of(bytes) == digest) {
                return Ok(Some(bytes));
            }
            let damaged = Head {
                damaged: true,
                ..head.document
            };
            // In conflict with whoever found it, too, or has just written it anew.
            let expected = Some(head.version);
            self.records.write(&key, &damaged, expected).await?;
        }
        Err(ledger::Error::Corrupt(format!(
            "the bytes kept as {digest} are others: reload the registry on a host that has them"
        )))
    }

    /// The pieces of a digest in a row; nothing when one of them is none.
    async fn joined(&self, digest: Digest, size: usize) -> Result<Option<Vec<u8>>, ledger::Error> {
        let pieces = size.div_ceil(PIECE_BYTES);
        let mut bytes = Vec::with_capacity(size);
        // Before the first of them.
        let mut after = head_key(digest);
        let mut read = 0;
        while read < pieces {
            let wanted = PAGE.min(pieces - read);
            let page = self.records.list(Piece::KIND, Some(&after), wanted).await?;
            let Some(last) = page.last() else { break };
            after = last.key.clone();
            read += page.len();
            for record in &page {
                let piece: Option<Piece> = serde_json::from_str(&record.body).ok();
                let piece = piece.and_then(|piece| STANDARD.decode(piece.0).ok());
                let Some(piece) = piece else { return Ok(None) };
                bytes.extend(piece);
            }
        }
        Ok(Some(bytes))
    }
}

fn cannot(digest: Digest, error: &ledger::Error) -> Error {
    Error::Unreadable(format!("kept component {digest} in the ledger: {error}"))
}

#[async_trait]
impl Source for SharedSource {
    async fn manifest(&self) -> Result<String, Error> {
        self.own.manifest().await
    }

    async fn file(&self, path: &str) -> Result<Arc<[u8]>, Error> {
        self.own.file(path).await
    }

    async fn keep(&self, digest: Digest, bytes: Arc<[u8]>) -> Result<(), Error> {
        self.own.keep(digest, Arc::clone(&bytes)).await?;
        let shared = self.share(digest, &bytes).await;
        shared.map_err(|error| cannot(digest, &error))
    }

    async fn kept(&self, digest: Digest) -> Result<Arc<[u8]>, Error> {
        let missing = match self.own.kept(digest).await {
            Ok(bytes) => return Ok(bytes),
            Err(missing) => missing,
        };
        let shared = self.shared(digest).await;
        let bytes: Arc<[u8]> = shared
            .map_err(|error| cannot(digest, &error))?
            .ok_or(missing)?
            .into();
        self.own.keep(digest, Arc::clone(&bytes)).await?;
        Ok(bytes)
    }

    async fn all_kept(&self) -> Result<Vec<Digest>, Error> {
        self.own.all_kept().await
    }

    async fn forget(&self, digest: Digest) -> Result<(), Error> {
        self.own.forget(digest).await
    }
}
