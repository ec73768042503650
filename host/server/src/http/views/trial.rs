//! Trials as they are shown, with what they came to on this host.

use std::collections::BTreeMap;

use lucius_engine::registry::{Change, Comparison, Sample, Trial, TrialChange};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A version that is tried out beside the one that decides.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Trial)]
pub struct TrialView {
    /// `canary` (it decides for a share of the tenants) or `shadow` (it is asked and not heeded).
    pub mode: &'static str,
    /// The version that decides, `<id>@<version>`.
    pub plugin: String,
    /// The version that is tried.
    pub candidate: String,
    /// The SHA-256 of its component, in hexadecimal digits.
    pub candidate_digest: String,
    /// The share of the tenants.
    pub percent: u64,
    /// What it came to on this host since it started, in one line.
    pub summary: String,
    /// Questions that the candidate was asked.
    pub asked: u64,
    /// Those on which it agrees; for a canary also those that it did not turn away.
    pub same: u64,
    /// Those on which it does not, by how.
    pub differ: BTreeMap<String, u64>,
    /// Those that were not compared, for want of budget or room.
    pub skipped: u64,
    /// A few of the differences.
    pub samples: Vec<SampleView>,
}

/// A question on which the two versions of a trial do not agree.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TrialDifference)]
pub struct SampleView {
    /// `validate`, `route` or `settle`.
    pub function: &'static str,
    /// How they differ.
    pub kind: String,
    /// What the version that decides says; null when it was not asked.
    pub was: Value,
    /// What the candidate says.
    pub now: Value,
}

/// A trial that differs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TrialChange)]
pub struct TrialChangeView {
    /// `canary ocr@1.0.0 -> ocr@1.1.0`.
    pub trial: String,
    /// `added`, `removed` or `changed`.
    pub change: &'static str,
}

impl TrialView {
    /// A trial with what it came to.
    pub fn new(trial: &Trial, so_far: Comparison) -> Self {
        let summary = so_far.to_string();
        let Comparison {
            asked,
            same,
            differ,
            skipped,
            samples,
        } = so_far;
        Self {
            mode: trial.mode.as_str(),
            plugin: trial.plugin.pin.to_string(),
            candidate: trial.candidate.pin.to_string(),
            candidate_digest: trial.candidate.pin.digest.to_string(),
            percent: trial.percent,
            summary,
            asked,
            same,
            differ,
            skipped,
            samples: samples.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Sample> for SampleView {
    fn from(sample: Sample) -> Self {
        Self {
            function: sample.function.as_str(),
            kind: sample.kind,
            was: sample.was,
            now: sample.now,
        }
    }
}

impl From<&TrialChange> for TrialChangeView {
    fn from(TrialChange { trial, change }: &TrialChange) -> Self {
        Self {
            trial: trial.clone(),
            change: word(*change),
        }
    }
}

/// How an entry differs, in a word.
pub(super) fn word(change: Change) -> &'static str {
    match change {
        Change::Added => "added",
        Change::Removed => "removed",
        Change::Changed => "changed",
    }
}
