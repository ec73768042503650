//! The port's calls, each brought to where it is answered.

use std::sync::Arc;

use async_trait::async_trait;
use lucius_domain::event::Recorded;
use lucius_domain::id::{Generation, JobId, PluginId, TenantId};
use lucius_domain::job::{DueKind, Job};
use lucius_domain::routing::Lane;
use lucius_domain::time::Timestamp;
use lucius_domain::transition::Change;
use lucius_ports::ledger::{
    Committed, Counts, Created, Error, Filter, GenerationRecord, Generations, Idempotency, Ledger,
};
use lucius_ports::pins::Pins;

use crate::row::{Encoded, Key, NewJob, number};
use crate::write::{self, CreateOutcome};
use crate::writer::Request;
use crate::{SqliteLedger, read};

impl SqliteLedger {
    async fn earlier(&self, job: JobId) -> Result<Created, Error> {
        let loaded = self.load(job).await?;
        loaded
            .map(Created::Duplicate)
            .ok_or_else(|| Error::Corrupt(format!("a key stands for job {job}, which has no row")))
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn create(&self, change: Change, idempotency: Idempotency) -> Result<Created, Error> {
        let id = change.job.id;
        let new = Box::new(NewJob::new(change, idempotency)?);
        match self.ask(|answer| Request::Create(new, answer)).await? {
            CreateOutcome::New { .. } => Ok(Created::New),
            CreateOutcome::Duplicate(job) => self.earlier(job).await,
            CreateOutcome::KeyReused(job) => Ok(Created::KeyReused(job)),
            CreateOutcome::IdTaken => Err(Error::Unavailable(format!(
                "the job id {id} is taken: use a new one"
            ))),
        }
    }

    async fn find(
        &self,
        tenant: &TenantId,
        idempotency: &Idempotency,
    ) -> Result<Option<Created>, Error> {
        let (tenant, key) = (tenant.clone(), Key::new(idempotency.key.clone()));
        let find = move |from: &_| Ok(write::find(from, tenant.as_str(), &key)?);
        let Some(taken) = self.readers.read(find).await? else {
            return Ok(None);
        };
        match taken.digest == idempotency.digest.0 {
            true => self.earlier(taken.job).await.map(Some),
            false => Ok(Some(Created::KeyReused(taken.job))),
        }
    }

    async fn load(&self, job: JobId) -> Result<Option<Arc<Job>>, Error> {
        if let Some(hot) = self.shared.hot.get(job) {
            return Ok(Some(hot.job));
        }
        let loaded = self.readers.read(move |from| read::load(from, job)).await?;
        Ok(loaded.map(Arc::new))
    }

    async fn commit(&self, change: Change) -> Result<Committed, Error> {
        let change = Box::new(Encoded::new(change)?);
        self.ask(|answer| Request::Commit(change, answer)).await
    }

    async fn due(
        &self,
        lane: Lane,
        kinds: &[DueKind],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<JobId>, Error> {
        let what = read::Due {
            lane,
            kinds: kinds.to_vec(),
            now,
            limit,
        };
        self.readers.read(move |from| read::due(from, &what)).await
    }

    async fn list(&self, filter: Filter) -> Result<Vec<Arc<Job>>, Error> {
        self.readers
            .read(move |from| read::list(from, &filter))
            .await
    }

    async fn events(
        &self,
        job: JobId,
        after_seq: u64,
        limit: usize,
    ) -> Result<Vec<Recorded>, Error> {
        let after = i64::try_from(after_seq).unwrap_or(i64::MAX); // there are no events beyond
        self.readers
            .read(move |from| read::events(from, job, after, limit))
            .await
    }

    async fn counts(&self) -> Result<Counts, Error> {
        self.readers.read(read::counts).await
    }
}

#[async_trait]
impl Pins for SqliteLedger {
    async fn jobs_of(&self, plugin: &PluginId, limit: usize) -> Result<Vec<JobId>, Error> {
        let plugin = plugin.clone();
        self.readers
            .read(move |from| read::jobs_of(from, plugin.as_str(), limit))
            .await
    }
}

#[async_trait]
impl Generations for SqliteLedger {
    async fn append(&self, record: GenerationRecord) -> Result<Committed, Error> {
        number(record.generation.0)?;
        self.ask(|answer| Request::Append(record, answer)).await
    }

    async fn generation(&self, generation: Generation) -> Result<Option<GenerationRecord>, Error> {
        // A number that cannot be stored is that of no generation.
        let Ok(number) = number(generation.0) else {
            return Ok(None);
        };
        self.readers
            .read(move |from| read::one_generation(from, number))
            .await
    }

    async fn latest(&self, limit: usize) -> Result<Vec<GenerationRecord>, Error> {
        self.readers
            .read(move |from| read::latest(from, limit))
            .await
    }
}
