//! The audit trail: who did what to the host, why, and what came of it.
//!
//! An entry is durable before its act begins, so that a crash in the middle leaves the question open instead of the
//! trail empty; what came of it is added when it is known, once. Nothing else ever changes an entry, and nothing but its
//! age removes one; see [`crate::retention`]. An act that cannot be put on record is not carried out.

use std::sync::Arc;

use lucius_domain::id::JobId;
use lucius_domain::time::Timestamp;
use lucius_ports::ledger::Error;
use lucius_ports::records::{Document, Key, Kind, Record, Records, Removed, Written};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The longest reason, path or detail that is kept, in characters.
const MAX_TEXT_CHARS: usize = 500;

/// One act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it began.
    pub at: Timestamp,
    /// Who did it: the name of the caller.
    pub who: String,
    /// What kind of act it is: the method and the route.
    pub act: String,
    /// What it was done to: the path that was called.
    pub path: String,
    /// Why, as the caller says.
    pub why: Option<String>,
    /// The request, as in the log.
    pub request_id: Option<String>,
    /// More about it, without secrets; known at the end.
    pub detail: Option<String>,
    /// The HTTP status it was answered with; absent while it is under way, or when the host died over it.
    pub status: Option<u16>,
}

impl Document for Entry {
    const KIND: Kind = Kind("audit");
}

/// An entry whose end is still to be told.
#[derive(Debug)]
pub struct Begun {
    key: Key,
    entry: Entry,
}

/// The trail of one deployment.
pub struct Audit {
    records: Arc<dyn Records>,
}

impl Audit {
    /// The trail in this store.
    pub fn new(records: Arc<dyn Records>) -> Self {
        Self { records }
    }

    /// Puts the beginning of an act on record. `id` is a new one; it keeps acts of one moment apart.
    ///
    /// # Errors
    /// It is not known whether it is on record: do not carry it out.
    pub async fn begin(&self, mut entry: Entry, id: JobId) -> Result<Begun, Error> {
        for text in [&mut entry.who, &mut entry.path]
            .into_iter()
            .chain(&mut entry.why)
        {
            *text = shortened(&*text);
        }
        let key = newest_first(entry.at, id);
        match self.records.write(&key, &entry, None).await? {
            Written::Done(_) => Ok(Begun { key, entry }),
            Written::Conflict => {
                let text = "the audit trail has this entry already, although ids are new";
                Err(Error::Unavailable(text.to_owned()))
            }
        }
    }

    /// Adds what came of it.
    ///
    /// # Errors
    /// The store does not say; the entry stays without an end.
    pub async fn end(&self, begun: Begun, status: u16, detail: Option<&str>) -> Result<(), Error> {
        let Begun { key, mut entry } = begun;
        entry.status = Some(status);
        entry.detail = detail.map(shortened);
        // A conflict means that the end is there: an answer of the store was lost, and it was written after all.
        self.records.write(&key, &entry, Some(1)).await.map(drop)
    }

    /// Removes the entries of acts that began before this moment, at most so many. Returns how many went.
    ///
    /// # Errors
    /// The store does not answer; some may be gone.
    pub async fn forget(&self, before: Timestamp, limit: usize) -> Result<usize, Error> {
        // No entry of that very moment has a greater key, since ids are greater than nothing.
        let after = newest_first(before, JobId(Uuid::max()));
        let old = self.records.list(Entry::KIND, Some(&after), limit).await?;
        for Record { key, version, .. } in &old {
            match self.records.remove(Entry::KIND, key, *version).await? {
                // A conflict means that another host has removed it, or told its end; then it goes the next time.
                Removed::Done | Removed::Conflict => {}
            }
        }
        Ok(old.len())
    }

    /// The trail, newest first, from after the given place, and the place where it goes on.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn list(
        &self,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<(Vec<Entry>, Option<Key>), Error> {
        let mut page = self.records.page::<Entry>(after, limit + 1).await?;
        let more = page.len() > limit;
        page.truncate(limit);
        let next = page.last().map(|last| last.key.clone()).filter(|_| more);
        Ok((page.into_iter().map(|it| it.document).collect(), next))
    }
}

/// Keys are listed in ascending order, so time runs backwards in them.
fn newest_first(at: Timestamp, id: JobId) -> Key {
    let before_the_end = i64::MAX.saturating_sub(at.0);
    Key::of(&format!("{before_the_end:016x}-{id}"))
}

fn shortened(text: impl AsRef<str>) -> String {
    text.as_ref().chars().take(MAX_TEXT_CHARS).collect()
}
