//! The protocol registry: which request types there are, which steps serve them, and which plugin decides about each.
//!
//! A [`Snapshot`] is one immutable generation. It is prepared off to the side ([`prepare`]): read once, checked
//! against the schema, every component hashed, admitted and asked what it is. Only when nothing is wrong is it
//! activated: the generation is appended to the ledger, then one pointer is swapped. Start-up takes the same path.
//! Jobs keep the generation they were accepted under.

mod activate;
mod approve;
mod breaker;
pub(crate) mod comparison;
pub(crate) mod follow;
mod manifest;
mod plan;
mod prepare;
mod quarantine;
mod replay;
mod rollback;
mod shared;
pub mod signature;
mod snapshot;
mod standing;
mod start;
pub(crate) mod tidy;
pub mod trial;
mod trust;

pub use activate::{Activated, KEPT_GENERATIONS, Registry, Reload};
pub use approve::ApproveError;
pub use breaker::Threshold;
pub(crate) use breaker::{Breaker, Broken};
pub use comparison::{Comparison, Sample};
pub use manifest::{Denied, Manifest, PartialLimits, PluginSpec};
pub use plan::{Change, Plan, PluginChange, ProtocolChange, TrialChange};
pub use replay::{Difference, Replay};
pub use shared::SharedSource;
pub use snapshot::{PluginEntry, Protocol, Snapshot, StepEntry};
pub use standing::{Approval, Quarantine};
pub use start::StartError;
pub use tidy::Tidied;
pub use trial::Trial;

/// How a candidate is looked at before it goes live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many of a plugin's past decisions are put to the one that would replace it.
    pub replay: usize,
    /// How many of them it may decide otherwise; any number when absent.
    pub max_diff: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            replay: 1_000,
            max_diff: None,
        }
    }
}

/// What an operator can set about the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// How a candidate is looked at when a request does not say.
    pub options: Options,
    /// When a plugin's version is taken out of service.
    pub breaker: Threshold,
}

/// What is wrong with one entry of a registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize)]
#[error("{entry}: {reason}")]
pub struct EntryError {
    /// Which entry: `plugin ocr@1.0.0`, `protocol atomic-ocr.v1`, `registry.json`.
    pub entry: String,
    /// What is wrong with it, and what to do.
    pub reason: String,
}

impl EntryError {
    fn new(entry: impl Into<String>, reason: impl ToString) -> Self {
        Self {
            entry: line(&entry.into()),
            reason: line(&reason.to_string()),
        }
    }
}

/// The longest part of a refusal, in characters.
const MAX_LINE_CHARS: usize = 600;

/// Text that may repeat what a registry holds, as a part of one line: without control characters and not without end.
fn line(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut line: String = text.chars().take(MAX_LINE_CHARS).map(plain).collect();
    if line.len() < text.len() {
        line.push_str(" ...");
    }
    line
}

/// Checks a registry without activating it.
///
/// # Errors
/// Everything that is wrong with it.
pub async fn check(
    source: &dyn lucius_ports::registry::Source,
    runtime: &dyn lucius_ports::plugin::Runtime,
    cap: lucius_ports::plugin::Limits,
) -> Result<Snapshot, Vec<EntryError>> {
    let one = |reason: String| vec![EntryError::new("registry.json", reason)];
    let schemas = crate::schema::Schemas::compile().map_err(one)?;
    let manifest = source
        .manifest()
        .await
        .map_err(|error| one(error.to_string()))?;
    let loaded = std::sync::Mutex::default();
    let workshop = prepare::Workshop {
        runtime,
        source,
        schemas: &schemas,
        cap,
        loaded: &loaded,
    };
    let (generation, now) = Default::default();
    let standing = standing::Standing::default();
    let prepared = workshop
        .prepare(
            &manifest,
            prepare::Bytes::Registry(&standing),
            generation,
            now,
        )
        .await?;
    Ok(prepared.snapshot)
}

fn one_line(errors: &[EntryError]) -> String {
    errors
        .iter()
        .map(EntryError::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}
