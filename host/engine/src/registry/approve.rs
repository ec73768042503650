//! An admin's word that a component may have more than the plugin had before it.

use lucius_domain::id::Digest;
use lucius_domain::plugin::Pin;
use lucius_ports::ledger;
use lucius_ports::records::Written;

use super::Manifest;
use super::standing::{Approval, key_of};
use crate::Engine;

/// Why nothing was approved.
#[derive(Debug, thiserror::Error)]
pub enum ApproveError {
    /// The registry does not name it, so nobody could say what is approved.
    #[error(
        "no plugin in registry.json has the SHA-256 {0}: approve what lucius registry plan names"
    )]
    Unknown(Digest),
    /// The registry cannot be read.
    #[error("registry.json: {0}")]
    Unreadable(String),
    /// The ledger did not answer.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
}

impl Engine {
    /// Approves what the registry's entry for a component asks for now; if it asks for more later, that waits again.
    ///
    /// # Errors
    /// Why nothing was approved.
    pub async fn approve(&self, digest: Digest) -> Result<Approval, ApproveError> {
        let unreadable =
            |error: &dyn std::fmt::Display| ApproveError::Unreadable(error.to_string());
        let text = self.ports.source.manifest().await;
        let text = text.map_err(|error| unreadable(&error))?;
        let manifest: Manifest = serde_json::from_str(&text).map_err(|error| unreadable(&error))?;
        let spec = manifest
            .plugins
            .into_iter()
            .find(|spec| Digest::parse(&spec.sha256) == Some(digest))
            .ok_or(ApproveError::Unknown(digest))?;
        let approval = Approval {
            plugin: Pin {
                id: spec.id,
                version: spec.version,
                digest,
            },
            services: spec.services,
            limits: spec.limits.capped_by(self.settings.plugin_cap),
            at: self.ports.clock.now(),
        };
        let (records, key) = (&self.ports.records, key_of(digest));
        let known = records.read::<Approval>(&key).await?;
        let expected = known.map(|it| it.version);
        match records.write(&key, &approval, expected).await? {
            Written::Done(_) => {
                tracing::warn!(plugin = %approval.plugin, %digest, "a plugin is approved");
                Ok(approval)
            }
            Written::Conflict => Err(ApproveError::Ledger(ledger::Error::Unavailable(format!(
                "someone else is approving {digest}: try again"
            )))),
        }
    }
}
