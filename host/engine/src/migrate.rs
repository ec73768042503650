//! Moving a job to another registry generation.
//!
//! A job keeps the plugins that it was accepted with, which is what makes it predictable; but one that waits for days
//! under a plugin with a flaw should not have to. Before it is moved, the plugins of the other generation are asked
//! the very questions that were decided about its steps that are not over. If they say something else, the job's past
//! and its future would not fit together, and it stays unless whoever moves it has seen that.

use std::sync::Arc;

use lucius_domain::decide::{Input, Rejection};
use lucius_domain::id::{Generation, JobId};
use lucius_domain::job::Job;
use lucius_domain::plugin::Pin;

use crate::Engine;
use crate::drive::Driven;
use crate::refusal::Refusal;
use crate::registry::{Difference, PluginEntry, Replay, Snapshot};

/// A job that was moved.
#[derive(Clone, Debug)]
pub struct Moved {
    /// The job as it is now.
    pub job: Arc<Job>,
    /// On what the plugins that decide from now on do not agree with those that decided; empty unless it was forced.
    pub differences: Vec<Difference>,
}

impl Engine {
    /// Moves a job to another generation, for its steps that are not over. Payload and waits stay as they are.
    ///
    /// # Errors
    /// JOB_NOT_FOUND, JOB_TERMINAL, MIGRATION_REFUSED, MIGRATION_DIFFERS (unless `force`), or the ledger's.
    pub async fn migrate(&self, id: JobId, to: Generation, force: bool) -> Result<Moved, Refusal> {
        let job = self.ports.ledger.load(id).await?;
        let job = job.ok_or(Refusal::JobNotFound)?;
        let target = self.generation(to).await;
        let target = target.map_err(|reason| {
            Refusal::MigrationRefused(format!("generation {to} cannot be had: {reason}"))
        })?;
        let successors = successors(&job, &target)?;
        let mut differences = Vec::new();
        let asked = self.decisions(id).await?.unwrap_or_default();
        for (step, plugin) in successors.iter().enumerate().skip(job.progress.current) {
            let Some(plugin) = plugin else { continue };
            let of_step = asked.iter().filter(|it| it.step == step).cloned().collect();
            let mut replay = Replay::default();
            self.replay_job(id, of_step, plugin, &mut replay).await;
            differences.extend(replay.samples);
        }
        if !differences.is_empty() && !force {
            return Err(Refusal::MigrationDiffers(differences));
        }
        let plugins: Vec<Option<Pin>> = successors
            .iter()
            .map(|plugin| plugin.as_ref().map(|plugin| plugin.pin.clone()))
            .collect();
        let input = || Input::Migrate {
            generation: to,
            plugins: plugins.clone(),
        };
        match self.drive(id, Some(job), input).await? {
            Driven::Changed(job) => Ok(Moved { job, differences }),
            Driven::NotFound => Err(Refusal::JobNotFound),
            Driven::Rejected(_, Rejection::SameGeneration) => Err(Refusal::MigrationRefused(
                format!("the job holds generation {to} already"),
            )),
            Driven::Rejected(job, _) => Err(Refusal::JobTerminal(job.progress.status.name())),
        }
    }
}

/// Who would decide about each step of the job; the steps that are not over must be there as they are.
fn successors(job: &Job, target: &Snapshot) -> Result<Vec<Option<Arc<PluginEntry>>>, Refusal> {
    let id = &job.spec.protocol_id;
    let to = target.generation;
    let protocol = target.protocols.iter().find(|it| it.protocol_id == *id);
    let protocol = protocol.ok_or_else(|| {
        Refusal::MigrationRefused(format!(
            "generation {to} has no protocol {id}: choose another"
        ))
    })?;
    let steps = job.spec.steps.iter().enumerate();
    let successors = steps.map(|(index, spec)| {
        if index < job.progress.current {
            return Ok(None);
        }
        let there = protocol.steps.get(index);
        match there.filter(|it| (&it.step_id, &it.step_type) == (&spec.step_id, &spec.step_type)) {
            Some(step) => Ok(target.deciding(step, &job.spec.tenant_id).cloned()),
            None => Err(Refusal::MigrationRefused(format!(
                "step \"{}\" of {id} is not the same in generation {to}: choose another",
                spec.step_id
            ))),
        }
    });
    successors.collect()
}
