//! Who is let in. Every route says in the table of [`super::routes`] what it takes; the guard in front of it finds out
//! who calls and refuses what the credential does not allow. A handler gets the [`Caller`] that the guard found, and
//! a handler without a guard gets none and answers 500: forgetting to ask does not open a door.
//!
//! On an open host everybody who reaches the port may do everything. What keeps foreign web pages out is that it
//! answers to its own names alone; see [`open`].

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use lucius_domain::id::TenantId;
use lucius_engine::access::{Caller, Scope, Tenants};

use super::problem::Problem;

pub mod open;

/// How callers are known.
#[derive(Clone, Debug)]
pub enum Access {
    /// Anybody who calls the host by one of its own names may do everything.
    Open(open::Names),
}

impl Default for Access {
    fn default() -> Self {
        Self::Open(open::Names::default())
    }
}

/// What a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: it says nothing about jobs, tenants or plugins.
    Nothing,
    /// The token of an attempt, which the engine checks.
    AttemptToken,
    /// A caller with this scope.
    Scope(Scope),
}

impl Access {
    fn caller(&self) -> Caller {
        match self {
            Self::Open(_) => Caller::anybody(),
        }
    }

    /// Whether this host may be called like that at all, before anything else is asked.
    fn check_names(&self, parts: &Parts) -> Result<(), Problem> {
        match self {
            Self::Open(names) => names.check(&parts.headers),
        }
    }
}

/// What the guard of one route needs.
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) access: Arc<Access>,
    pub(super) needs: Needs,
}

/// Lets a request through to its handler, or answers in its place.
pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match guard.admit(&parts) {
        Ok(caller) => {
            if let Some(caller) = caller {
                parts.extensions.insert(caller);
            }
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => problem.into_response(),
    }
}

impl Guard {
    fn admit(&self, parts: &Parts) -> Result<Option<Caller>, Problem> {
        self.access.check_names(parts)?;
        match self.needs {
            Needs::Nothing | Needs::AttemptToken => Ok(None),
            Needs::Scope(scope) => {
                let caller = self.access.caller();
                if caller.may(scope) {
                    Ok(Some(caller))
                } else {
                    tracing::warn!(caller = caller.name, %scope, "refused: the scope is missing");
                    Err(out_of_scope(scope))
                }
            }
        }
    }
}

fn out_of_scope(scope: Scope) -> Problem {
    let detail =
        format!("the credential does not allow this: use one that has the scope \"{scope}\"");
    Problem::new(StatusCode::FORBIDDEN, "SCOPE_MISSING", detail)
}

/// Who calls, as the guard found out.
pub(super) struct Calling(pub(super) Caller);

impl<S: Sync> FromRequestParts<S> for Calling {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Caller>().cloned();
        caller.map(Self).ok_or_else(|| {
            tracing::error!("a route that asks who calls does not say which scope it takes");
            Problem::internal()
        })
    }
}

impl Calling {
    /// Whether the caller speaks for the tenant that a request names.
    pub(super) fn check_tenant(&self, tenant: &TenantId) -> Result<(), Problem> {
        if self.0.speaks_for(tenant) {
            return Ok(());
        }
        tracing::warn!(caller = self.0.name, "refused: another tenant");
        let detail = "the credential is not one of this tenant: name the tenant it was made for";
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "TENANT_NOT_ALLOWED",
            detail,
        ))
    }

    /// The tenant that a list is about: the one that is asked for, or the one that there is.
    pub(super) fn tenant_of_list(
        &self,
        asked: Option<TenantId>,
    ) -> Result<Option<TenantId>, Problem> {
        match (&self.0.tenants, asked) {
            (_, Some(tenant)) => self.check_tenant(&tenant).map(|()| Some(tenant)),
            (Tenants::All, None) => Ok(None),
            (Tenants::Only(tenants), None) => {
                let mut tenants = tenants.iter();
                match (tenants.next(), tenants.next()) {
                    (Some(only), None) => Ok(Some(only.clone())),
                    (None, _) | (_, Some(_)) => Err(Problem::invalid_query(
                        "the credential is one of several tenants: name one of them as tenant_id",
                    )),
                }
            }
        }
    }
}
