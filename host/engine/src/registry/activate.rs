//! Which generation is live, and how the next one becomes so.
//!
//! Start, reload, rollback and the breaker all end here, one at a time: a generation is prepared off to the side, its
//! bytes are kept, it is appended to the ledger by compare-and-swap, and only then one pointer is swapped. A host that
//! is killed at any point has appended it or not; what it kept in vain is swept later. Nothing else is written before
//! the append, so there is nothing half-applied to find.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use lucius_domain::id::{Digest, Generation};
use lucius_domain::time::Timestamp;
use lucius_ports::ledger::{self, Committed, GenerationRecord, Origin};
use lucius_ports::registry::Source;

use super::plan::{Plan, held_back, successors};
use super::prepare::{Bytes, Materials, Prepared, Workshop};
use super::standing::{Quarantine, Standing, note_serials};
use super::{EntryError, Options, Snapshot, one_line};
use crate::Engine;
use crate::engine::Ports;
use crate::schema::Schemas;
use crate::settings::Settings;

/// How many generations can be rolled back to; the bytes of older ones are dropped once no job holds them.
pub const KEPT_GENERATIONS: usize = 10;

/// What the last attempt to activate a registry came to.
#[derive(Clone, Debug)]
pub struct Reload {
    /// When.
    pub at: Timestamp,
    /// What was wrong; empty when it went live.
    pub errors: Vec<EntryError>,
}

/// A generation that just went live.
#[derive(Clone)]
pub struct Activated {
    /// The generation.
    pub live: Arc<Snapshot>,
    /// What it changed.
    pub plan: Plan,
}

/// The live generation, and the ones that jobs still hold.
pub struct Registry {
    pub(super) live: ArcSwap<Snapshot>,
    pub(super) held: Mutex<BTreeMap<Generation, Arc<Snapshot>>>,
    pub(super) last_reload: Mutex<Reload>,
    /// How long the last swap of the pointer took.
    pub(super) last_swap: Mutex<Duration>,
    /// Held by whoever admits components or drops them, and whoever changes what is quarantined.
    pub(super) single_flight: tokio::sync::Mutex<()>,
    /// Rung when generations may have become free to forget.
    pub(super) untidy: tokio::sync::Notify,
    /// Components that the runtime was given and not told to drop, whatever became of the registry they are of.
    pub(super) loaded: Mutex<BTreeSet<Digest>>,
    /// Components that are quarantined, as this host knows.
    pub(super) quarantined: Mutex<BTreeMap<Digest, Quarantine>>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    /// The live generation.
    pub fn live(&self) -> Arc<Snapshot> {
        self.live.load_full()
    }

    /// What the last attempt came to.
    pub fn last_reload(&self) -> Reload {
        lock(&self.last_reload).clone()
    }

    /// How long it took to put the live generation in the place of the one before; zero when none was. Of all that a
    /// reload does, this alone happens in the way of requests.
    pub fn last_swap(&self) -> Duration {
        *lock(&self.last_swap)
    }

    /// The components that are quarantined.
    pub fn quarantined(&self) -> BTreeMap<Digest, Quarantine> {
        lock(&self.quarantined).clone()
    }

    pub(super) fn note_quarantine(&self, quarantine: Quarantine) {
        lock(&self.quarantined).insert(quarantine.plugin.digest, quarantine);
    }

    pub(super) fn forget_quarantine(&self, digest: Digest) {
        lock(&self.quarantined).remove(&digest);
    }

    pub(super) fn note_attempt(&self, at: Timestamp, errors: Vec<EntryError>) {
        *lock(&self.last_reload) = Reload { at, errors };
    }

    pub(super) fn swap(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        let snapshot = Arc::new(snapshot);
        let began = Instant::now();
        let before = self.live.swap(Arc::clone(&snapshot));
        *lock(&self.last_swap) = began.elapsed();
        self.hold(before);
        self.untidy.notify_one();
        snapshot
    }

    fn hold(&self, snapshot: Arc<Snapshot>) {
        lock(&self.held).insert(snapshot.generation, snapshot);
    }

    fn found(&self, number: Generation) -> Option<Arc<Snapshot>> {
        let live = self.live.load_full();
        if live.generation == number {
            return Some(live);
        }
        lock(&self.held).get(&number).cloned()
    }
}

impl Engine {
    /// What a reload would change. Nothing is done.
    ///
    /// # Errors
    /// Outside: the ledger did not answer. Inside: everything that is wrong.
    pub async fn plan(
        &self,
        options: Options,
    ) -> Result<Result<Plan, Vec<EntryError>>, ledger::Error> {
        let _one_at_a_time = self.registry.single_flight.lock().await;
        let outcome = self.candidate(options).await;
        self.registry.drop_unused(&*self.ports.runtime);
        Ok(outcome?.map(|candidate| candidate.plan))
    }

    /// Reads the registry again and, if nothing is wrong with it, makes it live.
    ///
    /// # Errors
    /// Outside: the ledger did not answer. Inside: everything that is wrong; the old generation stays live.
    pub async fn reload(
        &self,
        options: Options,
    ) -> Result<Result<Activated, Vec<EntryError>>, ledger::Error> {
        let _one_at_a_time = self.registry.single_flight.lock().await;
        let outcome = self.reload_alone(options).await;
        let errors = match &outcome {
            Ok(Ok(_)) => Vec::new(),
            Ok(Err(errors)) => errors.clone(),
            Err(error) => vec![EntryError::new("ledger", error)],
        };
        if !errors.is_empty() {
            tracing::warn!(
                reasons = one_line(&errors),
                "the registry is refused, the live generation stays"
            );
            self.registry.drop_unused(&*self.ports.runtime);
        }
        let now = self.ports.clock.now();
        self.registry.note_attempt(now, errors);
        outcome
    }

    async fn reload_alone(
        &self,
        options: Options,
    ) -> Result<Result<Activated, Vec<EntryError>>, ledger::Error> {
        let candidate = match self.candidate(options).await? {
            Ok(candidate) => candidate,
            Err(errors) => return Ok(Err(errors)),
        };
        let Candidate {
            prepared,
            record,
            plan,
        } = candidate;
        let Some(record) = record else {
            // What is live already is checked again, and takes the place of what was restored from kept bytes; and what
            // is missing of those is there again.
            if let Err(error) = keep(&*self.ports.source, prepared.materials).await {
                return Ok(Err(vec![error]));
            }
            let live = self.registry.swap(prepared.snapshot);
            return Ok(Ok(Activated { live, plan }));
        };
        let activated = self.activate(prepared, record).await?;
        Ok(activated.map(|live| Activated { live, plan }))
    }

    /// Keeps the bytes, appends the generation, swaps the pointer.
    pub(super) async fn activate(
        &self,
        prepared: Prepared,
        record: GenerationRecord,
    ) -> Result<Result<Arc<Snapshot>, Vec<EntryError>>, ledger::Error> {
        let Prepared {
            snapshot,
            materials,
        } = prepared;
        if let Err(error) = keep(&*self.ports.source, materials).await {
            return Ok(Err(vec![error]));
        }
        let number = record.generation;
        if self.ports.generations.append(record).await? == Committed::Conflict {
            return Ok(Err(vec![taken(number)]));
        }
        let live = self.registry.swap(snapshot);
        self.trials.keep_only(&live.trials);
        tracing::info!(generation = %number, "a registry generation is live");
        // Durable in the generation already; written once more so that it outlives the plugin's entry.
        if let Err(error) = note_serials(&*self.ports.records, &live).await {
            tracing::warn!(%error, "serials are not written down yet; the next reload does it");
        }
        Ok(Ok(live))
    }

    /// A generation that a job holds; taken from the ledger and the kept bytes when this host has not loaded it.
    ///
    /// # Errors
    /// Why it cannot be had; a job that needs it waits and tries again.
    pub(crate) async fn generation(&self, number: Generation) -> Result<Arc<Snapshot>, String> {
        if let Some(found) = self.registry.found(number) {
            return Ok(found);
        }
        let _one_at_a_time = self.registry.single_flight.lock().await;
        if let Some(found) = self.registry.found(number) {
            return Ok(found);
        }
        self.load_generation(number).await
    }

    /// The same for who is alone already.
    pub(super) async fn load_generation(
        &self,
        number: Generation,
    ) -> Result<Arc<Snapshot>, String> {
        if let Some(found) = self.registry.found(number) {
            return Ok(found);
        }
        let record = self.ports.generations.generation(number).await;
        let record = record.map_err(|error| error.to_string())?;
        let record = record.ok_or_else(|| format!("generation {number} is not in the ledger"))?;
        let workshop = self.workshop();
        let prepared = workshop
            .prepare(
                &record.manifest,
                Bytes::KeptForJobs,
                number,
                record.activated_at,
            )
            .await
            .map_err(|errors| one_line(&errors))?;
        let snapshot = Arc::new(prepared.snapshot);
        self.registry.hold(Arc::clone(&snapshot));
        Ok(snapshot)
    }

    pub(super) fn workshop(&self) -> Workshop<'_> {
        let loaded = &self.registry.loaded;
        workshop(&self.ports, &self.schemas, &self.settings, loaded)
    }

    /// Prepares what the registry holds now, and looks at all that it would change.
    async fn candidate(
        &self,
        options: Options,
    ) -> Result<Result<Candidate, Vec<EntryError>>, ledger::Error> {
        let live = self.registry.live();
        let standing = Standing::read(&*self.ports.records, Some(&live)).await?;
        let workshop = self.workshop();
        let latest = self.ports.generations.latest(1).await?.pop();
        let now = self.ports.clock.now();
        let read = read(&workshop, latest.as_ref(), &standing, now).await;
        let (prepared, record) = match read {
            Ok(read) => read,
            Err(errors) => return Ok(Err(errors)),
        };
        let mut plan = Plan::between(&live, &prepared.snapshot);
        let mut errors = held_back(&live, &prepared.snapshot, &standing);
        plan.count_jobs(&self.ports.pins.held().await?);
        for (from, to) in successors(&live, &prepared.snapshot) {
            let replay = self.replay(&from, &to, options.replay).await?;
            errors.extend(too_different(&replay, options.max_diff));
            plan.replays.push(replay);
        }
        if !errors.is_empty() {
            return Ok(Err(errors));
        }
        Ok(Ok(Candidate {
            prepared,
            record,
            plan,
        }))
    }
}

fn too_different(replay: &super::Replay, max_diff: Option<u64>) -> Option<EntryError> {
    let most = max_diff.filter(|most| replay.differing() > *most)?;
    Some(EntryError::new(
        format!("plugin {}", replay.to),
        format!(
            "decides otherwise than before, {most} differences are allowed: {replay}; look at the samples with \
             lucius registry plan, and mend it or allow more with --max-diff"
        ),
    ))
}

/// A registry that could go live.
struct Candidate {
    prepared: Prepared,
    /// What to append; nothing when it is the latest generation already.
    record: Option<GenerationRecord>,
    plan: Plan,
}

/// Reads the source and prepares it; the record is what to append, if it is not the latest generation already.
pub(super) async fn read(
    workshop: &Workshop<'_>,
    latest: Option<&GenerationRecord>,
    standing: &Standing,
    now: Timestamp,
) -> Result<(Prepared, Option<GenerationRecord>), Vec<EntryError>> {
    let manifest = workshop.source.manifest().await;
    let manifest = manifest.map_err(|error| vec![EntryError::new("registry.json", error)])?;
    let digest = Digest::of(manifest.as_bytes());
    let unchanged = latest.filter(|latest| latest.digest == digest);
    let (number, activated_at) = match (unchanged, latest) {
        (Some(same), _) => (same.generation, same.activated_at),
        (None, Some(latest)) => (Generation(latest.generation.0 + 1), now),
        (None, None) => (Generation(1), now),
    };
    let prepared = workshop
        .prepare(&manifest, Bytes::Registry(standing), number, activated_at)
        .await?;
    let record = unchanged.is_none().then(|| GenerationRecord {
        generation: number,
        activated_at,
        digest,
        manifest,
        origin: Origin::Source,
        schemas: prepared.materials.schemas.clone(),
    });
    Ok((prepared, record))
}

/// Keeps what a generation was made of; nothing is done about what is kept already.
pub(super) async fn keep(source: &dyn Source, materials: Materials) -> Result<(), EntryError> {
    for (digest, bytes) in materials.files {
        let kept = source.keep(digest, bytes).await;
        kept.map_err(|error| {
            let reason = format!("{digest} cannot be kept: {error}; see to the data directory");
            EntryError::new("registry.json", reason)
        })?;
    }
    Ok(())
}

pub(super) fn taken(number: Generation) -> EntryError {
    let reason = format!("another host has just activated generation {number}: reload again");
    EntryError::new("registry.json", reason)
}

pub(super) fn workshop<'a>(
    ports: &'a Ports,
    schemas: &'a Schemas,
    settings: &Settings,
    loaded: &'a Mutex<BTreeSet<Digest>>,
) -> Workshop<'a> {
    let cap = settings.plugin_cap;
    Workshop {
        runtime: &*ports.runtime,
        source: &*ports.source,
        schemas,
        cap,
        loaded,
    }
}
