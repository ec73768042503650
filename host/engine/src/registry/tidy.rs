//! Forgetting what no job needs: compiled components at once, their bytes when they cannot be rolled back to either.
//!
//! A generation that was replaced stays loaded while a command that began under it is being accepted or a job that is
//! not over holds it. A job that failed and is redriven after that loads its generation again from the kept bytes;
//! when those are gone too, its plugin's fault says so, and `lucius jobs migrate` moves it to one that is there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lucius_domain::id::{Digest, Generation};
use lucius_ports::ledger::{self, GenerationRecord};
use lucius_ports::plugin::Runtime;

use super::activate::{KEPT_GENERATIONS, Registry, lock};
use super::{Manifest, Snapshot};
use crate::Engine;

/// How long jobs are given to end before their generation is looked at again.
const INTERVAL: Duration = Duration::from_secs(30);

/// What one look came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Generations that were unloaded.
    pub unloaded: Vec<Generation>,
    /// Components and schemas whose bytes were dropped.
    pub forgotten: Vec<Digest>,
}

/// Looks after every change of the registry and from time to time, until dropped.
pub(crate) async fn run(engine: &Arc<Engine>) {
    loop {
        let pause = engine.ports.clock.sleep(INTERVAL);
        tokio::select! {
            () = pause => {}
            () = engine.registry.untidy.notified() => {}
        }
        if let Err(error) = engine.tidy().await {
            tracing::warn!(%error, "generations are not tidied up now; it is tried again");
        }
    }
}

impl Registry {
    /// Drops the compiled components that no loaded generation has.
    pub(super) fn drop_unused(&self, runtime: &dyn Runtime) {
        let mut needed: BTreeSet<Digest> = digests(&self.live());
        for held in lock(&self.held).values() {
            needed.extend(digests(held));
        }
        let mut loaded = lock(&self.loaded);
        for digest in loaded.difference(&needed) {
            runtime.drop_component(digest);
        }
        loaded.retain(|digest| needed.contains(digest));
    }

    /// Held generations that nobody is using at this moment.
    fn at_rest(&self) -> Vec<Generation> {
        let held = lock(&self.held);
        let unused = held
            .iter()
            .filter(|(_, snapshot)| Arc::strong_count(snapshot) == 1);
        unused.map(|(number, _)| *number).collect()
    }

    /// Unloads a generation, unless someone has taken it up since.
    fn unload(&self, number: Generation) -> bool {
        let mut held = lock(&self.held);
        let unused = held
            .get(&number)
            .is_some_and(|snapshot| Arc::strong_count(snapshot) == 1);
        unused && held.remove(&number).is_some()
    }
}

fn digests(snapshot: &Snapshot) -> BTreeSet<Digest> {
    snapshot.plugins.iter().map(|it| it.pin.digest).collect()
}

impl Engine {
    /// Unloads the generations that no live job holds, and drops the bytes that neither a job nor a rollback needs.
    ///
    /// # Errors
    /// The ledger did not answer; nothing was dropped that is needed.
    pub async fn tidy(&self) -> Result<Tidied, ledger::Error> {
        let _one_at_a_time = self.registry.single_flight.lock().await;
        // First who is at rest, then what is in the ledger: a command that was being accepted under a generation
        // either still has it in hand, or its job is in the ledger by now.
        let at_rest = self.registry.at_rest();
        let held = self.ports.pins.held().await?;
        let free = at_rest
            .into_iter()
            .filter(|number| !held.generations.contains_key(number));
        let unloaded: Vec<Generation> = free.filter(|it| self.registry.unload(*it)).collect();
        self.registry.drop_unused(&*self.ports.runtime);

        let mut needed = BTreeSet::new();
        for record in self.ports.generations.latest(KEPT_GENERATIONS).await? {
            needed.extend(files_of(&record));
        }
        for number in held.generations.keys() {
            let record = self.ports.generations.generation(*number).await?;
            needed.extend(record.iter().flat_map(files_of));
        }
        needed.extend(digests(&self.registry.live()));
        let forgotten = self.forget_all_but(&needed).await;
        Ok(Tidied {
            unloaded,
            forgotten,
        })
    }

    async fn forget_all_but(&self, needed: &BTreeSet<Digest>) -> Vec<Digest> {
        let source = &self.ports.source;
        let mut forgotten = Vec::new();
        let kept = source.all_kept().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "kept bytes cannot be listed; they stay");
            Vec::new()
        });
        for digest in kept.into_iter().filter(|it| !needed.contains(it)) {
            match source.forget(digest).await {
                Ok(()) => forgotten.push(digest),
                Err(error) => tracing::warn!(%digest, %error, "kept bytes cannot be dropped"),
            }
        }
        forgotten
    }
}

/// The components and schemas of a generation on record.
fn files_of(record: &GenerationRecord) -> Vec<Digest> {
    let manifest: Option<Manifest> = serde_json::from_str(&record.manifest).ok();
    let plugins = manifest.into_iter().flat_map(|manifest| manifest.plugins);
    let components = plugins.filter_map(|plugin| Digest::parse(&plugin.sha256));
    components.chain(record.schemas.values().copied()).collect()
}
