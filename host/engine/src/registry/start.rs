//! How a host comes to its first generation: what is new in the registry, else the latest one, else the newest that can
//! be had.
//!
//! A registry that an operator rolled back from stays rolled back over restarts, until a reload asks for it again; so
//! does one that the breaker replaced. Where hosts share a ledger, only a registry that none of them has had lately is
//! new; see [`is_older`].

use std::sync::Mutex;

use arc_swap::ArcSwap;
use lucius_domain::id::{Digest, Generation, PluginId};
use lucius_domain::time::Timestamp;
use lucius_ports::ledger::{self, Committed, GenerationRecord, Generations, Origin};

use super::activate::{KEPT_GENERATIONS, Registry, Reload, keep, read, taken, workshop};
use super::prepare::{Bytes, Prepared, Workshop};
use super::standing::{Standing, note_serials};
use super::{EntryError, Manifest, Snapshot, one_line};
use crate::engine::Ports;
use crate::schema::Schemas;
use crate::settings::Settings;

/// Why the host has no registry to start with.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It is refused, and there is no earlier generation to fall back to.
    #[error("the registry is refused: {}", one_line(.0))]
    Refused(Vec<EntryError>),
    /// The ledger does not say which generation is live.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
}

impl Registry {
    /// Activates what the source holds if it is new, or falls back to the last generation that can be had; the status
    /// says which.
    ///
    /// # Errors
    /// There is nothing to start with.
    pub async fn start(
        ports: &Ports,
        schemas: &Schemas,
        settings: &Settings,
    ) -> Result<Self, StartError> {
        let loaded = Mutex::default();
        let workshop = workshop(ports, schemas, settings, &loaded);
        let now = ports.clock.now();
        let is_shared = settings.fleet.claim.is_some();
        let outcome = match start_with(&workshop, ports, now, is_shared).await? {
            // Hosts that start together with a new registry are no trouble: what the other appended is there now.
            Err(Refused::Taken(_)) => start_with(&workshop, ports, now, is_shared).await?,
            outcome => outcome,
        };
        let (snapshot, errors) = match outcome {
            Ok(snapshot) => (snapshot, Vec::new()),
            Err(refused) => {
                let errors = refused.into_errors();
                match last_good(&workshop, ports).await? {
                    Some(snapshot) => (snapshot, errors),
                    None => return Err(StartError::Refused(errors)),
                }
            }
        };
        let standing = Standing::read(&*ports.records, None).await?;
        Ok(Self {
            live: ArcSwap::from_pointee(snapshot),
            held: Mutex::default(),
            last_reload: Mutex::new(Reload { at: now, errors }),
            last_swap: Mutex::default(),
            single_flight: tokio::sync::Mutex::default(),
            untidy: tokio::sync::Notify::new(),
            loaded,
            quarantined: Mutex::new(standing.quarantined),
        })
    }
}

/// Why neither the registry nor the latest generation is live after a try.
enum Refused {
    /// This is wrong with it.
    Errors(Vec<EntryError>),
    /// Another host has appended the generation with this number meanwhile.
    Taken(Generation),
}

impl Refused {
    fn into_errors(self) -> Vec<EntryError> {
        match self {
            Self::Errors(errors) => errors,
            Self::Taken(number) => vec![taken(number)],
        }
    }
}

/// What a start makes live: the registry if it is new, else the latest generation.
async fn start_with(
    workshop: &Workshop<'_>,
    ports: &Ports,
    now: Timestamp,
    is_shared: bool,
) -> Result<Result<Snapshot, Refused>, ledger::Error> {
    let latest = ports.generations.latest(1).await?.pop();
    if let Some(latest) = &latest
        && let Ok(manifest) = workshop.source.manifest().await
        && let registry = Digest::of(manifest.as_bytes())
        && (stands_aside(&*ports.generations, latest, registry).await?
            || is_shared && is_older(&*ports.generations, latest, registry).await?)
    {
        let restored = restore(workshop, latest).await;
        return Ok(restored.map_err(Refused::Errors));
    }
    let live = match &latest {
        Some(latest) => serials_of(latest),
        None => Vec::new(),
    };
    let mut standing = Standing::read(&*ports.records, None).await?;
    standing.raise(live);
    let (prepared, record) = match read(workshop, latest.as_ref(), &standing, now).await {
        Ok(read) => read,
        Err(errors) => return Ok(Err(Refused::Errors(errors))),
    };
    let Prepared {
        snapshot,
        materials,
    } = prepared;
    if let Err(error) = keep(&*ports.source, materials).await {
        return Ok(Err(Refused::Errors(vec![error])));
    }
    if let Some(record) = record {
        let number = record.generation;
        if ports.generations.append(record).await? == Committed::Conflict {
            return Ok(Err(Refused::Taken(number)));
        }
    }
    note_serials(&*ports.records, &snapshot).await?;
    Ok(Ok(snapshot))
}

/// True when the registry is as it was when it was last read, and another generation was put in its place since: by a
/// rollback, or by the breaker.
async fn stands_aside(
    generations: &dyn Generations,
    latest: &GenerationRecord,
    registry: Digest,
) -> Result<bool, ledger::Error> {
    let mut before = latest.clone();
    while before.origin != Origin::Source {
        let number = Generation(before.generation.0.saturating_sub(1));
        let Some(found) = generations.generation(number).await? else {
            return Ok(false);
        };
        before = found;
    }
    Ok(latest.origin != Origin::Source && before.digest == registry)
}

/// True when the registry is that of an earlier generation. Where hosts share a ledger, a host that starts with files
/// of before a change, as in the middle of a roll-out, follows the others; to go back, somebody has to ask for it.
async fn is_older(
    generations: &dyn Generations,
    latest: &GenerationRecord,
    registry: Digest,
) -> Result<bool, ledger::Error> {
    let known = generations.latest(KEPT_GENERATIONS).await?;
    Ok(latest.digest != registry && known.iter().any(|it| it.digest == registry))
}

fn serials_of(record: &GenerationRecord) -> Vec<(PluginId, u64)> {
    let manifest: Option<Manifest> = serde_json::from_str(&record.manifest).ok();
    let plugins = manifest.into_iter().flat_map(|manifest| manifest.plugins);
    plugins
        .filter_map(|plugin| Some((plugin.id, plugin.signature?.serial)))
        .collect()
}

/// Makes a generation that was live from the kept bytes.
async fn restore(
    workshop: &Workshop<'_>,
    record: &GenerationRecord,
) -> Result<Snapshot, Vec<EntryError>> {
    let from = Bytes::Kept(&record.schemas);
    let (number, at) = (record.generation, record.activated_at);
    let prepared = workshop.prepare(&record.manifest, from, number, at).await?;
    Ok(prepared.snapshot)
}

/// The newest generation that can be had.
async fn last_good(
    workshop: &Workshop<'_>,
    ports: &Ports,
) -> Result<Option<Snapshot>, ledger::Error> {
    for record in ports.generations.latest(KEPT_GENERATIONS).await? {
        match restore(workshop, &record).await {
            Ok(snapshot) => return Ok(Some(snapshot)),
            Err(errors) => {
                let reasons = one_line(&errors);
                tracing::error!(generation = %record.generation, reasons, "a generation cannot be restored");
            }
        }
    }
    Ok(None)
}
