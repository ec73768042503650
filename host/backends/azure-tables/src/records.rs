//! Records: a row each, in the order of their keys, changed by compare-and-swap on the row's ETag.
//!
//! A write carries a number of its own, so that one whose answer was lost is known again. When others have written on
//! top meanwhile it cannot be known any more, and the answer is that it is unknown. A removal leaves nothing to know
//! it by: the record that was to go and is gone counts as removed.

use async_trait::async_trait;
use lucius_ports::ledger::Error;
use lucius_ports::records::{Key, Kind, Record, Records, Removed, Written, check_size};

use crate::TableLedger;
use crate::layout::{document, record_row};
use crate::service::{self, Entity, Expected, Operation, PAGE_ENTITIES, Query, Stored};

fn row_key(kind: Kind, key: &Key) -> service::Key {
    service::Key {
        partition: kind.0.to_owned(),
        row: record_row(key.as_str()),
    }
}

impl TableLedger {
    async fn record_row(&self, kind: Kind, key: &Key) -> Result<Option<Stored>, Error> {
        let key = row_key(kind, key);
        Ok(self.tables.get(&self.names.records, &key, "").await?)
    }

    /// What became of a write of a version, when an earlier try was not answered.
    async fn written(
        &self,
        (kind, key): (Kind, &Key),
        version: u64,
        write_id: &str,
    ) -> Result<Written, Error> {
        let row = self.record_row(kind, key).await?;
        match row.as_ref().map(decode).transpose()? {
            Some(record) if record.version == version => {
                let ours = row.is_some_and(|row| row.text("write_id") == Some(write_id));
                Ok(match ours {
                    true => Written::Done(version),
                    false => Written::Conflict,
                })
            }
            Some(_) | None => Err(Error::Unavailable(format!(
                "others were at {} {key} before it was known what became of a write",
                kind.0
            ))),
        }
    }
}

#[async_trait]
impl Records for TableLedger {
    async fn get(&self, kind: Kind, key: &Key) -> Result<Option<Record>, Error> {
        let row = self.record_row(kind, key).await?;
        row.as_ref().map(decode).transpose()
    }

    async fn put(
        &self,
        kind: Kind,
        key: &Key,
        body: String,
        expected: Option<u64>,
    ) -> Result<Written, Error> {
        check_size(kind, key, &body)?;
        let version = expected.unwrap_or(0).saturating_add(1);
        let write_id = self.write_id();
        let service::Key { partition, row } = row_key(kind, key);
        let entity = Entity::new(partition, row)
            .with("key", key.as_str())
            .with("version", i64::try_from(version).unwrap_or(i64::MAX))
            .with("write_id", write_id.as_str());
        let entity = document::put(entity, body.as_bytes());
        let operation = match expected {
            None => Operation::Insert(entity),
            Some(expected) => match self.record_row(kind, key).await? {
                Some(row) if decode(&row)?.version == expected => {
                    Operation::Replace(entity, Expected::At(row.etag))
                }
                Some(_) | None => return Ok(Written::Conflict),
            },
        };
        let operations = [operation];
        let mut failed = 0;
        loop {
            match self.tables.transact(&self.names.records, &operations).await {
                Ok(Ok(_)) => return Ok(Written::Done(version)),
                Ok(Err(_)) if failed == 0 => return Ok(Written::Conflict),
                Ok(Err(_)) => return self.written((kind, key), version, &write_id).await,
                Err(error) => {
                    failed += 1;
                    self.tables.again(failed, error).await?;
                }
            }
        }
    }

    async fn remove(&self, kind: Kind, key: &Key, expected: u64) -> Result<Removed, Error> {
        let etag = match self.record_row(kind, key).await? {
            Some(row) if decode(&row)?.version == expected => row.etag,
            Some(_) | None => return Ok(Removed::Conflict),
        };
        let operations = [Operation::Delete(row_key(kind, key), Expected::At(etag))];
        let mut failed = 0;
        loop {
            match self.tables.transact(&self.names.records, &operations).await {
                Ok(Ok(_)) => return Ok(Removed::Done),
                Ok(Err(_)) if failed == 0 => return Ok(Removed::Conflict),
                Ok(Err(_)) => {
                    let row = self.record_row(kind, key).await?;
                    return Ok(match row {
                        None => Removed::Done,
                        Some(_) => Removed::Conflict,
                    });
                }
                Err(error) => {
                    failed += 1;
                    self.tables.again(failed, error).await?;
                }
            }
        }
    }

    async fn list(
        &self,
        kind: Kind,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Record>, Error> {
        let mut filter = format!("PartitionKey eq '{}'", kind.0);
        if let Some(after) = after {
            filter.push_str(&format!(" and RowKey gt '{}'", record_row(after.as_str())));
        }
        let query = Query {
            filter,
            select: "",
            top: limit.min(PAGE_ENTITIES),
        };
        let mut records = Vec::new();
        let mut next = None;
        while records.len() < limit {
            let page = self.tables.page(&self.names.records, &query, next.as_ref());
            let page = page.await?;
            for row in &page.entities {
                records.push(decode(row)?);
            }
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        records.truncate(limit);
        Ok(records)
    }
}

fn decode(row: &Stored) -> Result<Record, Error> {
    let read = || {
        Some(Record {
            key: Key::parse(row.text("key")?)?,
            version: u64::try_from(row.number("version")?).ok()?,
            body: String::from_utf8(document::bytes(row)).ok()?,
        })
    };
    read().ok_or_else(|| Error::Corrupt(format!("the record {:?}", row.entity.key)))
}
