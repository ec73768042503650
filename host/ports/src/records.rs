//! Records: small documents with a version, for everything that is kept and is neither a job nor a generation.
//!
//! Keys of clients, pauses, redrives, hosts and the lanes they claim: each is one kind, owned by the engine module that
//! gives it its type ([`Document`]). A record is written against the version that was read, so that two hosts
//! cannot both have their way; a conflict is a normal outcome. Writes are durable before they are answered.
//!
//! As with the ledger, an error means *unknown*, not *failed*: whoever gets one reads the record and looks.

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ledger::Error;

/// The largest body, in bytes. Text of this size fits into one property of a table entity, in any script.
pub const MAX_BODY_BYTES: usize = 30_000;

/// A kind of record: a short name in lower case, known at compile time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub &'static str);

/// What a record is called within its kind: 1 to 200 visible ASCII characters without `/ \ # ? %`, which some stores do
/// not take in a key. Keys are ordered as their bytes are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    const MAX_BYTES: usize = 200;

    /// A key that is made of allowed characters already; `None` when it is not.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=Self::MAX_BYTES).contains(&text.len());
        let plain = text.bytes().all(|it| Self::is_allowed(it) || it == b'~');
        (fits && plain).then(|| Self(text.to_owned()))
    }

    /// A key for any text that is not empty: what is not allowed in a key is written as `~` and two hexadecimal
    /// digits a byte, and what gets too long ends in a digest. Different texts have different keys.
    pub fn of(text: &str) -> Self {
        let mut key = String::with_capacity(text.len());
        for byte in text.bytes() {
            if Self::is_allowed(byte) {
                key.push(char::from(byte));
            } else {
                key.push_str(&format!("~{byte:02x}"));
            }
        }
        if key.is_empty() {
            key.push('~');
        }
        if key.len() > Self::MAX_BYTES {
            let digest = lucius_domain::id::Digest::of(text.as_bytes()).to_string();
            key.truncate(Self::MAX_BYTES - digest.len() - 2);
            key.push_str("~~");
            key.push_str(&digest);
        }
        Self(key)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `~` is what [`Key::of`] escapes with, so it escapes that too.
    fn is_allowed(byte: u8) -> bool {
        byte.is_ascii_graphic() && !b"/\\#?%~".contains(&byte)
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A record as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name within the kind.
    pub key: Key,
    /// 1 when it is new, one more with every write. A key that was removed starts again at 1.
    pub version: u64,
    /// JSON.
    pub body: String,
}

/// What writing a record came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is durable, as this version.
    Done(u64),
    /// It is at another version, or there when it should not be, or gone; nothing was written.
    Conflict,
}

/// What removing a record came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It is gone, durably.
    Done,
    /// It is at another version, or gone already; nothing was written.
    Conflict,
}

/// Small versioned documents.
#[async_trait]
pub trait Records: Send + Sync {
    /// One record.
    async fn get(&self, kind: Kind, key: &Key) -> Result<Option<Record>, Error>;

    /// Writes a record on top of version `expected`; with `None` it must not be there yet. A body over
    /// [`MAX_BODY_BYTES`] is [`Error::Corrupt`].
    async fn put(
        &self,
        kind: Kind,
        key: &Key,
        body: String,
        expected: Option<u64>,
    ) -> Result<Written, Error>;

    /// Removes version `expected` of a record.
    async fn remove(&self, kind: Kind, key: &Key, expected: u64) -> Result<Removed, Error>;

    /// The records of a kind whose key comes after `after`, in the order of their keys.
    async fn list(
        &self,
        kind: Kind,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Record>, Error>;
}

/// What a kind of record holds.
pub trait Document: Serialize + DeserializeOwned + Send {
    /// Its kind.
    const KIND: Kind;
}

/// A document as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// Its name.
    pub key: Key,
    /// The version to write on.
    pub version: u64,
    /// What it says.
    pub document: T,
}

impl dyn Records + '_ {
    /// Reads a document.
    ///
    /// # Errors
    /// As [`Records::get`]; [`Error::Corrupt`] when this version does not understand what it says.
    pub async fn read<T: Document>(&self, key: &Key) -> Result<Option<Versioned<T>>, Error> {
        let found = self.get(T::KIND, key).await?;
        found.map(understand).transpose()
    }

    /// Writes a document on top of the version that was read; with `None` it must not be there yet.
    ///
    /// # Errors
    /// As [`Records::put`].
    pub async fn write<T: Document + Sync>(
        &self,
        key: &Key,
        document: &T,
        expected: Option<u64>,
    ) -> Result<Written, Error> {
        let body =
            serde_json::to_string(document).map_err(|error| Error::Corrupt(error.to_string()))?;
        self.put(T::KIND, key, body, expected).await
    }

    /// Reads a page of documents; see [`Records::list`].
    ///
    /// # Errors
    /// As [`Records::list`]; [`Error::Corrupt`] when this version does not understand one.
    pub async fn page<T: Document>(
        &self,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Versioned<T>>, Error> {
        let found = self.list(T::KIND, after, limit).await?;
        found.into_iter().map(understand).collect()
    }

    /// Reads every document of a kind.
    ///
    /// # Errors
    /// As [`Records::list`]; [`Error::Corrupt`] when this version does not understand one.
    pub async fn all<T: Document>(&self) -> Result<Vec<Versioned<T>>, Error> {
        const PAGE: usize = 500;
        let mut all: Vec<Versioned<T>> = Vec::new();
        loop {
            let after = all.last().map(|last| last.key.clone());
            let page = self.page(after.as_ref(), PAGE).await?;
            let is_last = page.len() < PAGE;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }
}

fn understand<T: Document>(record: Record) -> Result<Versioned<T>, Error> {
    let Record { key, version, body } = record;
    let document = serde_json::from_str(&body)
        .map_err(|error| Error::Corrupt(format!("{} {key}: {error}", T::KIND.0)))?;
    Ok(Versioned {
        key,
        version,
        document,
    })
}

/// Says no to a body that not every store could keep.
///
/// # Errors
/// [`Error::Corrupt`], with the sizes.
pub fn check_size(kind: Kind, key: &Key, body: &str) -> Result<(), Error> {
    if body.len() <= MAX_BODY_BYTES {
        return Ok(());
    }
    let bytes = body.len();
    Err(Error::Corrupt(format!(
        "{} {key} has {bytes} bytes, a record has at most {MAX_BODY_BYTES}",
        kind.0
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hold_any_text_and_different_texts_differ() {
        let long = "ü".repeat(300);
        let texts = ["a", "A", "a b", "a~20b", "a/b", "größe", "", " ", &long];
        let keys: std::collections::BTreeSet<Key> = texts.iter().map(|it| Key::of(it)).collect();
        assert_eq!(keys.len(), texts.len());
        for key in &keys {
            assert_eq!(Key::parse(key.as_str()).as_ref(), Some(key));
        }
        assert_ne!(Key::of(&long), Key::of(&format!("{long}ü")));
    }

    #[test]
    fn what_some_store_would_not_take_is_no_key() {
        for text in ["", "a/b", "a\\b", "a#b", "a?b", "a%b", "a b", "ä", "a\n"] {
            assert_eq!(Key::parse(text), None, "{text:?}");
        }
        assert_eq!(Key::parse(&"x".repeat(201)), None);
    }
}
