//! The port's calls, each brought to where it is answered.

use std::sync::Arc;

use async_trait::async_trait;
use lucius_domain::event::Recorded;
use lucius_domain::id::{Generation, JobId, TenantId};
use lucius_domain::job::{DueKind, Job};
use lucius_domain::routing::Lane;
use lucius_domain::time::Timestamp;
use lucius_domain::transition::Change;
use lucius_ports::ledger::{
    Committed, Counts, Created, Error, Filter, GenerationRecord, Generations, Idempotency, Ledger,
};
use lucius_ports::pins::Pins;

use crate::TableLedger;
use crate::due::Wanted;

#[async_trait]
impl Ledger for TableLedger {
    async fn create(&self, change: Change, idempotency: Idempotency) -> Result<Created, Error> {
        self.create_job(change, idempotency).await
    }

    async fn find(
        &self,
        tenant: &TenantId,
        idempotency: &Idempotency,
    ) -> Result<Option<Created>, Error> {
        self.find_key(tenant, idempotency).await
    }

    async fn load(&self, job: JobId) -> Result<Option<Arc<Job>>, Error> {
        self.job(job).await
    }

    async fn commit(&self, change: Change) -> Result<Committed, Error> {
        self.commit_change(change).await
    }

    async fn due(
        &self,
        lane: Lane,
        kinds: &[DueKind],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<JobId>, Error> {
        let wanted = Wanted {
            lane,
            kinds,
            now,
            limit,
        };
        self.due_jobs(&wanted).await
    }

    async fn list(&self, filter: Filter) -> Result<Vec<Arc<Job>>, Error> {
        self.list_jobs(&filter).await
    }

    async fn events(
        &self,
        job: JobId,
        after_seq: u64,
        limit: usize,
    ) -> Result<Vec<Recorded>, Error> {
        self.events_of(job, after_seq, limit).await
    }

    async fn counts(&self) -> Result<Counts, Error> {
        self.count_jobs().await
    }
}

impl Pins for TableLedger {}

#[async_trait]
impl Generations for TableLedger {
    async fn append(&self, record: GenerationRecord) -> Result<Committed, Error> {
        self.append_generation(record).await
    }

    async fn generation(&self, number: Generation) -> Result<Option<GenerationRecord>, Error> {
        self.generation_at(number.0).await
    }

    async fn latest(&self, limit: usize) -> Result<Vec<GenerationRecord>, Error> {
        self.latest_generations(limit).await
    }
}
