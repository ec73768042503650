//! Who calls, and what they may do.
//!
//! A [`Caller`] comes out of a credential and out of nothing else: the tenants it speaks for and what it may do for
//! them. Whatever a request says about tenants is held against the caller, never believed. A job of a tenant that the
//! caller does not speak for does not exist for it.

use std::collections::BTreeSet;
use std::fmt;

use lucius_domain::id::{ServiceName, TenantId};
use serde::{Deserialize, Serialize};

pub mod keys;

/// One thing that a credential allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Submit commands, and start failed jobs again.
    Submit,
    /// Look at jobs.
    Read,
    /// Cancel jobs.
    Cancel,
    /// Receive directives from the bus; they carry the tokens of their callbacks.
    Work,
    /// Look at the host as a whole: metrics, gates, registry.
    Monitor,
    /// Everything, for every tenant.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Submit,
        Self::Read,
        Self::Cancel,
        Self::Work,
        Self::Monitor,
        Self::Admin,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Read => "read",
            Self::Cancel => "cancel",
            Self::Work => "work",
            Self::Monitor => "monitor",
            Self::Admin => "admin",
        }
    }

    /// The scope of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }

    /// True when it is about the host and not about a tenant's jobs, so that it cannot be had for one tenant alone.
    pub fn is_of_the_host(self) -> bool {
        match self {
            Self::Work | Self::Monitor | Self::Admin => true,
            Self::Submit | Self::Read | Self::Cancel => false,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whose jobs a credential is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tenants {
    /// Everyone's.
    All,
    /// Theirs alone.
    Only(BTreeSet<TenantId>),
}

impl Tenants {
    /// True when this tenant is among them.
    pub fn include(&self, tenant: &TenantId) -> bool {
        match self {
            Self::All => true,
            Self::Only(tenants) => tenants.contains(tenant),
        }
    }
}

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who it is, for the record: `open`, `key:<id>`, `jwt:<subject>`. No secret.
    pub name: String,
    /// Whose jobs it may see and change.
    pub tenants: Tenants,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// With [`Scope::Work`]: the services whose directives it receives; every service's when empty.
    pub services: BTreeSet<ServiceName>,
}

impl Caller {
    /// One who may do everything: anybody, on a host that asks for no credentials.
    pub fn anybody() -> Self {
        Self {
            name: "open".to_owned(),
            tenants: Tenants::All,
            scopes: BTreeSet::from([Scope::Admin]),
            services: BTreeSet::new(),
        }
    }

    /// True when its credential allows this. [`Scope::Admin`] allows everything.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    /// True when it may receive this service's directives. They hold what callbacks are sent with.
    pub fn may_work_as(&self, service: &str) -> bool {
        self.may(Scope::Work)
            && (self.services.is_empty() || self.services.iter().any(|it| it.as_str() == service))
    }

    /// True when it speaks for this tenant.
    pub fn speaks_for(&self, tenant: &TenantId) -> bool {
        self.tenants.include(tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_has_a_name_that_is_read_back() {
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
            let stored = serde_json::to_value(scope).expect("a name");
            assert_eq!(stored, scope.as_str());
        }
        assert_eq!(Scope::parse("Admin"), None);
    }

    #[test]
    fn a_caller_may_do_what_its_scopes_say_for_the_tenants_it_speaks_for() {
        let caller = Caller {
            name: "key:1".to_owned(),
            tenants: Tenants::Only(BTreeSet::from([TenantId::from("acme")])),
            scopes: BTreeSet::from([Scope::Read]),
            services: BTreeSet::new(),
        };
        assert!(caller.may(Scope::Read) && !caller.may(Scope::Submit) && !caller.may(Scope::Admin));
        assert!(caller.speaks_for(&TenantId::from("acme")));
        assert!(!caller.speaks_for(&TenantId::from("ACME")));
        let anybody = Caller::anybody();
        assert!(Scope::ALL.into_iter().all(|scope| anybody.may(scope)));
        assert!(anybody.speaks_for(&TenantId::from("any")));
    }
}
