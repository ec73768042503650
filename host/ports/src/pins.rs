//! Which jobs hold what of the registry.
//!
//! A job keeps its registry generation and the components that it pinned until it is over. From this the engine knows
//! what may be forgotten, what a change of the registry touches, and whose past decisions a candidate is asked again.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use lucius_domain::id::{Digest, Generation, JobId, PluginId};
use lucius_domain::job::Job;

use crate::ledger::{Error, Filter, Ledger};

/// How many jobs are read at once.
const PAGE: usize = 500;

/// The states of a job that is not over, in the order of its life: one that moves on while they are read one after the
/// other is met again, never missed.
const LIVE: [&str; 4] = ["QUEUED", "DISPATCHING", "IN_PROGRESS", "CANCELLING"];

/// What jobs that are not over hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// How many hold each generation.
    pub generations: BTreeMap<Generation, u64>,
    /// How many hold each component, for a step that is not over.
    pub components: BTreeMap<Digest, u64>,
}

impl Held {
    /// Counts one job, unless it is over.
    pub fn count(&mut self, job: &Job) {
        if job.progress.status.is_terminal() {
            return;
        }
        *self.generations.entry(job.generation()).or_default() += 1;
        let left = job.progress.current..job.spec.steps.len();
        let digests: BTreeSet<Digest> = left
            .filter_map(|step| Some(job.plugin(step)?.digest))
            .collect();
        for digest in digests {
            *self.components.entry(digest).or_default() += 1;
        }
    }
}

/// Looks jobs up by what they pinned. The provided methods read the jobs one by one, which is right on every ledger;
/// one that has an index does better.
#[async_trait]
pub trait Pins: Ledger {
    /// What jobs that are not over hold now.
    async fn held(&self) -> Result<Held, Error> {
        let mut held = Held::default();
        let mut seen = BTreeSet::new();
        for state in LIVE {
            let mut after = None;
            loop {
                let filter = Filter {
                    state: Some(state),
                    after,
                    limit: PAGE,
                    ..Filter::default()
                };
                let page = self.list(filter).await?;
                for job in page.iter().filter(|job| seen.insert(job.id)) {
                    held.count(job);
                }
                after = page.last().map(|job| job.id);
                if page.len() < PAGE {
                    break;
                }
            }
        }
        Ok(held)
    }

    /// The newest jobs that were accepted with a plugin of this id, whatever its version, newest first.
    async fn jobs_of(&self, plugin: &PluginId, limit: usize) -> Result<Vec<JobId>, Error> {
        let mut found = Vec::new();
        let mut after = None;
        while found.len() < limit {
            let filter = Filter {
                after,
                limit: PAGE,
                ..Filter::default()
            };
            let page = self.list(filter).await?;
            let with_plugin = page.iter().filter(|job| {
                let mut pins = job
                    .spec
                    .steps
                    .iter()
                    .filter_map(|step| step.plugin.as_ref());
                pins.any(|pin| pin.id == *plugin)
            });
            found.extend(with_plugin.map(|job| job.id));
            after = page.last().map(|job| job.id);
            if page.len() < PAGE {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }
}
