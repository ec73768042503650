//! The outbox rows that this host is publishing, so that it publishes none twice at the same time, and hears when
//! one of them is no longer PENDING.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lucius_domain::id::{AttemptNo, JobId};
use lucius_domain::transition::{Change, OutboxRow};

/// What names an outbox row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RowKey {
    pub(crate) job: JobId,
    pub(crate) step: usize,
    pub(crate) attempt: AttemptNo,
}

/// The rows that are held; the value says whether the row is over.
#[derive(Debug, Default)]
pub(crate) struct Outgoing(Mutex<HashMap<RowKey, bool>>);

/// A row that is held until this is dropped.
pub(crate) struct Hold<'a> {
    outgoing: &'a Outgoing,
    key: RowKey,
}

impl Outgoing {
    /// Takes a row for the caller alone; nothing when it is held already.
    pub(crate) fn hold(&self, key: RowKey) -> Option<Hold<'_>> {
        let mut held = self.lock();
        if held.contains_key(&key) {
            return None;
        }
        held.insert(key, false);
        drop(held);
        let outgoing = self;
        Some(Hold { outgoing, key })
    }

    /// A change is durable: rows that it ends need no further commit.
    pub(crate) fn committed(&self, change: &Change) {
        for row in &change.outbox {
            let key = RowKey {
                job: change.job.id,
                step: row.step,
                attempt: row.attempt_no,
            };
            match row.row {
                OutboxRow::Pending { .. } => {}
                OutboxRow::Sent | OutboxRow::FailedFinal | OutboxRow::Cancelled => {
                    if let Some(over) = self.lock().get_mut(&key) {
                        *over = true;
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RowKey, bool>> {
        // Each change to the map is one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold<'_> {
    /// Whether a commit has ended the row since it is held.
    pub(crate) fn is_over(&self) -> bool {
        self.outgoing.lock().get(&self.key).copied().unwrap_or(true)
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.outgoing.lock().remove(&self.key);
    }
}
