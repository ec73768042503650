//! JSON Web Tokens of one issuer.
//!
//! What is pinned: one algorithm, one issuer, one audience, and the keys of a local file (a JWK set). A token names
//! one of those keys by `kid`; what its header says about algorithms or about other places to get keys from is not
//! followed. The time is the host's own clock, with a little patience for another one.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use lucius_domain::id::{ServiceName, TenantId};
use lucius_domain::time::Timestamp;
use lucius_engine::access::{Caller, Scope, Tenants};
use serde::{Deserialize, Serialize};

/// How far the issuer's clock may be off, in milliseconds.
const SKEW_MS: i64 = 30_000;
/// The longest token, in bytes.
const MAX_BYTES: usize = 8 << 10;

/// The one algorithm that tokens are signed with. A shared secret is not among them: who can check such a token can
/// make one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignedWith {
    /// RSA, PKCS #1 v1.5, SHA-256.
    #[default]
    RS256,
    /// ECDSA, P-256, SHA-256.
    ES256,
    /// Ed25519.
    EdDSA,
}

/// Whose tokens are taken.
#[derive(Clone, Debug)]
pub struct Trust {
    /// How they are signed.
    pub algorithm: SignedWith,
    /// What `iss` says.
    pub issuer: String,
    /// What `aud` says, or holds.
    pub audience: String,
    /// The file with the issuer's keys, a JWK set.
    pub keys: PathBuf,
}

/// Why no tokens can be taken.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The issuer or the audience is not set.
    #[error(
        "auth.mode \"jwt\" needs auth.jwt_issuer, auth.jwt_audience and auth.jwt_keys: set them"
    )]
    NotSet,
    /// The keys cannot be read.
    #[error("cannot read the keys of JWTs in {}: {reason}; auth.jwt_keys names a JWK set", path.display())]
    Keys {
        /// Where they should be.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Checks tokens.
pub struct Verifier {
    keys: HashMap<String, DecodingKey>,
    validation: Validation,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kids: BTreeSet<&String> = self.keys.keys().collect();
        f.debug_struct("Verifier")
            .field("kids", &kids)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: u64,
    #[serde(default)]
    nbf: Option<u64>,
    /// Names of scopes, apart by spaces; those that mean nothing here are somebody else's.
    #[serde(default)]
    scope: String,
    /// `["*"]` for every tenant.
    #[serde(default)]
    tenants: Vec<String>,
    #[serde(default)]
    services: Vec<String>,
}

impl Verifier {
    /// # Errors
    /// Something is not set, or the keys are not such keys.
    pub fn new(trust: &Trust) -> Result<Self, Unusable> {
        if trust.issuer.is_empty() || trust.audience.is_empty() || trust.keys.as_os_str().is_empty()
        {
            return Err(Unusable::NotSet);
        }
        let algorithm = match trust.algorithm {
            SignedWith::RS256 => Algorithm::RS256,
            SignedWith::ES256 => Algorithm::ES256,
            SignedWith::EdDSA => Algorithm::EdDSA,
        };
        let keys = read(&trust.keys, algorithm).map_err(|reason| Unusable::Keys {
            path: trust.keys.clone(),
            reason,
        })?;
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[&trust.issuer]);
        validation.set_audience(&[&trust.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // By the host's own clock; see `caller`.
        validation.validate_exp = false;
        Ok(Self { keys, validation })
    }

    /// Who a token speaks for.
    pub(super) fn caller(&self, token: &str, now: Timestamp) -> Result<Caller, &'static str> {
        if token.len() > MAX_BYTES {
            return Err("the token is too long");
        }
        let header = decode_header(token).map_err(|_| "it is not written like a token")?;
        let kid = header.kid.ok_or("the token names no key")?;
        let key = self.keys.get(&kid).ok_or("the token's key is unknown")?;
        let claims = decode::<Claims>(token, key, &self.validation);
        let claims = claims.map_err(|_| "the token is wrong")?.claims;
        if now.0 >= in_ms(claims.exp).saturating_add(SKEW_MS) {
            return Err("the token has expired");
        }
        if claims
            .nbf
            .is_some_and(|from| now.0 < in_ms(from).saturating_sub(SKEW_MS))
        {
            return Err("the token is not good yet");
        }
        claims.caller()
    }
}

impl Claims {
    fn caller(self) -> Result<Caller, &'static str> {
        let scopes: BTreeSet<Scope> = self.scope.split(' ').filter_map(Scope::parse).collect();
        let tenants = match self.tenants.iter().any(|name| name == "*") {
            true => Tenants::All,
            false => Tenants::Only(
                self.tenants
                    .iter()
                    .map(|it| TenantId::from(&**it))
                    .collect(),
            ),
        };
        if scopes.contains(&Scope::Admin) && tenants != Tenants::All {
            return Err("a token of an admin is for every tenant");
        }
        Ok(Caller {
            name: format!("jwt:{}", self.sub),
            tenants,
            scopes,
            services: self
                .services
                .iter()
                .map(|it| ServiceName::from(&**it))
                .collect(),
        })
    }
}

fn in_ms(seconds: u64) -> i64 {
    i64::try_from(seconds)
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000)
}

fn read(path: &Path, algorithm: Algorithm) -> Result<HashMap<String, DecodingKey>, String> {
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    let set: JwkSet = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let mut keys = HashMap::new();
    for jwk in &set.keys {
        let kid = jwk.common.key_id.clone().ok_or("a key has no kid")?;
        let key = DecodingKey::from_jwk(jwk).map_err(|error| format!("key {kid}: {error}"))?;
        if key.family() != algorithm.family() {
            return Err(format!("key {kid} is not one of auth.jwt_algorithm"));
        }
        if keys.insert(kid.clone(), key).is_some() {
            return Err(format!("there are two keys {kid}"));
        }
    }
    if keys.is_empty() {
        return Err("there is no key in it".to_owned());
    }
    Ok(keys)
}
