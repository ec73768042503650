//! What plugins decided about a job, with what they were given.
//!
//! A decision on record names its input by digest. The input itself is what the job was at that moment, so it is made
//! again here by folding the job's events up to the decision; the digest tells whether that came out right. The one
//! part that the job does not hold is the plugin's config, which is in the manifest of the generation that decided.
//!
//! `explain`, cases for an author's machine, the replay of a candidate and moving a job to another generation all
//! work on this.

use std::collections::BTreeMap;
use std::sync::Arc;

use lucius_domain::event::{Event, Recorded};
use lucius_domain::evolve::evolve;
use lucius_domain::id::{Generation, JobId, StepId};
use lucius_domain::job::{Job, JobSpec, Phase};
use lucius_domain::plugin::{Decision, Function, Pin};
use lucius_domain::time::Timestamp;
use lucius_ports::ledger;
use lucius_ports::plugin::Call;
use serde_json::{Value, json};

use crate::Engine;
use crate::plugins::digest_of;
use crate::registry::Manifest;

/// How many events are read at once.
const PAGE: usize = 1_000;

/// A decision, with what was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The number of its event.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// The index of its step.
    pub step: usize,
    /// The name of its step.
    pub step_id: StepId,
    /// What is on record.
    pub decision: Decision,
    /// The question, exactly as it was put; `None` when it cannot be made again.
    pub call: Option<Call>,
    /// The answer, in the form of [`lucius_ports::plugin::Answer::to_value`].
    pub answer: Value,
}

/// Where the configs of plugins are looked up.
pub(crate) trait Configs {
    /// The config of a plugin in a generation.
    fn config(&self, generation: Generation, plugin: &Pin) -> Option<Value>;
}

/// The decisions among a job's events, which must be all of them.
pub(crate) fn asked(
    id: JobId,
    spec: &Arc<JobSpec>,
    events: &[Recorded],
    configs: &dyn Configs,
) -> Vec<Asked> {
    let mut job = Job::new(id, Arc::clone(spec));
    let mut found = Vec::new();
    for recorded in events {
        if let Event::Decided { step, decision } = &recorded.event {
            let config = configs.config(job.generation(), &decision.plugin);
            let call = config.and_then(|config| call(&job, *step, decision, config));
            found.push(Asked {
                seq: recorded.seq,
                at: recorded.at,
                step: *step,
                step_id: spec.steps[*step].step_id.clone(),
                decision: decision.clone(),
                call: call.filter(|call| digest_of(call) == decision.input_digest),
                answer: answer(&job, *step, decision),
            });
        }
        evolve(&mut job, recorded);
    }
    found
}

/// The question that led to a decision about the job as it is.
fn call(job: &Job, step: usize, decision: &Decision, config: Value) -> Option<Call> {
    let spec = job.spec.steps.get(step)?;
    let state = job.progress.steps.get(step)?;
    match decision.function {
        Function::Validate => {
            let payload = decision.input.as_ref().unwrap_or(&spec.payload).clone();
            Some(Call::Validate { payload, config })
        }
        Function::Route => {
            let context = job.plugin_context(step, state.attempts.next(), config)?;
            Some(Call::Route {
                context: Box::new(context),
            })
        }
        Function::Settle => {
            let Phase::Settling {
                attempt, report, ..
            } = &state.phase
            else {
                return None;
            };
            let context = job.plugin_context(step, attempt.key.no, config)?;
            Some(Call::Settle {
                context: Box::new(context),
                report: report.clone(),
            })
        }
    }
}

/// What the plugin said. A payload that was valid is the one that the job was accepted with.
fn answer(job: &Job, step: usize, decision: &Decision) -> Value {
    match decision.function {
        Function::Validate => {
            let payload = job.spec.steps.get(step).map(|spec| &spec.payload);
            json!({ "valid": true, "payload": payload })
        }
        Function::Route | Function::Settle => decision.output.clone(),
    }
}

/// The manifests of the generations that jobs held, read once each.
#[derive(Default)]
pub(crate) struct Manifests(BTreeMap<Generation, Manifest>);

impl Configs for Manifests {
    fn config(&self, generation: Generation, plugin: &Pin) -> Option<Value> {
        let plugins = &self.0.get(&generation)?.plugins;
        let found = plugins
            .iter()
            .find(|spec| (&spec.id, &spec.version) == (&plugin.id, &plugin.version))?;
        Some(found.config.clone())
    }
}

impl Engine {
    /// All that plugins decided about a job, in order; `None` when there is no such job.
    ///
    /// # Errors
    /// The ledger did not answer.
    pub async fn decisions(&self, id: JobId) -> Result<Option<Vec<Asked>>, ledger::Error> {
        self.decisions_with(id, &mut Manifests::default()).await
    }

    /// The same, with manifests that were read for other jobs.
    pub(crate) async fn decisions_with(
        &self,
        id: JobId,
        manifests: &mut Manifests,
    ) -> Result<Option<Vec<Asked>>, ledger::Error> {
        let Some(job) = self.ports.ledger.load(id).await? else {
            return Ok(None);
        };
        let mut events: Vec<Recorded> = Vec::new();
        loop {
            let after = events.last().map_or(0, |last| last.seq);
            let page = self.ports.ledger.events(id, after, PAGE).await?;
            let is_last = page.len() < PAGE;
            events.extend(page);
            if is_last {
                break;
            }
        }
        let moved = events.iter().filter_map(|recorded| {
            let Event::Migrated { generation, .. } = recorded.event else {
                return None;
            };
            Some(generation)
        });
        let held: Vec<Generation> = std::iter::once(job.spec.generation).chain(moved).collect();
        for generation in held {
            self.read_manifest(generation, manifests).await?;
        }
        Ok(Some(asked(id, &job.spec, &events, manifests)))
    }

    async fn read_manifest(
        &self,
        generation: Generation,
        manifests: &mut Manifests,
    ) -> Result<(), ledger::Error> {
        if manifests.0.contains_key(&generation) {
            return Ok(());
        }
        let record = self.ports.generations.generation(generation).await?;
        // A manifest that was activated was read before; should it not be any more, its decisions are shown without
        // their questions.
        let manifest = record.and_then(|record| serde_json::from_str(&record.manifest).ok());
        if let Some(manifest) = manifest {
            manifests.0.insert(generation, manifest);
        }
        Ok(())
    }
}
