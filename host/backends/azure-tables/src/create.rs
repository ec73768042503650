//! Making a job: once for each idempotency key, whoever else tries at the same moment.
//!
//! The key's row is the arbiter: whoever inserts it makes the job. It lies with the tenant and not with the job, so it
//! is written first, and a crash may leave a key whose job never came. Whoever finds such a key waits for a while, then
//! puts a row in the job's place that keeps it from ever being created, and takes the key over. So a host that was
//! only slow finds its job's place taken, and one command never makes two jobs.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use lucius_domain::id::{Digest, JobId, TenantId};
use lucius_domain::job::Job;
use lucius_domain::transition::Change;
use lucius_ports::ledger::{Created, Error, Idempotency};

use crate::TableLedger;
use crate::commit::{Announced, Landed, Write, change_time, follow};
use crate::known::End;
use crate::layout::document::{self, MOST_ROWS};
use crate::layout::due_row::DueRow;
use crate::layout::{
    idempotency_row, job_key, job_partition, job_row, listed_row, spec_row, tenant_partition,
};
use crate::service::{Entity, Expected, Key, Operation, Stored};

/// How long the job of a key is waited for, in steps.
const WAITS_MS: [u64; 6] = [50, 100, 200, 400, 800, 1_600];

/// How often a key is tried again because it was removed while it was looked at.
const REMOVED_MEANWHILE: u32 = 8;

/// A key's row as it was found.
struct Taken {
    job: JobId,
    digest: Digest,
    row: Stored,
}

/// A job about to be made.
struct NewJob {
    job: Arc<Job>,
    idempotency: Idempotency,
    write: Write,
    /// Of a job that is over from the start too, though none counts: clearing it away writes down the end.
    due_row: DueRow,
}

impl TableLedger {
    pub(crate) async fn create_job(
        &self,
        change: Change,
        idempotency: Idempotency,
    ) -> Result<Created, Error> {
        let new = self.new_job(change, idempotency)?;
        // The due row is needed only if the key is free, but then it must be there first; writing it at the same time
        // saves the usual command a round trip.
        let announced = self.write_due_row(&new.job, &new.due_row);
        let (reserved, announced) = futures_util::future::join(self.reserve(&new), announced).await;
        announced?;
        let mut taken = reserved?;
        let mut waits = WAITS_MS.into_iter();
        while let Some(other) = taken {
            if let Some(created) = self.earlier(&other, &new.idempotency).await? {
                self.bury(&new);
                return Ok(created);
            }
            taken = match waits.next() {
                Some(ms) => {
                    let clock = &self.tables.means().clock;
                    clock.sleep(Duration::from_millis(ms)).await;
                    self.reserve(&new).await?
                }
                None => self.take_over(&new, &other).await?,
            };
        }
        self.insert(&new).await
    }

    fn new_job(&self, change: Change, idempotency: Idempotency) -> Result<NewJob, Error> {
        let now = change_time(&change);
        let announced = self.announce(&change.job, None, now);
        let write_id = self.write_id();
        let job = job_row::encode(&change.job, announced.counts(), &write_id)?;
        let mut operations = vec![Operation::Insert(job)];
        let spec = document::encode("the job's spec", &*change.job.spec, MOST_ROWS)?;
        let id = change.job.id;
        let partition = job_partition(id);
        let spec = document::rows(&spec, |part| {
            Entity::new(partition.as_str(), spec_row(part))
        });
        operations.extend(spec.into_iter().map(Operation::Insert));
        let marker = follow(&mut operations, &change, &write_id)?;
        self.tables.check_fits(&self.names.jobs, &operations)?;
        Ok(NewJob {
            job: change.job,
            idempotency,
            write: Write {
                operations,
                marker,
                write_id,
            },
            due_row: match announced {
                Announced::New(row) | Announced::Kept(row) => row,
                Announced::Nothing => DueRow::new(now, id, self.random()),
            },
        })
    }

    /// The key's row, if it is there.
    async fn key_row(
        &self,
        tenant: &TenantId,
        idempotency: &Idempotency,
    ) -> Result<Option<Taken>, Error> {
        let key = Key {
            partition: tenant_partition(tenant),
            row: idempotency_row(&idempotency.key),
        };
        let Some(row) = self.tables.get(&self.names.tenants, &key, "").await? else {
            return Ok(None);
        };
        let job = row.text("job").and_then(JobId::parse);
        let digest = row.text("digest").and_then(Digest::parse);
        match (job, digest) {
            (Some(job), Some(digest)) => Ok(Some(Taken { job, digest, row })),
            (None, _) | (_, None) => Err(Error::Corrupt(format!(
                "the idempotency row {:?}",
                row.entity.key
            ))),
        }
    }

    /// What a key stands for; `None` when it is free, or its job never came.
    pub(crate) async fn find_key(
        &self,
        tenant: &TenantId,
        idempotency: &Idempotency,
    ) -> Result<Option<Created>, Error> {
        match self.key_row(tenant, idempotency).await? {
            Some(taken) => self.earlier(&taken, idempotency).await,
            None => Ok(None),
        }
    }

    /// What a taken key means for this command; `None` when its job is not there.
    async fn earlier(
        &self,
        taken: &Taken,
        idempotency: &Idempotency,
    ) -> Result<Option<Created>, Error> {
        match taken.digest == idempotency.digest {
            true => Ok(self.job(taken.job).await?.map(Created::Duplicate)),
            false => {
                let head = self.head(taken.job).await?;
                Ok(head.map(|_| Created::KeyReused(taken.job)))
            }
        }
    }

    /// Takes the key for this job, and puts the job on its tenant's list; the row of whoever has the key instead.
    async fn reserve(&self, new: &NewJob) -> Result<Option<Taken>, Error> {
        let operations = [
            Operation::Insert(new.key_entity()),
            Operation::Insert(new.listed_entity()),
        ];
        let tenant = &new.job.spec.tenant_id;
        let mut failed = 0;
        loop {
            match self.tables.transact(&self.names.tenants, &operations).await {
                Ok(Ok(_)) => return Ok(None),
                Ok(Err(_)) => match self.key_row(tenant, &new.idempotency).await? {
                    // This command's own row, from a try that was not answered.
                    Some(taken) if taken.job == new.job.id => return Ok(None),
                    Some(taken) => return Ok(Some(taken)),
                    // Its job was deleted meanwhile, and the key with it: it is free now.
                    None if failed < REMOVED_MEANWHILE => failed += 1,
                    None => {
                        return Err(Error::Unavailable(
                            "an idempotency key was removed meanwhile: send the command again"
                                .to_owned(),
                        ));
                    }
                },
                Err(error) => {
                    failed += 1;
                    self.tables.again(failed, error).await?;
                }
            }
        }
    }

    /// Makes sure that a key's job will never come, and takes the key; the row of whoever was faster.
    async fn take_over(&self, new: &NewJob, other: &Taken) -> Result<Option<Taken>, Error> {
        let tenant = &new.job.spec.tenant_id;
        if self.keep_out(other.job).await? {
            let operations = [
                Operation::Replace(new.key_entity(), Expected::At(other.row.etag.clone())),
                Operation::Insert(new.listed_entity()),
            ];
            let mut failed = 0;
            while let Err(error) = self.tables.transact(&self.names.tenants, &operations).await {
                failed += 1;
                self.tables.again(failed, error).await?;
            }
        }
        // Whatever became of it, the row says whose the key is.
        let taken = self.key_row(tenant, &new.idempotency).await?;
        Ok(taken.filter(|taken| taken.job != new.job.id))
    }

    /// Puts a row in a job's place, so that the job can never be created; false when the job is there.
    pub(crate) async fn keep_out(&self, job: JobId) -> Result<bool, Error> {
        let operations = [Operation::Insert(job_row::void(job))];
        let mut failed = 0;
        while let Err(error) = self.tables.transact(&self.names.jobs, &operations).await {
            failed += 1;
            self.tables.again(failed, error).await?;
        }
        let row = self
            .tables
            .get(&self.names.jobs, &job_key(job), "state")
            .await?;
        Ok(row.is_some_and(|row| row.text("state") == Some(job_row::VOID)))
    }

    async fn insert(&self, new: &NewJob) -> Result<Created, Error> {
        match self.write(&new.write).await? {
            Landed::Yes(etag) => {
                let end = End::of(&new.job);
                let counts = end.is_none().then_some(&new.due_row);
                self.note_written(&new.job, counts, etag);
                if end.is_some() {
                    let lane = new.job.spec.lane;
                    self.known.bury(lane, new.due_row.clone(), end);
                }
                Ok(Created::New)
            }
            Landed::No(failed) => {
                self.bury(new);
                let id = new.job.id;
                Err(Error::Unavailable(match failed.status {
                    StatusCode::CONFLICT => format!("the job id {id} is taken: use a new one"),
                    status => format!("job {id} was not taken: {status} {}", failed.code),
                }))
            }
        }
    }

    /// The job will not be created under this id.
    fn bury(&self, new: &NewJob) {
        let lane = new.job.spec.lane;
        self.known.bury(lane, new.due_row.clone(), None);
    }
}

impl NewJob {
    fn key_entity(&self) -> Entity {
        let row = idempotency_row(&self.idempotency.key);
        Entity::new(tenant_partition(&self.job.spec.tenant_id), row)
            .with("job", self.job.id.to_string())
            .with("digest", self.idempotency.digest.to_string())
    }

    fn listed_entity(&self) -> Entity {
        let spec = &self.job.spec;
        Entity::new(tenant_partition(&spec.tenant_id), listed_row(self.job.id))
            .with("request_type", spec.request_type.as_str())
            .with("key", idempotency_row(&self.idempotency.key))
    }
}
