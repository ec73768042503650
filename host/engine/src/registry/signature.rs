//! Who vouches for a plugin: ed25519 over the plugin's canonical manifest.
//!
//! What is signed says everything that a plugin may do here: its name and version, the world it is built for, the
//! digest of its component, the limits and services that its entry asks for, and a serial. A signature moved to
//! another component, or to an entry that asks for more, is one over other content. The serial rises with every
//! release, so that an old plugin with a known weakness does not come back with its old, still valid signature.
//!
//! Verification is strict: keys of small order and malleable signatures are refused.
//!
//! Keys are files that other tools read, too: a private key is PKCS#8 PEM (`openssl genpkey -algorithm ed25519`), a
//! public key is its 32 bytes in Base64, as `trust.keys` holds it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use lucius_domain::canonical;
use lucius_domain::id::{Digest, PluginId, PluginVersion, ServiceName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::manifest::{PartialLimits, PluginSpec};

/// Names what is signed, so that a signature over a manifest can never be one over anything else.
const FORMAT: &str = "lucius-plugin-manifest.v1";

/// The world that plugins of this host are built for.
pub const WORLD: &str = "lucius:step@1.0.0";

/// What a signature covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signed {
    format: &'static str,
    /// The plugin's id.
    pub name: PluginId,
    /// Its version.
    pub version: PluginVersion,
    /// The world it is built for.
    pub world: String,
    /// The SHA-256 of its component.
    pub digest: Digest,
    /// The limits that its entry asks for.
    pub limits: PartialLimits,
    /// The services that its entry asks for, sorted.
    pub services: Vec<ServiceName>,
    /// Rises with every release of the plugin.
    pub serial: u64,
}

impl Signed {
    /// What a signature with this serial covers of an entry, whose component has this digest.
    pub fn of(entry: &PluginSpec, digest: Digest, serial: u64) -> Self {
        let mut services = entry.services.clone();
        services.sort();
        services.dedup();
        Self {
            format: FORMAT,
            name: entry.id.clone(),
            version: entry.version.clone(),
            world: WORLD.to_owned(),
            digest,
            limits: entry.limits,
            services,
            serial,
        }
    }

    /// The bytes that are signed: canonical JSON.
    pub fn text(&self) -> String {
        // Plain data with text keys always serializes.
        let value = serde_json::to_value(self).unwrap_or(Value::Null);
        canonical::to_string(&value)
    }
}

/// A signature as a registry entry holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Which of `trust.keys` made it.
    pub key_id: String,
    /// The serial that it covers.
    pub serial: u64,
    /// The signature in Base64.
    pub value: String,
}

/// Why a key or a signature is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a private key.
    #[error(
        "the private key is not an ed25519 key in PKCS#8 PEM: make one with \"openssl genpkey -algorithm ed25519\""
    )]
    PrivateKey,
    /// Not a public key.
    #[error("the public key is not an ed25519 key: write its 32 bytes in Base64")]
    PublicKey,
    /// A key under which forged signatures verify.
    #[error("the public key is weak, anyone can sign for it: make a new one")]
    WeakKey,
    /// Not a signature.
    #[error("the signature is not 64 bytes in Base64: sign the plugin again")]
    Malformed,
    /// A signature of something else, or by another key.
    #[error(
        "the signature does not fit this entry: it is of another component, version, limits, services or serial, or \
         by another key; sign the plugin again"
    )]
    Mismatch,
}

/// Signs. It is never printed.
pub struct PrivateKey(SigningKey);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(hidden)")
    }
}

impl PrivateKey {
    /// A key from 32 random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Reads PKCS#8 PEM.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        SigningKey::from_pkcs8_pem(text)
            .map(Self)
            .map_err(|_| Error::PrivateKey)
    }

    /// The key as PKCS#8 PEM, for a file that nobody else may read.
    ///
    /// # Errors
    /// When the encoder has no room, which it always has.
    pub fn to_pem(&self) -> Result<String, Error> {
        let pem = self.0.to_pkcs8_pem(LineEnding::LF);
        pem.map(|pem| pem.to_string())
            .map_err(|_| Error::PrivateKey)
    }

    /// The key that checks what this one signs.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs, in the name of `key_id`.
    pub fn sign(&self, key_id: &str, signed: &Signed) -> Signature {
        let value = self.0.sign(signed.text().as_bytes());
        Signature {
            key_id: key_id.to_owned(),
            serial: signed.serial,
            value: BASE64.encode(value.to_bytes()),
        }
    }
}

/// Checks what a private key signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads the Base64 of `trust.keys`.
    ///
    /// # Errors
    /// When it is no key, or one that anyone can sign for.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bytes = BASE64.decode(text).map_err(|_| Error::PublicKey)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| Error::PublicKey)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| Error::PublicKey)?;
        if key.is_weak() {
            return Err(Error::WeakKey);
        }
        Ok(Self(key))
    }

    /// Checks that `signature` is this key's over exactly `signed`.
    ///
    /// # Errors
    /// Why it is not.
    pub fn verify(&self, signed: &Signed, signature: &Signature) -> Result<(), Error> {
        let bytes = BASE64
            .decode(&signature.value)
            .map_err(|_| Error::Malformed)?;
        let value = ed25519_dalek::Signature::from_slice(&bytes).map_err(|_| Error::Malformed)?;
        self.0
            .verify_strict(signed.text().as_bytes(), &value)
            .map_err(|_| Error::Mismatch)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(self.0.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> PluginSpec {
        let entry = serde_json::json!({
            "id": "redact", "version": "1.2.0", "component": "components/redact.wasm", "sha256": "",
            "services": ["platform-redact", "platform-ocr"], "limits": { "fuel": 1000 },
        });
        serde_json::from_value(entry).expect("an entry")
    }

    fn signed() -> Signed {
        Signed::of(&entry(), Digest::of(b"component"), 7)
    }

    #[test]
    fn what_is_signed_is_written_in_one_way_only() {
        let text = signed().text();
        let digest = Digest::of(b"component");
        assert_eq!(
            text,
            format!(
                r#"{{"digest":"{digest}","format":"lucius-plugin-manifest.v1","limits":{{"fuel":1000}},"name":"redact","serial":7,"services":["platform-ocr","platform-redact"],"version":"1.2.0","world":"lucius:step@1.0.0"}}"#
            )
        );
        let mut other_order = entry();
        other_order.services.reverse();
        assert_eq!(Signed::of(&other_order, digest, 7).text(), text);
    }

    #[test]
    fn w30_a_signature_is_of_exactly_what_was_signed_and_by_that_key() {
        let key = PrivateKey::from_seed(&[7; 32]);
        let signature = key.sign("acme", &signed());
        assert_eq!(key.public_key().verify(&signed(), &signature), Ok(()));
        let mut others = vec![signed(); 6];
        others[0].name = "ocr".into();
        others[1].version = "1.2.1".into();
        others[2].digest = Digest::of(b"another component");
        others[3].limits = PartialLimits::default();
        others[4].services.push("platform-sis".into());
        others[5].serial = 8;
        for other in others {
            assert_eq!(
                key.public_key().verify(&other, &signature),
                Err(Error::Mismatch),
                "{other:?}"
            );
        }
        let stranger = PrivateKey::from_seed(&[8; 32]).public_key();
        assert_eq!(stranger.verify(&signed(), &signature), Err(Error::Mismatch));
        for value in ["", "AAAA", "not base64!"] {
            let value = value.to_owned();
            let wrong = Signature {
                value,
                ..signature.clone()
            };
            assert_eq!(
                key.public_key().verify(&signed(), &wrong),
                Err(Error::Malformed)
            );
        }
    }

    #[test]
    fn w30_a_signature_that_was_tampered_with_to_verify_twice_is_refused() {
        let key = PrivateKey::from_seed(&[7; 32]);
        let mut signature = key.sign("acme", &signed());
        let mut bytes = BASE64.decode(&signature.value).expect("Base64");
        // S + L is the same S to a verifier that does not insist on the one canonical form.
        let order: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9,
            0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let mut carry = 0;
        for (byte, add) in bytes[32..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            [*byte, _] = sum.to_le_bytes();
            carry = sum >> 8;
        }
        signature.value = BASE64.encode(bytes);
        let refused = key.public_key().verify(&signed(), &signature);
        assert!(refused.is_err(), "{refused:?}");
    }

    #[test]
    fn w30_a_key_that_anyone_can_sign_for_is_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(
            PublicKey::parse(&BASE64.encode(identity)),
            Err(Error::WeakKey)
        );
        for text in ["", "AAAA", "?"] {
            assert_eq!(PublicKey::parse(text), Err(Error::PublicKey), "{text:?}");
        }
    }

    #[test]
    fn keys_are_read_back_as_they_were_written() {
        let key = PrivateKey::from_seed(&[9; 32]);
        let pem = key.to_pem().expect("there is room");
        let again = PrivateKey::from_pem(&pem).expect("its own PEM");
        assert_eq!(again.public_key(), key.public_key());
        assert_eq!(
            PublicKey::parse(&key.public_key().to_string()),
            Ok(key.public_key())
        );
        assert_eq!(format!("{key:?}"), "PrivateKey(hidden)");
        // The example of RFC 8410, in the form that openssl writes.
        let theirs = "-----BEGIN PRIVATE KEY-----\n\
             MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
             -----END PRIVATE KEY-----\n";
        assert!(PrivateKey::from_pem(theirs).is_ok());
        assert!(matches!(
            PrivateKey::from_pem("secret"),
            Err(Error::PrivateKey)
        ));
    }
}
