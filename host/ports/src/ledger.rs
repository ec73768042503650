//! The ledger: jobs, steps, outbox and events; the only source of truth.
//!
//! It speaks in whole jobs. A commit carries the version it was decided on, the job as it is from now on, the events
//! that made it so and what they mean for the outbox, and it happens as one transaction or not at all. That another
//! writer was faster is a normal outcome, not an error: load, decide again.
//!
//! A store error means *unknown*, not *failed*: the commit may have happened. Whoever gets one loads the job and
//! looks.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use lucius_domain::event::Recorded;
use lucius_domain::id::{Digest, Generation, JobId, ProtocolId, RequestType, TenantId};
use lucius_domain::job::{DueKind, Job};
use lucius_domain::routing::{Lane, Mode};
use lucius_domain::signature::{self, Signature};
use lucius_domain::time::Timestamp;
use lucius_domain::transition::Change;
use serde::{Deserialize, Serialize};

/// Why the ledger did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It may have happened or not; ask again later.
    #[error("the ledger is unavailable: {0}")]
    Unavailable(String),
    /// What is stored cannot be understood by this version; it is left as it is.
    #[error("the ledger holds something this version does not understand: {0}")]
    Corrupt(String),
    /// It is more than this ledger takes for one job or one commit; nothing was written and nothing ever will be.
    #[error("the ledger does not take so much at once: {0}")]
    TooLarge(String),
}

/// What makes a command the same as another, within its tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key, or one made from the digest; see [`Idempotency::key_of`].
    pub key: String,
    /// The command's canonical digest.
    pub digest: Digest,
}

impl Idempotency {
    /// The stored key: a client's key and a digest can never be taken for each other.
    pub fn key_of(client_key: Option<&str>, digest: Digest) -> Self {
        let key = match client_key {
            Some(key) => format!("key:{key}"),
            None => format!("digest:{digest}"),
        };
        Self { key, digest }
    }
}

/// What creating a job came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Created {
    /// The job is durable.
    New,
    /// The same command was accepted before, as this job; nothing was written.
    Duplicate(Arc<Job>),
    /// The key was used for another command; nothing was written.
    KeyReused(JobId),
}

/// What a commit came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is durable.
    Done,
    /// The job is at another version; nothing was written.
    Conflict,
}

/// Which jobs to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only this tenant's.
    pub tenant_id: Option<TenantId>,
    /// Only in this public state: `QUEUED`, `IN_PROGRESS`, ...
    pub state: Option<&'static str>,
    /// Only of this request type.
    pub request_type: Option<RequestType>,
    /// Only of this protocol.
    pub protocol_id: Option<ProtocolId>,
    /// Only failed ones with this code.
    pub error_code: Option<String>,
    /// Only failed ones with this signature.
    pub signature: Option<signature::Id>,
    /// Only jobs accepted at this moment or later, by the moment in their id.
    pub from: Option<Timestamp>,
    /// Only jobs accepted before this moment, by the moment in their id.
    pub until: Option<Timestamp>,
    /// Only jobs that come after this one, newest first.
    pub after: Option<JobId>,
    /// At most this many.
    pub limit: usize,
}

impl Filter {
    /// The ids that jobs of these moments and after this place can have: from the first one, up to but without the
    /// second.
    pub fn id_range(&self) -> (Option<JobId>, Option<JobId>) {
        let until = self.until.map(JobId::first_at);
        let end = match (until, self.after) {
            (Some(until), Some(after)) => Some(until.min(after)),
            (until, after) => until.or(after),
        };
        (self.from.map(JobId::first_at), end)
    }

    /// Whether a job is one of those, limit and order aside.
    pub fn means(&self, job: &Job) -> bool {
        fn is<T: PartialEq>(asked: Option<&T>, found: &T) -> bool {
            asked.is_none_or(|asked| asked == found)
        }
        let (first, end) = self.id_range();
        let Self {
            tenant_id,
            state,
            request_type,
            protocol_id,
            error_code,
            signature,
            from: _,
            until: _,
            after: _,
            limit: _,
        } = self;
        is(tenant_id.as_ref(), &job.spec.tenant_id)
            && is(state.as_ref(), &job.progress.status.name())
            && is(request_type.as_ref(), &job.spec.request_type)
            && is(protocol_id.as_ref(), &job.spec.protocol_id)
            && error_code
                .as_ref()
                .is_none_or(|code| job.failure().is_some_and(|it| it.code == *code))
            && signature.is_none_or(|id| Signature::of(job).is_some_and(|it| it.id() == id))
            && first.is_none_or(|first| job.id >= first)
            && end.is_none_or(|end| job.id < end)
    }
}

/// Jobs that are not terminal, counted for the gates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By tenant and mode.
    pub in_flight: BTreeMap<(TenantId, ModeKey), u64>,
    /// Directives that wait to be published, by lane; lanes without any may be left out.
    pub outbox_pending: BTreeMap<Lane, u64>,
}

/// A mode as a sortable key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ModeKey {
    /// DEFAULT.
    Default,
    /// BURST.
    Burst,
}

impl From<Mode> for ModeKey {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Default => Self::Default,
            Mode::Burst => Self::Burst,
        }
    }
}

/// Jobs, steps, outbox, events.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Writes a new job (version 1), its events and its outbox rows, unless the tenant used the key before. Many of
    /// the same at once: one is [`Created::New`], the rest are not.
    async fn create(&self, change: Change, idempotency: Idempotency) -> Result<Created, Error>;

    /// What [`Ledger::create`] would say of this key without writing anything: `None` when it is free, else
    /// [`Created::Duplicate`] or [`Created::KeyReused`].
    async fn find(
        &self,
        tenant: &TenantId,
        idempotency: &Idempotency,
    ) -> Result<Option<Created>, Error>;

    /// The job as it is now.
    async fn load(&self, job: JobId) -> Result<Option<Arc<Job>>, Error>;

    /// Replaces version `change.expected` of the job, and appends events and outbox rows, in one transaction.
    async fn commit(&self, change: Change) -> Result<Committed, Error>;

    /// Jobs in `lane` whose due time of one of `kinds` is at or before `now`, the longest due first. `Dispatch` reads
    /// the outbox: rows that are PENDING and may be published by now.
    async fn due(
        &self,
        lane: Lane,
        kinds: &[DueKind],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<JobId>, Error>;

    /// Jobs, newest first.
    async fn list(&self, filter: Filter) -> Result<Vec<Arc<Job>>, Error>;

    /// A job's events after `after_seq` (0 for all), in order.
    async fn events(
        &self,
        job: JobId,
        after_seq: u64,
        limit: usize,
    ) -> Result<Vec<Recorded>, Error>;

    /// The counts for the gates.
    async fn counts(&self) -> Result<Counts, Error>;
}

/// A registry generation on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationRecord {
    /// Its number, from 1, no gaps.
    pub generation: Generation,
    /// When it was activated.
    pub activated_at: Timestamp,
    /// SHA-256 of the manifest.
    pub digest: Digest,
    /// The manifest's text.
    pub manifest: String,
    /// How it came to be.
    #[serde(default)]
    pub origin: Origin,
    /// The payload schemas that came from the registry with it, by name; their bytes are kept.
    #[serde(default)]
    pub schemas: BTreeMap<String, Digest>,
}

/// How a generation came to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Origin {
    /// The registry was read.
    #[default]
    Source,
    /// An operator went back to an earlier one.
    Rollback {
        /// Which.
        to: Generation,
    },
    /// A plugin of the one before was quarantined, and another version took over.
    Quarantine {
        /// The component that was taken out of service.
        digest: Digest,
    },
}

/// The registry generations that were ever activated.
#[async_trait]
pub trait Generations: Send + Sync {
    /// Appends a generation; it must be the one after the latest (1 when there is none).
    async fn append(&self, record: GenerationRecord) -> Result<Committed, Error>;

    /// One generation.
    async fn generation(&self, number: Generation) -> Result<Option<GenerationRecord>, Error>;

    /// The latest ones, newest first.
    async fn latest(&self, limit: usize) -> Result<Vec<GenerationRecord>, Error>;
}
