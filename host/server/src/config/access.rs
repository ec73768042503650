//! Who may call, and what they may refer to.

use std::path::PathBuf;

use lucius_domain::contract::RefRules;
use serde::{Deserialize, Serialize};

use crate::http::access::jwt::{SignedWith, Trust};

/// Which references are let in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Refs {
    /// Schemes.
    pub schemes: Vec<String>,
    /// Hosts; every host when empty.
    pub hosts: Vec<String>,
}

impl Default for Refs {
    fn default() -> Self {
        let RefRules { schemes, hosts } = RefRules::default();
        Self { schemes, hosts }
    }
}

impl Refs {
    /// The rules, in lower case.
    pub fn rules(&self) -> RefRules {
        let lower = |list: &[String]| list.iter().map(|name| name.to_ascii_lowercase()).collect();
        RefRules {
            schemes: lower(&self.schemes),
            hosts: lower(&self.hosts),
        }
    }
}

/// Who may call.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// How callers are known.
    pub mode: AuthMode,
    /// How JWTs are signed.
    pub jwt_algorithm: SignedWith,
    /// What `iss` of a JWT says.
    pub jwt_issuer: String,
    /// What `aud` of a JWT says, or holds.
    pub jwt_audience: String,
    /// The file with the issuer's public keys, a JWK set.
    pub jwt_keys: PathBuf,
}

impl Auth {
    /// Whose JWTs are taken.
    pub fn trust(&self) -> Trust {
        Trust {
            algorithm: self.jwt_algorithm,
            issuer: self.jwt_issuer.clone(),
            audience: self.jwt_audience.clone(),
            keys: self.jwt_keys.clone(),
        }
    }
}

/// How callers are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthMode {
    /// Everyone who reaches the port; refused on any address but loopback.
    #[default]
    Open,
    /// Who has an API key.
    ApiKey,
    /// Who has a JWT of one issuer, or an API key.
    Jwt,
}
