//! Registry generations, a row each, later ones first. They are only ever appended.

use lucius_domain::id::{Digest, Generation};
use lucius_domain::time::Timestamp;
use lucius_ports::ledger::{Committed, Error, GenerationRecord};

use crate::TableLedger;
use crate::layout::{GENERATIONS, document, generation_row};
use crate::service::{Entity, Key, Operation, PAGE_ENTITIES, Query, Stored};

fn key(number: u64) -> Key {
    Key {
        partition: GENERATIONS.to_owned(),
        row: generation_row(number),
    }
}

impl TableLedger {
    pub(crate) async fn append_generation(
        &self,
        record: GenerationRecord,
    ) -> Result<Committed, Error> {
        let number = record.generation.0;
        // Rows never go, so that the one before is there stays true.
        let follows = match number.checked_sub(1) {
            None => false,
            Some(0) => true,
            Some(before) => self.generation_at(before).await?.is_some(),
        };
        if !follows {
            return Ok(Committed::Conflict);
        }
        let write_id = self.write_id();
        let Key { partition, row } = key(number);
        let manifest = document::encode("the registry's manifest", &record.manifest, 1)?;
        let entity = Entity::new(partition, row)
            .with("number", i64::try_from(number).unwrap_or(i64::MAX))
            .with("activated_at", record.activated_at.0)
            .with("digest", record.digest.to_string())
            .with("origin", json(&record.origin)?)
            .with("schemas", json(&record.schemas)?)
            .with("write_id", write_id.as_str());
        let operations = [Operation::Insert(document::put(entity, &manifest))];
        let mut failed = 0;
        loop {
            match self
                .tables
                .transact(&self.names.registry, &operations)
                .await
            {
                Ok(Ok(_)) => return Ok(Committed::Done),
                Ok(Err(_)) => {
                    // The row of an earlier try that was not answered, or that of another host.
                    let table = &self.names.registry;
                    let row = self.tables.get(table, &key(number), "write_id").await?;
                    let ours = row.is_some_and(|row| row.text("write_id") == Some(&write_id));
                    return Ok(match ours {
                        true => Committed::Done,
                        false => Committed::Conflict,
                    });
                }
                Err(error) => {
                    failed += 1;
                    self.tables.again(failed, error).await?;
                }
            }
        }
    }

    pub(crate) async fn generation_at(
        &self,
        number: u64,
    ) -> Result<Option<GenerationRecord>, Error> {
        let row = self
            .tables
            .get(&self.names.registry, &key(number), "")
            .await?;
        row.as_ref().map(decode).transpose()
    }

    pub(crate) async fn latest_generations(
        &self,
        limit: usize,
    ) -> Result<Vec<GenerationRecord>, Error> {
        let mut latest = Vec::new();
        let query = Query {
            filter: format!("PartitionKey eq '{GENERATIONS}'"),
            select: "",
            top: limit.min(PAGE_ENTITIES),
        };
        let mut next = None;
        while latest.len() < limit {
            let page = self
                .tables
                .page(&self.names.registry, &query, next.as_ref());
            let page = page.await?;
            for row in &page.entities {
                latest.push(decode(row)?);
            }
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        latest.truncate(limit);
        Ok(latest)
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Corrupt(error.to_string()))
}

fn decode(row: &Stored) -> Result<GenerationRecord, Error> {
    let read = || {
        Some(GenerationRecord {
            generation: Generation(u64::try_from(row.number("number")?).ok()?),
            activated_at: Timestamp(row.number("activated_at")?),
            digest: Digest::parse(row.text("digest")?)?,
            manifest: document::decode("the registry's manifest", &document::bytes(row)).ok()?,
            origin: serde_json::from_str(row.text("origin")?).ok()?,
            schemas: serde_json::from_str(row.text("schemas")?).ok()?,
        })
    };
    read().ok_or_else(|| Error::Corrupt(format!("the generation row {:?}", row.entity.key)))
}
