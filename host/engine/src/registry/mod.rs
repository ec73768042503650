//! The protocol registry: which request types there are, which steps serve them, and which plugin decides about each.
//!
//! A [`Snapshot`] is one immutable generation. It is prepared off to the side ([`prepare`]): read once, checked
//! against the schema, every component hashed, admitted and asked what it is. Only when nothing is wrong is it
//! activated: the generation is appended to the ledger, then one pointer is swapped. Start-up takes the same path.
//! Jobs keep the generation they were accepted under.

mod activate;
mod manifest;
mod prepare;
pub mod signature;
mod snapshot;

pub use activate::{Registry, Reload, StartError};
pub use manifest::{Manifest, PartialLimits, PluginSpec};
pub use snapshot::{PluginEntry, Protocol, Snapshot, StepEntry};

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
            entry: entry.into(),
            reason: reason.to_string(),
        }
    }
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
    let workshop = prepare::Workshop {
        runtime,
        source,
        schemas: &schemas,
        cap,
    };
    let (generation, now) = Default::default();
    workshop
        .prepare(&manifest, prepare::Bytes::Registry, generation, now)
        .await
}
