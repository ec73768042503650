//! Ledger and bus with somebody feeling their pulse at every write.

use std::sync::Arc;

use async_trait::async_trait;
use lucius_domain::event::Recorded;
use lucius_domain::id::{JobId, TenantId};
use lucius_domain::job::{DueKind, Job};
use lucius_domain::routing::Lane;
use lucius_domain::time::Timestamp;
use lucius_domain::transition::Change;
use lucius_ports::bus::{self, Bus, Message};
use lucius_ports::ledger::{Committed, Counts, Created, Error, Filter, Idempotency, Ledger};

use super::{Health, Store};

pub(super) struct Watched<T: ?Sized> {
    health: Arc<Health>,
    inner: Arc<T>,
}

impl<T: ?Sized> Watched<T> {
    pub(super) fn new(health: &Arc<Health>, inner: Arc<T>) -> Self {
        let health = Arc::clone(health);
        Self { health, inner }
    }
}

impl Watched<dyn Ledger> {
    /// A store that refuses one job for what it is, is well.
    fn wrote<T>(&self, answer: Result<T, Error>) -> Result<T, Error> {
        let worked = !matches!(answer, Err(Error::Unavailable(_)));
        self.health.beat(Store::Ledger, worked);
        answer
    }
}

#[async_trait]
impl Ledger for Watched<dyn Ledger> {
    async fn create(&self, change: Change, idempotency: Idempotency) -> Result<Created, Error> {
        self.wrote(self.inner.create(change, idempotency).await)
    }

    async fn find(
        &self,
        tenant: &TenantId,
        idempotency: &Idempotency,
    ) -> Result<Option<Created>, Error> {
        self.inner.find(tenant, idempotency).await
    }

    async fn load(&self, job: JobId) -> Result<Option<Arc<Job>>, Error> {
        self.inner.load(job).await
    }

    async fn commit(&self, change: Change) -> Result<Committed, Error> {
        self.wrote(self.inner.commit(change).await)
    }

    async fn due(
        &self,
        lane: Lane,
        kinds: &[DueKind],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<JobId>, Error> {
        self.inner.due(lane, kinds, now, limit).await
    }

    async fn list(&self, filter: Filter) -> Result<Vec<Arc<Job>>, Error> {
        self.inner.list(filter).await
    }

    async fn events(
        &self,
        job: JobId,
        after_seq: u64,
        limit: usize,
    ) -> Result<Vec<Recorded>, Error> {
        self.inner.events(job, after_seq, limit).await
    }

    async fn counts(&self) -> Result<Counts, Error> {
        self.inner.counts().await
    }
}

#[async_trait]
impl Bus for Watched<dyn Bus> {
    async fn publish(&self, message: &Message) -> Result<(), bus::Error> {
        let published = self.inner.publish(message).await;
        let worked = !matches!(published, Err(bus::Error::Unavailable(_)));
        self.health.beat(Store::Bus, worked);
        published
    }

    async fn check(&self) -> Result<(), bus::Error> {
        self.inner.check().await
    }
}
