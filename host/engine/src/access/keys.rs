//! API keys: `lucius.<id>.<secret>`, where the secret is 256 random bits.
//!
//! A key is shown once, when it is made. What is kept is the SHA-256 of its secret, which is enough to know it again
//! and of no use to who steals it; a secret of that many random bits needs no slow hash. Several keys of one tenant
//! live side by side, so a key is changed by making the second, moving the clients, and revoking the first.
//!
//! Every host keeps what it read for [`FRESH_MS`]; a key that is revoked elsewhere is good here for that long at most.
//!
//! A client of Azure Service Bus does not send a key, it signs with one. The key it signs with ([`Keys::bus_key`]) is
//! made from the hosts' own secret and the key's id, so it is stored nowhere either, and ends with the key.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use lucius_domain::id::{Digest, ServiceName};
use lucius_domain::time::Timestamp;
use lucius_ports::clock::Clock;
use lucius_ports::ledger;
use lucius_ports::records::{self, Document, Kind, Records, Written};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::{Caller, Scope, Tenants};

/// How long a key is taken as it was read, in milliseconds.
pub const FRESH_MS: u64 = 1_000;
/// What every key begins with, so that a scanner for leaked secrets can tell one.
const PREFIX: &str = "lucius";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
/// What a key is made of; the caller draws it.
pub type Random = [u8; ID_BYTES + SECRET_BYTES];
/// The longest label, in characters.
const MAX_LABEL_CHARS: usize = 100;
/// The most tenants or services that one key is for.
const MAX_NAMES: usize = 100;
/// How many look-ups are kept; ids that somebody makes up must not fill the memory.
const MAX_READ: usize = 10_000;

/// Names a key; no secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(String);

impl KeyId {
    /// An id as it is shown, or nothing when it cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = text.len() == 2 * ID_BYTES;
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (fits && text.bytes().all(is_hex)).then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn of(bytes: &[u8]) -> Self {
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn record(&self) -> records::Key {
        records::Key::of(&self.0)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a key is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Whose it is, for people.
    pub label: String,
    /// Whose jobs it is about.
    pub tenants: Tenants,
    /// What it allows.
    pub scopes: BTreeSet<Scope>,
    /// With [`Scope::Work`]: the services whose directives it receives; every service's when empty.
    pub services: BTreeSet<ServiceName>,
    /// When it stops to be good; never when absent.
    pub expires_at: Option<Timestamp>,
}

/// Why a grant makes no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It would allow nothing.
    #[error(
        "a key without a scope allows nothing: name one of submit, read, cancel, work, monitor, admin"
    )]
    NoScope,
    /// A tenant's scope without a tenant.
    #[error("the scopes submit, read and cancel are about tenants: name them, or say all tenants")]
    NoTenant,
    /// [`Scope::Admin`] for some tenants.
    #[error("the scope admin is about the whole host: say all tenants")]
    AdminOfSome,
    /// Services without [`Scope::Work`].
    #[error("services narrow the scope work: add it, or leave the services out")]
    ServicesWithoutWork,
    /// It is over already.
    #[error("the key would have expired already: choose a later time")]
    Expired,
    /// Something is too long.
    #[error("a label has at most 100 characters, and a key at most 100 tenants and 100 services")]
    TooLong,
}

impl Grant {
    /// # Errors
    /// Why no key is made of it.
    pub fn check(&self, now: Timestamp) -> Result<(), Unfit> {
        let is_admin = self.scopes.contains(&Scope::Admin);
        let names = match &self.tenants {
            Tenants::All => None,
            Tenants::Only(names) => Some(names.len()),
        };
        if self.scopes.is_empty() {
            return Err(Unfit::NoScope);
        }
        if is_admin && names.is_some() {
            return Err(Unfit::AdminOfSome);
        }
        if names == Some(0) && self.scopes.iter().any(|scope| !scope.is_of_the_host()) {
            return Err(Unfit::NoTenant);
        }
        if !self.services.is_empty() && !self.scopes.contains(&Scope::Work) {
            return Err(Unfit::ServicesWithoutWork);
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            return Err(Unfit::Expired);
        }
        let too_many = names.unwrap_or_default().max(self.services.len()) > MAX_NAMES;
        if too_many || self.label.chars().count() > MAX_LABEL_CHARS {
            return Err(Unfit::TooLong);
        }
        Ok(())
    }
}

/// A key as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its name.
    pub id: KeyId,
    /// What it is for.
    #[serde(flatten)]
    pub grant: Grant,
    secret_sha256: Digest,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
}

impl Document for ApiKey {
    const KIND: Kind = Kind("api-key");
}

impl ApiKey {
    /// True when it opens anything now.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.grant.expires_at.is_none_or(|at| now < at)
    }

    /// Who calls with it.
    pub fn caller(&self) -> Caller {
        let Grant {
            label: _,
            tenants,
            scopes,
            services,
            expires_at: _,
        } = self.grant.clone();
        Caller {
            name: format!("key:{}", self.id),
            tenants,
            scopes,
            services,
        }
    }
}

/// A new key with its text, which is nowhere else.
pub struct Issued {
    /// What is kept of it.
    pub key: ApiKey,
    /// `lucius.<id>.<secret>`.
    pub text: String,
}

/// Why a key is not made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// It makes no sense.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The store does not say.
    #[error(transparent)]
    Store(#[from] ledger::Error),
}

/// Why a credential opens nothing.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// It is none that there is, it is wrong, revoked or over. Who asks is not told which.
    #[error("{0}")]
    Refused(&'static str),
    /// Whether it is good cannot be known now.
    #[error(transparent)]
    Store(#[from] ledger::Error),
}

/// What the store said about an id, and when.
struct Read {
    key: Option<Arc<ApiKey>>,
    at: Timestamp,
}

/// The keys of one deployment.
pub struct Keys {
    records: Arc<dyn Records>,
    clock: Arc<dyn Clock>,
    bus: Hmac<Sha256>,
    /// Keys of this very process, which are not stored.
    own: Mutex<HashMap<KeyId, Arc<ApiKey>>>,
    read: Mutex<HashMap<KeyId, Read>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    /// The keys in this store. `secret` is the hosts' common key.
    pub fn new(records: Arc<dyn Records>, clock: Arc<dyn Clock>, secret: &[u8; 32]) -> Self {
        #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
        let mut bus =
            Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
        bus.update(b"lucius bus key 1:");
        let (own, read) = Default::default();
        Self {
            records,
            clock,
            bus,
            own,
            read,
        }
    }

    /// Makes a key. It is durable when this returns.
    ///
    /// # Errors
    /// The grant makes no sense, or the store does not answer.
    pub async fn issue(
        &self,
        grant: Grant,
        by: &str,
        random: &Random,
    ) -> Result<Issued, IssueError> {
        let issued = self.make(grant, by, random)?;
        let key = &issued.key;
        match self.records.write(&key.id.record(), key, None).await? {
            Written::Done(_) => Ok(issued),
            Written::Conflict => {
                let text = "the store has a key of this id, although ids are random: try again";
                Err(ledger::Error::Unavailable(text.to_owned()).into())
            }
        }
    }

    /// Makes a key that is good with this very object alone: for workers within the process. It is not stored.
    ///
    /// # Errors
    /// The grant makes no sense.
    pub fn issue_own(&self, grant: Grant, random: &Random) -> Result<Issued, Unfit> {
        let issued = self.make(grant, "this process", random)?;
        let key = Arc::new(issued.key.clone());
        lock(&self.own).insert(key.id.clone(), key);
        Ok(issued)
    }

    fn make(&self, grant: Grant, by: &str, random: &Random) -> Result<Issued, Unfit> {
        let now = self.clock.now();
        grant.check(now)?;
        let (id, secret) = random.split_at(ID_BYTES);
        let key = ApiKey {
            id: KeyId::of(id),
            grant,
            secret_sha256: Digest::of(secret),
            created_at: now,
            created_by: by.to_owned(),
            revoked_at: None,
        };
        let text = format!("{PREFIX}.{}.{}", key.id, URL_SAFE_NO_PAD.encode(secret));
        Ok(Issued { key, text })
    }

    /// What a Service Bus client signs with, with the key's id as the name of its rule.
    pub fn bus_key(&self, id: &KeyId) -> String {
        let mut mac = self.bus.clone();
        mac.update(id.as_str().as_bytes());
        STANDARD.encode(mac.finalize().into_bytes())
    }

    /// All keys that were ever made, by id.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn list(&self) -> Result<Vec<ApiKey>, ledger::Error> {
        let all = self.records.all::<ApiKey>().await?;
        Ok(all.into_iter().map(|it| it.document).collect())
    }

    /// Ends a key for good; again is fine. Nothing when there is no such key.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn revoke(&self, id: &KeyId) -> Result<Option<ApiKey>, ledger::Error> {
        loop {
            let Some(found) = self.records.read::<ApiKey>(&id.record()).await? else {
                return Ok(None);
            };
            let mut key = found.document;
            if key.revoked_at.is_none() {
                key.revoked_at = Some(self.clock.now());
                let written = self
                    .records
                    .write(&found.key, &key, Some(found.version))
                    .await?;
                if written == Written::Conflict {
                    continue;
                }
            }
            lock(&self.read).remove(id);
            return Ok(Some(key));
        }
    }

    /// True when a text is meant to be a key, good or not.
    pub fn looks_like_one(text: &str) -> bool {
        text.strip_prefix(PREFIX)
            .is_some_and(|rest| rest.starts_with('.'))
    }

    /// Who calls with this key.
    ///
    /// # Errors
    /// It opens nothing, or the store does not say.
    pub async fn caller(&self, text: &str) -> Result<Caller, Denied> {
        let (id, secret) = parts(text).ok_or(Denied::Refused("it is not written like a key"))?;
        let key = self.live(&id).await?;
        let digest = Digest::of(&secret);
        if bool::from(digest.0.ct_eq(&key.secret_sha256.0)) {
            Ok(key.caller())
        } else {
            Err(Denied::Refused("the secret is wrong"))
        }
    }

    /// A key that is there, not revoked and not over. Whoever asks has yet to prove that it holds the key.
    ///
    /// # Errors
    /// There is none, or the store does not say.
    pub async fn live(&self, id: &KeyId) -> Result<Arc<ApiKey>, Denied> {
        let now = self.clock.now();
        let key = self.look_up(id, now).await?;
        let key = key.ok_or(Denied::Refused("there is no key of this id"))?;
        match (key.is_live(now), key.revoked_at) {
            (true, _) => Ok(key),
            (false, Some(_)) => Err(Denied::Refused("the key is revoked")),
            (false, None) => Err(Denied::Refused("the key has expired")),
        }
    }

    async fn look_up(
        &self,
        id: &KeyId,
        now: Timestamp,
    ) -> Result<Option<Arc<ApiKey>>, ledger::Error> {
        if let Some(own) = lock(&self.own).get(id) {
            return Ok(Some(Arc::clone(own)));
        }
        if let Some(Read { key, at }) = lock(&self.read).get(id)
            && *at <= now
            && now < at.plus_ms(FRESH_MS)
        {
            return Ok(key.clone());
        }
        let found = self.records.read::<ApiKey>(&id.record()).await?;
        let key = found.map(|found| Arc::new(found.document));
        let mut read = lock(&self.read);
        if read.len() >= MAX_READ {
            read.clear();
        }
        let kept = Read {
            key: key.clone(),
            at: now,
        };
        read.insert(id.clone(), kept);
        Ok(key)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Id and secret of a key's text.
fn parts(text: &str) -> Option<(KeyId, [u8; SECRET_BYTES])> {
    let mut parts = text.split('.');
    let (prefix, id, secret) = (parts.next()?, parts.next()?, parts.next()?);
    if prefix != PREFIX || parts.next().is_some() {
        return None;
    }
    let secret = URL_SAFE_NO_PAD.decode(secret).ok()?.try_into().ok()?;
    Some((KeyId::parse(id)?, secret))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lucius_domain::id::TenantId;

    fn grant(scopes: &[Scope], tenants: Tenants) -> Grant {
        Grant {
            label: "test".to_owned(),
            tenants,
            scopes: scopes.iter().copied().collect(),
            services: BTreeSet::new(),
            expires_at: None,
        }
    }

    fn of(tenant: &str) -> Tenants {
        Tenants::Only(BTreeSet::from([TenantId::from(tenant)]))
    }

    #[test]
    fn a_grant_that_makes_no_sense_makes_no_key() {
        let now = Timestamp(1_000);
        let none = Tenants::Only(BTreeSet::new());
        let past = Grant {
            expires_at: Some(now),
            ..grant(&[Scope::Read], of("acme"))
        };
        let services = Grant {
            services: BTreeSet::from([ServiceName::from("platform-ocr")]),
            ..grant(&[Scope::Read], of("acme"))
        };
        let long = Grant {
            label: "x".repeat(101),
            ..grant(&[Scope::Read], of("acme"))
        };
        for (grant, unfit) in [
            (grant(&[], of("acme")), Unfit::NoScope),
            (grant(&[Scope::Submit], none.clone()), Unfit::NoTenant),
            (grant(&[Scope::Admin], of("acme")), Unfit::AdminOfSome),
            (services, Unfit::ServicesWithoutWork),
            (past, Unfit::Expired),
            (long, Unfit::TooLong),
        ] {
            assert_eq!(grant.check(now), Err(unfit));
        }
        assert_eq!(grant(&[Scope::Work], none).check(now), Ok(()));
        assert_eq!(grant(&[Scope::Admin], Tenants::All).check(now), Ok(()));
    }

    #[test]
    fn what_is_not_written_like_a_key_is_none() {
        let secret = URL_SAFE_NO_PAD.encode([7; SECRET_BYTES]);
        let id = "0123456789abcdef";
        assert!(parts(&format!("lucius.{id}.{secret}")).is_some());
        for text in [
            String::new(),
            format!("lucius.{id}"),
            format!("other.{id}.{secret}"),
            format!("lucius.{id}.{secret}.x"),
            format!("lucius.{id}.{}", &secret[1..]),
            format!("lucius.{}.{secret}", id.to_uppercase()),
            format!("lucius.../x.{secret}"),
        ] {
            assert!(parts(&text).is_none(), "{text}");
        }
    }
}
