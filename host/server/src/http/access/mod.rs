//! Who is let in. Every route says in the table of [`super::routes`] what it takes; the guard in front of it finds out
//! who calls and refuses what the credential does not allow. A handler gets the [`Caller`] that the guard found, and
//! a handler without a guard gets none and answers 500: forgetting to ask does not open a door.
//!
//! - On an open host everybody who reaches the port may do everything. What keeps foreign web pages out is that it
//!   answers to its own names alone; see [`open`].
//! - Else a request brings `Authorization: Bearer` with an API key, or with a JWT where they are taken; see [`jwt`].
//! - Clients of Azure Service Bus sign their requests with a key instead; the bus takes that, too. See [`sas`].
//!
//! What an operator does is put on record by the guard as well, before it is done; see [`audit`].

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use lucius_domain::id::TenantId;
use lucius_engine::access::keys::{Denied, Keys};
use lucius_engine::access::{Caller, Scope, Tenants};
use tokio::sync::SemaphorePermit;

use super::Shared;
use super::problem::Problem;

mod audit;
pub mod jwt;
pub mod open;
mod sas;

pub(super) use audit::Detail;

/// How callers are known.
#[derive(Clone, Debug)]
pub enum Access {
    /// Anybody who calls the host by one of its own names may do everything.
    Open(open::Names),
    /// By an API key.
    Keys,
    /// By a JWT, or an API key.
    Tokens(Arc<jwt::Verifier>),
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
    /// A caller who may receive that service's messages; to send by hand, an admin. Directives hold the tokens of
    /// their callbacks.
    Bus,
}

/// What the guard of one route needs.
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) shared: Arc<Shared>,
    pub(super) needs: Needs,
    /// The route, as the table has it.
    pub(super) path: &'static str,
}

/// Lets a request through to its handler, or answers in its place.
pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let caller = match guard.admit(&parts).await {
        Ok(caller) => caller,
        Err(problem) => {
            guard.shared.denied(&problem);
            return problem.into_response();
        }
    };
    let Some(caller) = caller else {
        return next.run(Request::from_parts(parts, body)).await;
    };
    let turn = match guard.turn(&parts.method) {
        Ok(turn) => turn,
        Err(problem) => return problem.into_response(),
    };
    let begun = match audit::begin(&guard, &caller, &parts).await {
        Ok(begun) => begun,
        Err(problem) => return problem.into_response(),
    };
    parts.extensions.insert(caller);
    let request = Request::from_parts(parts, body);
    let response = match begun {
        None => next.run(request).await,
        Some(begun) => {
            let shared = Arc::clone(&guard.shared);
            audit::carry_out(shared, begun, next.run(request)).await
        }
    };
    drop(turn);
    response
}

impl Guard {
    /// A client that reads takes its turn here; one that sends a body does once that is there.
    fn turn(&self, method: &Method) -> Result<Option<SemaphorePermit<'_>>, Problem> {
        match self.needs {
            Needs::Scope(Scope::Read) if method.is_safe() => self.shared.clients.turn().map(Some),
            Needs::Scope(_) | Needs::Nothing | Needs::AttemptToken | Needs::Bus => Ok(None),
        }
    }

    async fn admit(&self, parts: &Parts) -> Result<Option<Caller>, Problem> {
        match &self.shared.settings.access {
            Access::Open(names) => names.check(&parts.headers)?,
            Access::Keys | Access::Tokens(_) => {}
        }
        let caller = match self.needs {
            Needs::Nothing | Needs::AttemptToken => return Ok(None),
            Needs::Scope(_) => self.caller(&parts.headers).await?,
            Needs::Bus => match sas::Signature::of(&parts.headers) {
                Some(signature) => self.signer(&signature, parts.uri.path()).await?,
                None => self.caller(&parts.headers).await?,
            },
        };
        let wants = match self.needs {
            Needs::Nothing | Needs::AttemptToken => None,
            Needs::Scope(scope) => Some(scope).filter(|scope| !caller.may(*scope)),
            Needs::Bus => missing_on_the_bus(&caller, &parts.method, parts.uri.path()),
        };
        match wants {
            None => Ok(Some(caller)),
            Some(scope) => {
                let detail = format!(
                    "the credential does not allow this: use one that has the scope \"{scope}\""
                );
                Err(Problem::new(StatusCode::FORBIDDEN, "SCOPE_MISSING", detail))
            }
        }
    }

    async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let keys = self.shared.engine.keys();
        let text = match &self.shared.settings.access {
            Access::Open(_) => return Ok(Caller::anybody()),
            Access::Keys | Access::Tokens(_) => bearer(headers).ok_or_else(missing)?,
        };
        if let Access::Tokens(verifier) = &self.shared.settings.access
            && !Keys::looks_like_one(text)
        {
            let now = self.shared.engine.ports().clock.now();
            return verifier.caller(text, now).map_err(refused);
        }
        keys.caller(text).await.map_err(denied)
    }

    async fn signer(&self, signature: &sas::Signature, path: &str) -> Result<Caller, Problem> {
        if let Access::Open(_) = &self.shared.settings.access {
            return Ok(Caller::anybody());
        }
        let keys = self.shared.engine.keys();
        let now = self.shared.engine.ports().clock.now();
        let id = signature.check_terms(path, now).map_err(refused)?;
        let key = keys.live(&id).await.map_err(denied)?;
        signature.check(&keys.bus_key(&id)).map_err(refused)?;
        Ok(key.caller())
    }
}

/// The scope that a call of the bus lacks. A subscription that is written in another way than the caller's is none
/// of the caller's.
fn missing_on_the_bus(caller: &Caller, method: &Method, path: &str) -> Option<Scope> {
    let mut parts = path.trim_start_matches('/').split('/');
    let (_topic, kind, service) = (parts.next(), parts.next(), parts.next());
    let is_send = *method == Method::POST && kind == Some("messages");
    // What topics and subscriptions are, and what all services have waiting, is for operators.
    let is_entity = parts.next().is_none();
    let is_managing = *method == Method::GET || (*method == Method::PUT && is_entity);
    match (is_send || is_managing, service) {
        (true, _) => Some(Scope::Admin).filter(|scope| !caller.may(*scope)),
        (false, Some(service)) => Some(Scope::Work).filter(|_| !caller.may_work_as(service)),
        (false, None) => Some(Scope::Work).filter(|scope| !caller.may(*scope)),
    }
}

fn missing() -> Problem {
    let detail =
        "this needs a credential: send an API key or a token as \"Authorization: Bearer ...\"";
    Problem::new(StatusCode::UNAUTHORIZED, "CREDENTIAL_MISSING", detail)
}

/// The log says why; who asks is not told.
fn refused(why: &'static str) -> Problem {
    let detail = "the credential is not good here: it is unknown, wrong, revoked or over";
    tracing::debug!(why, "a credential was refused");
    Problem::new(StatusCode::UNAUTHORIZED, "CREDENTIAL_REFUSED", detail)
}

fn denied(why: Denied) -> Problem {
    match why {
        Denied::Refused(why) => refused(why),
        Denied::Store(error) => error.into(),
    }
}

/// The token of `Authorization: Bearer <token>`; another scheme is as good as none.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(services: &[&str]) -> Caller {
        Caller {
            name: "key:1".to_owned(),
            tenants: Tenants::Only([].into()),
            scopes: [Scope::Work].into(),
            services: services.iter().map(|name| (*name).into()).collect(),
        }
    }

    #[test]
    fn a_worker_receives_what_is_for_its_service_and_sends_nothing() {
        let head = "/global-bus-p3/subscriptions/platform-ocr/messages/head";
        let dead = "/global-bus-p3/subscriptions/platform-ocr/$DeadLetterQueue/messages/head";
        for path in [head, dead] {
            for method in [Method::POST, Method::DELETE, Method::PUT] {
                let missing = |services| missing_on_the_bus(&worker(services), &method, path);
                assert_eq!(missing(&[]), None);
                assert_eq!(missing(&["platform-ocr"]), None);
                assert_eq!(missing(&["platform-sis"]), Some(Scope::Work));
            }
        }
        let feed = "/global-bus-p3/subscriptions";
        assert_eq!(
            missing_on_the_bus(&worker(&[]), &Method::GET, feed),
            Some(Scope::Admin)
        );
        let send = "/global-bus-p3/messages";
        assert_eq!(
            missing_on_the_bus(&worker(&[]), &Method::POST, send),
            Some(Scope::Admin)
        );
        assert_eq!(
            missing_on_the_bus(&Caller::anybody(), &Method::POST, send),
            None
        );
    }
}
