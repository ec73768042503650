//! The reference records: a map behind a lock. Nothing is durable.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use lucius_ports::ledger::Error;
use lucius_ports::records::{Key, Kind, Record, Records, Removed, Written, check_size};

/// Small documents, as long as the process lives.
#[derive(Debug, Default)]
pub struct MemoryRecords {
    records: Mutex<BTreeMap<(Kind, Key), Record>>,
}

impl MemoryRecords {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<(Kind, Key), Record>> {
        // Every change below is one step, so there is nothing half done.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Records for MemoryRecords {
    async fn get(&self, kind: Kind, key: &Key) -> Result<Option<Record>, Error> {
        Ok(self.records().get(&(kind, key.clone())).cloned())
    }

    async fn put(
        &self,
        kind: Kind,
        key: &Key,
        body: String,
        expected: Option<u64>,
    ) -> Result<Written, Error> {
        check_size(kind, key, &body)?;
        let mut records = self.records();
        let place = (kind, key.clone());
        if records.get(&place).map(|present| present.version) != expected {
            return Ok(Written::Conflict);
        }
        let version = expected.unwrap_or(0) + 1;
        let key = key.clone();
        records.insert(place, Record { key, version, body });
        Ok(Written::Done(version))
    }

    async fn remove(&self, kind: Kind, key: &Key, expected: u64) -> Result<Removed, Error> {
        let mut records = self.records();
        let place = (kind, key.clone());
        if records.get(&place).map(|present| present.version) != Some(expected) {
            return Ok(Removed::Conflict);
        }
        records.remove(&place);
        Ok(Removed::Done)
    }

    async fn list(
        &self,
        kind: Kind,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Record>, Error> {
        let records = self.records();
        let from = match after {
            Some(after) => {
                records.range((Bound::Excluded((kind, after.clone())), Bound::Unbounded))
            }
            None => records.range(..),
        };
        let of_kind = from.filter(|((of, _), _)| *of == kind);
        Ok(of_kind
            .take(limit)
            .map(|(_, record)| record.clone())
            .collect())
    }
}
