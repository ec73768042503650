//! Who may have a plugin admitted: the manifest's `trust`, and what is known from earlier generations.
//!
//! Everything fails closed: a key that cannot be read, a signature that names no trusted key, a serial that went back,
//! a component that is denied or quarantined is a refusal of its entry, never a warning.

use std::collections::BTreeMap;

use lucius_domain::id::Digest;

use super::EntryError;
use super::manifest::{Denied, PluginSpec, Trust, TrustedKey};
use super::signature::{PublicKey, Signature, Signed};
use super::standing::Standing;

/// A manifest's trust, with its keys read.
pub(super) struct Guard<'a> {
    trust: &'a Trust,
    keys: BTreeMap<&'a str, (PublicKey, &'a TrustedKey)>,
    standing: &'a Standing,
}

impl<'a> Guard<'a> {
    /// Reads the keys, and reports those that are none.
    pub(super) fn read(trust: &'a Trust, standing: &'a Standing) -> (Self, Vec<EntryError>) {
        let mut keys = BTreeMap::new();
        let mut errors = Vec::new();
        for key in &trust.keys {
            let entry = || format!("trust key {}", key.key_id);
            match PublicKey::parse(&key.public_key) {
                Ok(public) => {
                    if keys.insert(key.key_id.as_str(), (public, key)).is_some() {
                        errors.push(EntryError::new(
                            entry(),
                            "appears twice: give the other a new key_id",
                        ));
                    }
                }
                Err(error) => errors.push(EntryError::new(entry(), error)),
            }
        }
        let guard = Self {
            trust,
            keys,
            standing,
        };
        (guard, errors)
    }

    /// Lets an entry in whose component has this digest; its serial, when it is signed.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub(super) fn check(&self, spec: &PluginSpec, digest: Digest) -> Result<Option<u64>, String> {
        if let Some(reason) = denied(&self.trust.deny, digest) {
            return Err(reason);
        }
        if let Some(quarantine) = self.standing.quarantined.get(&digest) {
            return Err(quarantine.refusal(digest));
        }
        match &spec.signature {
            Some(signature) => self.verify(spec, digest, signature).map(Some),
            None if self.trust.require_signature => Err(
                "is not signed, and trust.require_signature is set: sign it with lucius plugin sign"
                    .to_owned(),
            ),
            None => Ok(None),
        }
    }

    fn verify(
        &self,
        spec: &PluginSpec,
        digest: Digest,
        signature: &Signature,
    ) -> Result<u64, String> {
        let key_id = &signature.key_id;
        let Some((public, key)) = self.keys.get(key_id.as_str()) else {
            return Err(format!(
                "is signed with key \"{key_id}\", which is not in trust.keys: add the key, or sign with one that is there"
            ));
        };
        let may_sign = |ids: &Vec<_>| ids.contains(&spec.id);
        if !key.plugins.as_ref().is_none_or(may_sign) {
            return Err(format!(
                "is signed with key \"{key_id}\", which may not sign this plugin: sign with another key, or add the \
                 plugin to the key's plugins in trust.keys"
            ));
        }
        let signed = Signed::of(spec, digest, signature.serial);
        public
            .verify(&signed, signature)
            .map_err(|error| error.to_string())?;
        match self.standing.serials.get(&spec.id) {
            Some(highest) if signature.serial < *highest => Err(format!(
                "has serial {}, and {highest} was activated before: sign it anew with serial {highest} or higher",
                signature.serial
            )),
            Some(_) | None => Ok(signature.serial),
        }
    }
}

/// Why a component is denied, if it is.
pub(super) fn denied(deny: &[Denied], digest: Digest) -> Option<String> {
    let found = deny.iter().find(|denied| denied.sha256 == digest)?;
    Some(format!(
        "its component is denied by trust.deny ({}): register a mended version",
        found.reason
    ))
}
