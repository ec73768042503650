//! Pauses: what an operator has stopped, by tenant, protocol, lane or plugin version, or everything.
//!
//! A pause *holds*: commands are accepted and their directives stay in the outbox, so nothing new reaches a worker; what
//! workers have goes on, and its callbacks count. A pause that *refuses* holds and turns new commands away as well.
//! Pauses are records, so they hold for every host of a ledger and over restarts; a host looks every [`FRESH_MS`].

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lucius_domain::id::{JobId, ProtocolId, TenantId};
use lucius_domain::job::{Job, JobSpec};
use lucius_domain::plugin::Pin;
use lucius_domain::routing::Lane;
use lucius_domain::time::Timestamp;
use lucius_ports::ledger::Error;
use lucius_ports::records::{Document, Key, Kind, Records, Removed, Written};
use serde::{Deserialize, Serialize};

/// How long a host goes by what it read, in milliseconds.
pub const FRESH_MS: u64 = 1_000;
/// The longest reason, in characters.
const MAX_REASON_CHARS: usize = 500;

/// What is paused. Written `everything`, `tenant:acme`, `protocol:ocr-embedding.v1`, `lane:3`, `plugin:ocr@1.0.0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Target {
    /// All jobs.
    Everything,
    /// One tenant's.
    Tenant(TenantId),
    /// Those of one protocol.
    Protocol(ProtocolId),
    /// Those of one lane.
    Lane(Lane),
    /// Those whose current step is decided by this plugin version, `<id>@<version>`.
    Plugin(String),
}

/// A text is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is nothing that can be paused: write everything, tenant:<id>, protocol:<id>, lane:<0-15> or plugin:<id>@<version>"
)]
pub struct NoTarget(String);

impl Target {
    /// # Errors
    /// It is not written like one.
    pub fn parse(text: &str) -> Result<Self, NoTarget> {
        let wrong = || NoTarget(text.chars().take(200).collect());
        if text == "everything" {
            return Ok(Self::Everything);
        }
        let (kind, name) = text.split_once(':').ok_or_else(wrong)?;
        if name.is_empty() || name.chars().count() > 256 {
            return Err(wrong());
        }
        match kind {
            "tenant" => Ok(Self::Tenant(TenantId::from(name))),
            "protocol" => Ok(Self::Protocol(ProtocolId::from(name))),
            "lane" => {
                let lane = Lane::all().find(|lane| lane.number().to_string() == name);
                lane.map(Self::Lane).ok_or_else(wrong)
            }
            "plugin" if name.contains('@') => Ok(Self::Plugin(name.to_owned())),
            _ => Err(wrong()),
        }
    }

    fn key(&self) -> Key {
        Key::of(&self.to_string())
    }

    /// True when a job is meant that these plugins have still to decide about.
    fn means<'a>(&self, spec: &JobSpec, pins: impl IntoIterator<Item = &'a Pin>) -> bool {
        match self {
            Self::Everything => true,
            Self::Tenant(tenant) => spec.tenant_id == *tenant,
            Self::Protocol(protocol) => spec.protocol_id == *protocol,
            Self::Lane(lane) => spec.lane == *lane,
            Self::Plugin(plugin) => pins.into_iter().any(|pin| pin.to_string() == *plugin),
        }
    }

    /// True when a job that is meant stays so: only who decides about it can change.
    fn is_for_good(&self) -> bool {
        match self {
            Self::Everything | Self::Tenant(_) | Self::Protocol(_) | Self::Lane(_) => true,
            Self::Plugin(_) => false,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("everything"),
            Self::Tenant(tenant) => write!(f, "tenant:{tenant}"),
            Self::Protocol(protocol) => write!(f, "protocol:{protocol}"),
            Self::Lane(lane) => write!(f, "lane:{}", lane.number()),
            Self::Plugin(plugin) => write!(f, "plugin:{plugin}"),
        }
    }
}

impl TryFrom<String> for Target {
    type Error = NoTarget;

    fn try_from(text: String) -> Result<Self, NoTarget> {
        Self::parse(&text)
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

/// What becomes of new commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Manner {
    /// They are accepted and wait.
    Hold,
    /// They are refused.
    Refuse,
}

/// One pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// What is paused.
    pub target: Target,
    /// What becomes of new commands.
    pub manner: Manner,
    /// Since when.
    pub since: Timestamp,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

impl Pause {
    fn shortened(mut self) -> Self {
        let shortened = |text: String| text.chars().take(MAX_REASON_CHARS).collect();
        self.reason = self.reason.map(shortened);
        self
    }
}

impl Document for Pause {
    const KIND: Kind = Kind("pause");
}

/// The pauses of one deployment, as one host sees them.
pub struct Pauses {
    records: Arc<dyn Records>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    at: Option<Timestamp>,
    pauses: Arc<[Pause]>,
    /// Jobs that were found to be held under these very pauses.
    held: HashMap<JobId, Held>,
}

#[derive(Clone, Copy)]
struct Held {
    lane: Lane,
    /// It stays held under these pauses, so a scan need not load it again. A job that is held for the plugin that
    /// decides about it can be moved to another one, by any host, without a pause changing.
    for_good: bool,
}

impl Pauses {
    /// The pauses in this store; nothing is read yet.
    pub fn new(records: Arc<dyn Records>) -> Self {
        let seen = Mutex::default();
        Self { records, seen }
    }

    /// All of them, as they are now.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn list(&self, now: Timestamp) -> Result<Arc<[Pause]>, Error> {
        let found = self.records.all::<Pause>().await?;
        let pauses: Arc<[Pause]> = found.into_iter().map(|it| it.document).collect();
        let mut seen = self.lock();
        if seen.pauses != pauses {
            seen.held.clear();
            seen.pauses = Arc::clone(&pauses);
        }
        seen.at = Some(now);
        Ok(pauses)
    }

    /// Pauses something, or changes how it is paused.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn pause(&self, pause: Pause) -> Result<(), Error> {
        let pause = pause.shortened();
        let now = pause.since;
        let key = pause.target.key();
        loop {
            let found = self.records.read::<Pause>(&key).await?;
            let version = found.map(|found| found.version);
            if let Written::Done(_) = self.records.write(&key, &pause, version).await? {
                break;
            }
        }
        self.list(now).await.map(drop)
    }

    /// Pauses something that is not paused. False when it is: that pause stays as it is.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn pause_unless_paused(&self, pause: Pause) -> Result<bool, Error> {
        let pause = pause.shortened();
        let key = pause.target.key();
        let written = self.records.write(&key, &pause, None).await?;
        self.list(pause.since).await?;
        Ok(match written {
            Written::Done(_) => true,
            Written::Conflict => false,
        })
    }

    /// Ends a pause. False when there was none.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn resume(&self, target: &Target, now: Timestamp) -> Result<bool, Error> {
        let key = target.key();
        let was_there = loop {
            let Some(found) = self.records.read::<Pause>(&key).await? else {
                break false;
            };
            match self
                .records
                .remove(Pause::KIND, &key, found.version)
                .await?
            {
                Removed::Done => break true,
                Removed::Conflict => {}
            }
        };
        self.list(now).await?;
        Ok(was_there)
    }

    /// The pause that turns a job away which these plugins have still to decide about, if there is one.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn refusing(
        &self,
        spec: &JobSpec,
        pins: &[&Pin],
        now: Timestamp,
    ) -> Result<Option<Pause>, Error> {
        let pauses = self.fresh(now).await?;
        let mut refusing = pauses.iter().filter(|pause| pause.manner == Manner::Refuse);
        let pause = refusing.find(|pause| pause.target.means(spec, pins.iter().copied()));
        Ok(pause.cloned())
    }

    /// True when the directive that the job has in the outbox is to stay there. When the store does not answer, what
    /// was seen last goes on to be so.
    pub(crate) async fn holds(&self, job: &Job, now: Timestamp) -> bool {
        let pauses = match self.fresh(now).await {
            Ok(pauses) => pauses,
            Err(error) => {
                tracing::warn!(%error, "the pauses cannot be read; those that are known go on");
                self.seen()
            }
        };
        let pin = job.plugin(job.progress.current);
        let mut is_held = false;
        let mut for_good = false;
        for pause in pauses.iter().filter(|it| it.target.means(&job.spec, pin)) {
            is_held = true;
            for_good |= pause.target.is_for_good();
        }
        let mut seen = self.lock();
        if is_held {
            let lane = job.spec.lane;
            seen.held.insert(job.id, Held { lane, for_good });
        } else {
            seen.held.remove(&job.id);
        }
        is_held
    }

    /// True when a job is known to be held, and nothing has changed since that could end it.
    pub(crate) async fn is_known_to_hold(&self, job: JobId, now: Timestamp) -> bool {
        let _fresh = self.fresh(now).await;
        let held = self.lock().held.get(&job).copied();
        held.is_some_and(|held| held.for_good)
    }

    /// Forgets the jobs of a lane that have nothing in the outbox any more, which are all that `waiting` leaves out: they
    /// were cancelled, say.
    pub(crate) fn keep_held(&self, lane: Lane, waiting: &[JobId]) {
        let mut seen = self.lock();
        if seen.held.is_empty() {
            return;
        }
        let waiting: HashSet<&JobId> = waiting.iter().collect();
        seen.held
            .retain(|job, held| held.lane != lane || waiting.contains(job));
    }

    /// The pauses as this host saw them last.
    pub fn seen(&self) -> Arc<[Pause]> {
        Arc::clone(&self.lock().pauses)
    }

    /// How many jobs are known to be held.
    pub fn held(&self) -> usize {
        self.lock().held.len()
    }

    async fn fresh(&self, now: Timestamp) -> Result<Arc<[Pause]>, Error> {
        {
            let seen = self.lock();
            if let Some(at) = seen.at
                && at <= now
                && now < at.plus_ms(FRESH_MS)
            {
                return Ok(Arc::clone(&seen.pauses));
            }
        }
        self.list(now).await
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_back_as_it_is_written() {
        for text in [
            "everything",
            "tenant:acme",
            "tenant:a:b",
            "protocol:atomic-ocr.v1",
            "lane:0",
            "lane:15",
            "plugin:ocr@1.0.0",
        ] {
            assert_eq!(Target::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "all",
            "tenant:",
            "lane:16",
            "lane:03",
            "lane:-1",
            "plugin:ocr",
            "step:ocr",
        ] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }
}
