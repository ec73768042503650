//! Keys and the audit trail as they are shown.

use std::collections::BTreeSet;

use lucius_domain::id::{ServiceName, TenantId};
use lucius_domain::time::Timestamp;
use lucius_engine::access::keys::{ApiKey, Grant};
use lucius_engine::access::{Scope, Tenants};
use lucius_engine::audit::Entry;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

/// A key that is wanted.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = WantedKey)]
pub struct WantedKeyView {
    /// Whose it is, for people; at most 100 characters.
    pub label: String,
    /// Whose jobs it is about; `["*"]` for every tenant's.
    pub tenants: Vec<String>,
    /// What it allows: submit, read, cancel, work, monitor, admin.
    pub scopes: Vec<String>,
    /// With the scope work: whose directives it receives; every service's when empty.
    pub services: Vec<String>,
    /// When it stops to be good, RFC 3339; never when absent.
    pub expires_at: Option<String>,
}

impl WantedKeyView {
    /// The grant that is meant.
    ///
    /// # Errors
    /// What cannot be understood, and what is meant to stand there.
    pub fn grant(self) -> Result<Grant, String> {
        let scope = |name: &String| {
            Scope::parse(name).ok_or_else(|| {
                let known = Scope::ALL.map(Scope::as_str).join(", ");
                format!("\"{name}\" is no scope: use {known}")
            })
        };
        let named = |name: &String| -> Result<(), String> {
            match name.is_empty() || name.trim() != name {
                true => Err(format!("\"{name}\" is no name of a tenant or a service")),
                false => Ok(()),
            }
        };
        self.tenants
            .iter()
            .chain(&self.services)
            .try_for_each(named)?;
        let scopes = self
            .scopes
            .iter()
            .map(scope)
            .collect::<Result<BTreeSet<_>, _>>()?;
        let is_for_all = self.tenants.iter().any(|name| name == "*")
            || (self.tenants.is_empty() && scopes.contains(&Scope::Admin));
        let tenants = match is_for_all {
            true => Tenants::All,
            false => Tenants::Only(
                self.tenants
                    .iter()
                    .map(|it| TenantId::from(&**it))
                    .collect(),
            ),
        };
        let expires_at = self.expires_at.as_deref().map(moment).transpose()?;
        Ok(Grant {
            label: self.label,
            tenants,
            scopes,
            services: self
                .services
                .iter()
                .map(|it| ServiceName::from(&**it))
                .collect(),
            expires_at,
        })
    }
}

fn moment(text: &str) -> Result<Timestamp, String> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok();
    let ms = at.and_then(|at| i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok());
    ms.map(Timestamp)
        .ok_or_else(|| format!("\"{text}\" is no time: write it like 2030-01-31T00:00:00Z"))
}

/// An API key without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Key)]
pub struct KeyView {
    /// Its name; no secret.
    pub id: String,
    /// Whose it is, for people.
    pub label: String,
    /// `live`, `expired` or `revoked`.
    pub state: &'static str,
    /// Whose jobs it is about; `["*"]` for every tenant's.
    pub tenants: Vec<String>,
    /// What it allows.
    #[schema(value_type = Vec<String>)]
    pub scopes: Vec<&'static str>,
    /// With the scope work: whose directives it receives; every service's when empty.
    pub services: Vec<String>,
    /// When it stops to be good; never when null.
    pub expires_at: Option<String>,
    /// When it was made.
    pub created_at: String,
    /// By whom.
    pub created_by: String,
    /// When it was ended.
    pub revoked_at: Option<String>,
}

impl KeyView {
    /// A key as it stands now.
    pub fn new(key: ApiKey, now: Timestamp) -> Self {
        let state = match (key.is_live(now), key.revoked_at) {
            (true, _) => "live",
            (false, Some(_)) => "revoked",
            (false, None) => "expired",
        };
        let tenants = match key.grant.tenants {
            Tenants::All => vec!["*".to_owned()],
            Tenants::Only(names) => names.iter().map(ToString::to_string).collect(),
        };
        Self {
            id: key.id.to_string(),
            label: key.grant.label,
            state,
            tenants,
            scopes: key.grant.scopes.into_iter().map(Scope::as_str).collect(),
            services: key.grant.services.iter().map(ToString::to_string).collect(),
            expires_at: key.grant.expires_at.map(|at| at.to_string()),
            created_at: key.created_at.to_string(),
            created_by: key.created_by,
            revoked_at: key.revoked_at.map(|at| at.to_string()),
        }
    }
}

/// All API keys.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeyList)]
pub struct KeyListView {
    /// In the order of their ids.
    pub keys: Vec<KeyView>,
}

/// A new API key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewKey)]
pub struct NewKeyView {
    /// The key itself, `lucius.<id>.<secret>`. It is shown here and nowhere else.
    pub secret: String,
    /// With the scope work: what a client of Azure Service Bus takes as SharedAccessKey, with the id as
    /// SharedAccessKeyName.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bus_key: Option<String>,
    /// What it is for.
    #[serde(flatten)]
    pub key: KeyView,
}

/// One act of an operator.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub struct AuditEntryView {
    /// When it began.
    pub at: String,
    /// Who: `open`, `key:<id>`, `jwt:<subject>`, `shell` for a command on the data directory, `host:<id>` for what a
    /// host does by itself: it quarantines a plugin, it aborts a canary.
    pub who: String,
    /// What kind of act: the method and the route.
    pub action: String,
    /// What it was done to: the path that was called.
    pub target: String,
    /// Why, as the caller says in the header X-Reason.
    pub reason: Option<String>,
    /// The request, as in the log.
    pub request_id: Option<String>,
    /// More about it.
    pub detail: Option<String>,
    /// The HTTP status it was answered with; null while it is under way, or when the host died over it.
    pub outcome: Option<u16>,
}

impl From<Entry> for AuditEntryView {
    fn from(entry: Entry) -> Self {
        let Entry {
            at,
            who,
            act,
            path,
            why,
            request_id,
            detail,
            status,
        } = entry;
        Self {
            at: at.to_string(),
            who,
            action: act,
            target: path,
            reason: why,
            request_id,
            detail,
            outcome: status,
        }
    }
}

/// A page of the audit trail.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditList)]
pub struct AuditListView {
    /// Newest first.
    pub entries: Vec<AuditEntryView>,
    /// Give this as `cursor` for more; null at the end.
    pub next_cursor: Option<String>,
}
