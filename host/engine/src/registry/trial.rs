//! Trying a version out on live traffic before it decides about all of it.
//!
//! A trial names the version that decides and a candidate. A **canary** decides for a share of the tenants: which ones
//! is a hash of their names, so a tenant meets the same version with every job, and a larger share holds the smaller
//! one. A **shadow** decides nothing: what the deciding version was asked is put to it, too, and what it says is
//! compared and thrown away.
//!
//! Trials are part of the manifest and so of a generation: they are planned, reloaded and rolled back as everything
//! else is, and a job pins the version that served it. The counting is in [`super::comparison`]; a canary that does
//! not do well is quarantined, which ends its trial.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use lucius_domain::id::{Digest, PluginId, TenantId};
use lucius_domain::plugin::Pin;
use serde::{Deserialize, Serialize};

use super::manifest::StepDeclaration;
use super::{EntryError, Manifest, PluginEntry, Snapshot, StepEntry};

/// What a candidate is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It decides for a share of the tenants.
    Canary,
    /// It is asked beside the version that decides.
    Shadow,
}

impl Mode {
    /// As registries write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::Shadow => "shadow",
        }
    }
}

/// When a canary is taken out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Abort {
    /// Not before it was asked so many questions ...
    pub after: u64,
    /// ... of which it decides more than this share otherwise than the version that it would replace, in percent.
    pub differ_percent: u64,
}

impl Default for Abort {
    fn default() -> Self {
        Self {
            after: 20,
            differ_percent: 5,
        }
    }
}

/// A trial as it is written in a manifest.
#[derive(Clone, Debug, Deserialize)]
pub struct Spec {
    /// The version that decides, `<id>@<version>`.
    pub plugin: String,
    /// The version that is tried.
    pub candidate: String,
    /// What it is used for.
    pub mode: Mode,
    /// The share of the tenants, from 1 to 100.
    pub percent: u64,
    /// When a canary is taken out of service.
    #[serde(default)]
    pub abort: Abort,
    /// What comparing may cost, in wasmtime fuel a second.
    #[serde(default = "fuel_per_second")]
    pub fuel_per_second: u64,
}

fn fuel_per_second() -> u64 {
    500_000_000
}

impl Spec {
    /// Whether it names a version on either side.
    pub(super) fn names(&self, plugin: &str) -> bool {
        self.plugin == plugin || self.candidate == plugin
    }
}

/// A trial with its names followed to what they stand for.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// What the candidate is used for.
    pub mode: Mode,
    /// The version that decides.
    pub plugin: Arc<PluginEntry>,
    /// The version that is tried.
    pub candidate: Arc<PluginEntry>,
    /// The share of the tenants, from 1 to 100.
    pub percent: u64,
    /// When a canary is taken out of service.
    pub abort: Abort,
    /// What comparing may cost, in wasmtime fuel a second.
    pub fuel_per_second: u64,
}

impl fmt::Display for Trial {
    /// `canary ocr@1.0.0 -> ocr@1.1.0`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            mode,
            plugin,
            candidate,
            ..
        } = self;
        write!(f, "{} {} -> {}", mode.as_str(), plugin.pin, candidate.pin)
    }
}

impl Trial {
    /// Whether a tenant belongs to the share.
    pub fn includes(&self, tenant: &TenantId) -> bool {
        place_of(&self.plugin.pin.id, tenant) < self.percent
    }
}

/// A tenant's place among a hundred, another one for each plugin so that it is not always the same who go first.
fn place_of(plugin: &PluginId, tenant: &TenantId) -> u64 {
    let name = format!("{plugin}\0{tenant}");
    let digest = Digest::of(name.as_bytes()).0;
    let first = digest.iter().take(7);
    first.fold(0, |sum: u64, byte| (sum << 8) | u64::from(*byte)) % 100
}

impl Snapshot {
    /// Who decides about a step for a tenant: the version that the step names, or its canary. Whatever pins a plugin
    /// for a job asks here.
    pub(crate) fn deciding<'a>(
        &'a self,
        step: &'a StepEntry,
        tenant: &TenantId,
    ) -> Option<&'a Arc<PluginEntry>> {
        let plugin = step.plugin.as_ref()?;
        let canary = self.trials.iter().find(|trial| {
            trial.mode == Mode::Canary && trial.plugin.pin == plugin.pin && trial.includes(tenant)
        });
        Some(canary.map_or(plugin, |trial| &trial.candidate))
    }

    /// The trial of a candidate.
    pub(crate) fn trial_of(&self, candidate: &Pin) -> Option<&Trial> {
        self.trials
            .iter()
            .find(|trial| trial.candidate.pin == *candidate)
    }
}

/// Follows the names of all trials.
pub(super) fn resolve(
    manifest: &Manifest,
    plugins: &BTreeMap<String, Arc<PluginEntry>>,
) -> (Vec<Trial>, Vec<EntryError>) {
    let (mut trials, mut errors): (Vec<Trial>, Vec<EntryError>) = Default::default();
    for (index, spec) in manifest.trials.iter().enumerate() {
        let earlier = &manifest.trials[..index];
        match resolve_one(spec, earlier, manifest, plugins) {
            Ok(trial) => trials.push(trial),
            Err(reason) => {
                let entry = format!("trial {} -> {}", spec.plugin, spec.candidate);
                errors.push(EntryError::new(entry, reason));
            }
        }
    }
    (trials, errors)
}

fn resolve_one(
    spec: &Spec,
    earlier: &[Spec],
    manifest: &Manifest,
    plugins: &BTreeMap<String, Arc<PluginEntry>>,
) -> Result<Trial, String> {
    let entry = |name: &String| {
        let found = plugins.get(name).map(Arc::clone);
        found.ok_or_else(|| {
            format!("plugin {name} is not in plugins or was refused: add or mend its entry")
        })
    };
    let (plugin, candidate) = (entry(&spec.plugin)?, entry(&spec.candidate)?);
    if plugin.pin.id != candidate.pin.id || plugin.pin.digest == candidate.pin.digest {
        return Err("a candidate is another version of the same plugin: name one".to_owned());
    }
    let steps_of = |name: &str| {
        let steps = manifest.protocols.iter().flat_map(|it| &it.steps);
        let of_it = |step: &&StepDeclaration| step.plugin.as_deref() == Some(name);
        steps.filter(of_it).collect::<Vec<_>>()
    };
    let decides = |name: &str| !steps_of(name).is_empty();
    if !decides(&spec.plugin) {
        return Err(format!(
            "no step names {}: name the version that decides now",
            spec.plugin
        ));
    }
    if decides(&spec.candidate) {
        return Err(format!(
            "a step names {} already: let steps name the version that decides, or drop the trial",
            spec.candidate
        ));
    }
    let own = steps_of(&spec.plugin);
    if let Some(reason) = own
        .iter()
        .find_map(|it| candidate.is_not_for(&it.step_type))
    {
        return Err(reason);
    }
    let tried = |it: &Spec| it.names(&spec.plugin) || it.names(&spec.candidate);
    if earlier.iter().any(tried) {
        return Err("one of the two is in another trial: end that first".to_owned());
    }
    Ok(Trial {
        mode: spec.mode,
        plugin,
        candidate,
        percent: spec.percent,
        abort: spec.abort,
        fuel_per_second: spec.fuel_per_second,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_share_holds_the_smaller_one_and_shares_are_about_as_large_as_they_say() {
        let ocr = PluginId::new("ocr");
        let tenants = (0..2_000).map(|number| TenantId::new(format!("tenant-{number}")));
        let places: Vec<u64> = tenants.map(|tenant| place_of(&ocr, &tenant)).collect();
        let share = |percent| places.iter().filter(|place| **place < percent).count();
        assert!((140..=260).contains(&share(10)), "{}", share(10));
        assert_eq!(share(100), places.len());
        let tenant = TenantId::new("acme");
        assert_eq!(place_of(&ocr, &tenant), place_of(&ocr, &tenant));
        assert_ne!(
            place_of(&ocr, &tenant),
            place_of(&PluginId::new("sis"), &tenant)
        );
    }
}
