//! What operators do, on record: every act on a route that takes the scope `admin`, and what an admin does to a job of
//! somebody else. The entry is durable before the act begins. See [`lucius_engine::audit`].

use std::future::Future;
use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method};
use axum::response::Response;
use lucius_engine::access::{Caller, Scope};
use lucius_engine::audit::{Begun, Entry};

use super::super::around::RequestId;
use super::super::problem::Problem;
use super::super::{Shared, to_the_end};
use super::{Guard, Needs};

/// Why the caller does it.
const REASON: HeaderName = HeaderName::from_static("x-reason");

/// More about an act than its path says; handlers put it on their answer. No secrets.
#[derive(Clone)]
pub(in crate::http) struct Detail(pub(in crate::http) String);

/// Puts the act on record, if it is one that is.
pub(super) async fn begin(
    guard: &Guard,
    caller: &Caller,
    parts: &Parts,
) -> Result<Option<Begun>, Problem> {
    if !is_on_record(guard, caller, &parts.method) {
        return Ok(None);
    }
    let ports = guard.shared.engine.ports();
    let at = ports.clock.now();
    let request_id = parts.extensions.get::<RequestId>();
    let entry = Entry {
        at,
        who: caller.name.clone(),
        act: format!("{} {}", parts.method, guard.path),
        path: parts.uri.path().to_owned(),
        why: reason(&parts.headers),
        request_id: request_id.map(|id| id.0.clone()),
        detail: None,
        status: None,
    };
    let id = ports.ids.job_id(at);
    Ok(Some(guard.shared.engine.audit().begin(entry, id).await?))
}

/// Carries the act out, and adds what came of it, also when the client has gone.
pub(super) async fn carry_out(
    shared: Arc<Shared>,
    begun: Begun,
    act: impl Future<Output = Response> + Send + 'static,
) -> Response {
    let carried_out = to_the_end(async move {
        let response = act.await;
        let status = response.status().as_u16();
        let detail = response.extensions().get::<Detail>().map(|it| &*it.0);
        if let Err(error) = shared.engine.audit().end(begun, status, detail).await {
            tracing::error!(%error, "an entry of the audit trail has no end");
        }
        response
    });
    carried_out.await
}

fn is_on_record(guard: &Guard, caller: &Caller, method: &Method) -> bool {
    if method.is_safe() {
        return false;
    }
    let verb_of_an_operator = guard.path.contains("}:") && caller.scopes.contains(&Scope::Admin);
    match guard.needs {
        Needs::Scope(Scope::Admin) => true,
        Needs::Scope(Scope::Submit | Scope::Cancel) => verb_of_an_operator,
        Needs::Scope(Scope::Read | Scope::Work | Scope::Monitor)
        | Needs::Nothing
        | Needs::AttemptToken
        | Needs::Bus => false,
    }
}

fn reason(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(REASON)?.as_bytes();
    let text = String::from_utf8_lossy(text).trim().to_owned();
    (!text.is_empty()).then_some(text)
}
