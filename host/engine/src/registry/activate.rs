//! Which generation is live, and how the next one becomes so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use lucius_domain::id::{Digest, Generation};
use lucius_domain::time::Timestamp;
use lucius_ports::ledger::{self, Committed, GenerationRecord, Generations};

use super::prepare::{Bytes, Workshop};
use super::{EntryError, Snapshot};
use crate::engine::Ports;
use crate::schema::Schemas;
use crate::settings::Settings;

/// What the last attempt to activate a registry came to.
#[derive(Clone, Debug)]
pub struct Reload {
    /// When.
    pub at: Timestamp,
    /// What was wrong; empty when it went live.
    pub errors: Vec<EntryError>,
}

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

fn one_line(errors: &[EntryError]) -> String {
    errors
        .iter()
        .map(EntryError::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// The live generation, and the ones that jobs still hold.
pub struct Registry {
    live: ArcSwap<Snapshot>,
    held: Mutex<BTreeMap<Generation, Arc<Snapshot>>>,
    last_reload: Mutex<Reload>,
    single_flight: tokio::sync::Mutex<()>,
}

impl Registry {
    /// Activates what the source holds, or falls back to the last generation that was live; the status says which.
    ///
    /// # Errors
    /// There is nothing to start with.
    pub async fn start(
        ports: &Ports,
        schemas: &Schemas,
        settings: &Settings,
    ) -> Result<Self, StartError> {
        let workshop = workshop(ports, schemas, settings);
        let latest = ports.generations.latest(1).await?.pop();
        let now = ports.clock.now();
        let (snapshot, errors) =
            match activate(&workshop, &*ports.generations, latest.clone(), now).await? {
                Ok(snapshot) => (snapshot, Vec::new()),
                Err(errors) => {
                    let Some(latest) = latest else {
                        return Err(StartError::Refused(errors));
                    };
                    let restored = restore(&workshop, &latest, Bytes::Kept).await;
                    (
                        restored.map_err(|_| StartError::Refused(errors.clone()))?,
                        errors,
                    )
                }
            };
        Ok(Self {
            live: ArcSwap::from_pointee(snapshot),
            held: Mutex::default(),
            last_reload: Mutex::new(Reload { at: now, errors }),
            single_flight: tokio::sync::Mutex::default(),
        })
    }

    /// The live generation.
    pub fn live(&self) -> Arc<Snapshot> {
        self.live.load_full()
    }

    /// What the last attempt came to.
    pub fn last_reload(&self) -> Reload {
        self.last_reload
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Reads the source again and, if nothing is wrong with it, makes it live.
    ///
    /// # Errors
    /// Everything that is wrong; the old generation stays live.
    pub async fn reload(
        &self,
        ports: &Ports,
        schemas: &Schemas,
        settings: &Settings,
    ) -> Result<Result<Arc<Snapshot>, Vec<EntryError>>, ledger::Error> {
        let _one_at_a_time = self.single_flight.lock().await;
        let workshop = workshop(ports, schemas, settings);
        let latest = ports.generations.latest(1).await?.pop();
        let now = ports.clock.now();
        let outcome = activate(&workshop, &*ports.generations, latest, now).await?;
        let errors = outcome.as_ref().err().cloned().unwrap_or_default();
        *self
            .last_reload
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Reload { at: now, errors };
        Ok(outcome.map(|snapshot| {
            let snapshot = Arc::new(snapshot);
            let before = self.live.swap(Arc::clone(&snapshot));
            self.hold(before);
            snapshot
        }))
    }

    /// A generation that a job holds; taken from the ledger and the kept components when this host has not seen it.
    ///
    /// # Errors
    /// Why it cannot be had; a job that needs it waits and tries again.
    pub async fn generation(
        &self,
        number: Generation,
        ports: &Ports,
        schemas: &Schemas,
        settings: &Settings,
    ) -> Result<Arc<Snapshot>, String> {
        let live = self.live.load_full();
        if live.generation == number {
            return Ok(live);
        }
        let held = self
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&number)
            .cloned();
        if let Some(snapshot) = held {
            return Ok(snapshot);
        }
        let record = ports
            .generations
            .generation(number)
            .await
            .map_err(|error| error.to_string())?;
        let record = record.ok_or_else(|| format!("generation {number} is not in the ledger"))?;
        let workshop = workshop(ports, schemas, settings);
        let restored = restore(&workshop, &record, Bytes::KeptForJobs).await;
        let snapshot = Arc::new(restored.map_err(|errors| one_line(&errors))?);
        self.hold(Arc::clone(&snapshot));
        Ok(snapshot)
    }

    fn hold(&self, snapshot: Arc<Snapshot>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert(snapshot.generation, snapshot);
    }
}

fn workshop<'a>(ports: &'a Ports, schemas: &'a Schemas, settings: &Settings) -> Workshop<'a> {
    let cap = settings.plugin_cap;
    Workshop {
        runtime: &*ports.runtime,
        source: &*ports.source,
        schemas,
        cap,
    }
}

/// Prepares what the source holds and appends it to the ledger, unless it is the latest generation already.
async fn activate(
    workshop: &Workshop<'_>,
    generations: &dyn Generations,
    latest: Option<GenerationRecord>,
    now: Timestamp,
) -> Result<Result<Snapshot, Vec<EntryError>>, ledger::Error> {
    let manifest = match workshop.source.manifest().await {
        Ok(manifest) => manifest,
        Err(error) => return Ok(Err(vec![EntryError::new("registry.json", error)])),
    };
    let digest = Digest::of(manifest.as_bytes());
    let unchanged = latest.as_ref().filter(|latest| latest.digest == digest);
    let (number, activated_at) = match (unchanged, &latest) {
        (Some(same), _) => (same.generation, same.activated_at),
        (None, Some(latest)) => (Generation(latest.generation.0 + 1), now),
        (None, None) => (Generation(1), now),
    };
    let prepared = workshop
        .prepare(&manifest, Bytes::Registry, number, activated_at)
        .await;
    if prepared.is_ok() && unchanged.is_none() {
        let record = GenerationRecord {
            generation: number,
            activated_at,
            digest,
            manifest,
        };
        if generations.append(record).await? == Committed::Conflict {
            return Ok(Err(vec![EntryError::new(
                "registry.json",
                format!("another host has just activated generation {number}: reload again"),
            )]));
        }
    }
    Ok(prepared)
}

/// Makes a generation from the record and the kept components.
async fn restore(
    workshop: &Workshop<'_>,
    record: &GenerationRecord,
    from: Bytes,
) -> Result<Snapshot, Vec<EntryError>> {
    let GenerationRecord {
        generation,
        activated_at,
        manifest,
        ..
    } = record;
    workshop
        .prepare(manifest, from, *generation, *activated_at)
        .await
}
