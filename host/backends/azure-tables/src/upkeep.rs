//! What operators ask beyond single jobs, answered from the lists: it costs the jobs that failed and those that are not
//! over, each read once. Deleting is in [`crate::past`].

use std::sync::Arc;

use async_trait::async_trait;
use lucius_domain::id::TenantId;
use lucius_domain::job::Job;
use lucius_domain::time::Timestamp;
use lucius_ports::ledger::{Error, Filter};
use lucius_ports::upkeep::{COUNTED, Failures, States, Upkeep};

use crate::TableLedger;

/// How many jobs are read at once.
const PAGE: usize = 500;

impl TableLedger {
    /// Every job in a state, newest first.
    async fn all_in(
        &self,
        state: &'static str,
        tenant: Option<&TenantId>,
    ) -> Result<Vec<Arc<Job>>, Error> {
        let mut all: Vec<Arc<Job>> = Vec::new();
        loop {
            let filter = Filter {
                tenant_id: tenant.cloned(),
                state: Some(state),
                after: all.last().map(|job| job.id),
                limit: PAGE,
                ..Filter::default()
            };
            let page = self.list_jobs(&filter).await?;
            let is_last = page.len() < PAGE;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }
}

#[async_trait]
impl Upkeep for TableLedger {
    async fn failures(
        &self,
        tenant: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<Failures>, Error> {
        let failed = self.all_in("FAILED_FINAL", tenant).await?;
        Ok(Failures::grouped(failed.iter().map(AsRef::as_ref), limit))
    }

    async fn states(&self) -> Result<States, Error> {
        let mut states = States::new();
        for state in COUNTED {
            let jobs = self.all_in(state, None).await?.len();
            states.insert(state, u64::try_from(jobs).unwrap_or(u64::MAX));
        }
        Ok(states)
    }

    async fn purge(&self, ended_before: Timestamp, limit: usize) -> Result<usize, Error> {
        self.purge_jobs(ended_before, limit).await
    }
}
