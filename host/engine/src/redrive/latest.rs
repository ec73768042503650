//! Starting a failed job again under the registry generation that is live: what decides about it from now on.
//!
//! The protocol must still have the same steps. Each payload is checked anew, since what was good for the plugin that
//! accepted it may not be for the one that gets it now; a job whose payload is not stays as it is, with the reason.

use lucius_domain::job::{Job, Migration};
use serde_json::Value;

use crate::Engine;
use crate::registry::{PluginEntry, Protocol, Snapshot, StepEntry};

impl Engine {
    /// Whether all payloads of the steps that are to come are good for the plugins that get them in this generation.
    ///
    /// # Errors
    /// Why the job cannot be run under it.
    pub(super) async fn check_under(&self, live: &Snapshot, job: &Job) -> Result<(), String> {
        let protocol = same_protocol(live, job)?;
        let steps = protocol.steps.iter().zip(&job.spec.steps);
        for (step, accepted) in steps.skip(job.failed_step().unwrap_or(0)) {
            let plugin = live.deciding(step, &job.spec.tenant_id).map(|it| &**it);
            self.check_again(job, step, plugin, &accepted.payload)
                .await?;
        }
        Ok(())
    }

    async fn check_again(
        &self,
        job: &Job,
        step: &StepEntry,
        plugin: Option<&PluginEntry>,
        payload: &Value,
    ) -> Result<(), String> {
        let by_schema = step.payload_schema.as_ref();
        let mut violations = by_schema
            .map(|schema| schema.violations(payload, ""))
            .unwrap_or_default();
        if let (Some(plugin), true) = (plugin, violations.is_empty()) {
            let validated = self
                .validate(&job.spec.tenant_id, plugin, payload.clone(), "")
                .await;
            let validated = validated.map_err(|refusal| refusal.to_string())?;
            violations = validated.payload.err().unwrap_or_default();
        }
        match violations.first() {
            None => Ok(()),
            Some(first) => Err(format!(
                "the payload of step \"{}\" is refused: {} {} ({})",
                step.step_id, first.pointer, first.message, first.source
            )),
        }
    }
}

/// What moves the job to a generation; nothing when it holds that one already. No plugin is asked.
///
/// # Errors
/// Why the job cannot be run under it.
pub(super) fn move_to(live: &Snapshot, job: &Job) -> Result<Option<Migration>, String> {
    if job.generation() == live.generation {
        return Ok(None);
    }
    let protocol = same_protocol(live, job)?;
    let deciding = |step| live.deciding(step, &job.spec.tenant_id);
    let pins = protocol.steps.iter().map(deciding);
    Ok(Some(Migration {
        generation: live.generation,
        plugins: pins.map(|plugin| plugin.map(|it| it.pin.clone())).collect(),
    }))
}

fn same_protocol<'a>(live: &'a Snapshot, job: &Job) -> Result<&'a Protocol, String> {
    let id = &job.spec.protocol_id;
    let found = live.protocols.iter().find(|it| it.protocol_id == *id);
    let protocol = found.ok_or_else(|| {
        let generation = live.generation;
        format!("protocol {id} is not in registry generation {generation}")
    })?;
    let names = protocol.steps.iter().map(|step| &step.step_id);
    if names.eq(job.spec.steps.iter().map(|step| &step.step_id)) {
        Ok(protocol)
    } else {
        Err(format!(
            "protocol {id} has other steps in registry generation {}",
            live.generation
        ))
    }
}
