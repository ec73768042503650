//! Keys of clients: made, listed, ended. See [`lucius_engine::access::keys`].

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use lucius_engine::access::Scope;
use lucius_engine::access::keys::{Grant, IssueError, KeyId};

use super::access::{Calling, Detail};
use super::problem::Problem;
use super::views::{KeyListView, KeyView, NewKeyView, WantedKeyView};
use super::{Shared, body, query, to_the_end};
use crate::system::random_key;

/// List API keys
#[utoipa::path(
    get, path = "/v1/keys", operation_id = "listKeys", tag = "access",
    responses(
        (status = 200, description = "All keys that were ever made, without their secrets", body = KeyListView),
    )
)]
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
) -> Result<Json<KeyListView>, Problem> {
    query::none(query.as_deref())?;
    let now = shared.engine.ports().clock.now();
    let keys = shared.engine.keys().list().await?;
    let keys = keys.into_iter().map(|key| KeyView::new(key, now)).collect();
    Ok(Json(KeyListView { keys }))
}

/// Make an API key
///
/// The answer is the only place where the key is ever shown. It is good at once.
#[utoipa::path(
    post, path = "/v1/keys", operation_id = "createKey", tag = "access",
    request_body = WantedKeyView,
    responses(
        (status = 201, description = "The new key", body = NewKeyView),
        (status = 422, description = "INVALID_KEY"),
    )
)]
pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    caller: Calling,
    request: Request,
) -> Result<Response, Problem> {
    query::none(request.uri().query())?;
    let wanted = body::json(request, shared.body()).await?;
    let grant = grant(wanted)?;
    let random = random_key().map_err(|error| {
        tracing::error!(%error, "no key can be made");
        Problem::internal()
    })?;
    let engine = Arc::clone(&shared.engine);
    let by = caller.0.name;
    let made = to_the_end(async move { engine.keys().issue(grant, &by, &random).await }).await;
    let issued = made.map_err(|error| match error {
        IssueError::Unfit(unfit) => invalid(unfit.to_string()),
        IssueError::Store(error) => error.into(),
    })?;
    let now = shared.engine.ports().clock.now();
    let works = issued.key.grant.scopes.contains(&Scope::Work);
    let detail = Detail(format!("key {}", issued.key.id));
    let view = NewKeyView {
        bus_key: works.then(|| shared.engine.keys().bus_key(&issued.key.id)),
        secret: issued.text,
        key: KeyView::new(issued.key, now),
    };
    let mut response = (StatusCode::CREATED, Json(view)).into_response();
    response.extensions_mut().insert(detail);
    Ok(response)
}

/// End an API key
///
/// For good; every host refuses it within a second. Again is fine.
#[utoipa::path(
    post, path = "/v1/keys/{keyId}:revoke", operation_id = "revokeKey", tag = "access",
    params(("keyId" = String, Path, description = "The key's id")),
    responses(
        (status = 200, description = "The key, which opens nothing any more", body = KeyView),
        (status = 404, description = "KEY_NOT_FOUND"),
    )
)]
pub(super) async fn revoke(
    State(shared): State<Arc<Shared>>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Json<KeyView>, Problem> {
    query::none(query.as_deref())?;
    let not_found = || {
        let detail = "there is no such key: see \"lucius keys list\"";
        Problem::new(StatusCode::NOT_FOUND, "KEY_NOT_FOUND", detail)
    };
    let Path(text) = path.map_err(|_| not_found())?;
    let id = text.split(':').next().and_then(KeyId::parse);
    let id = id.ok_or_else(not_found)?;
    let engine = Arc::clone(&shared.engine);
    let revoked = to_the_end(async move { engine.keys().revoke(&id).await }).await?;
    let now = shared.engine.ports().clock.now();
    let key = revoked.ok_or_else(not_found)?;
    Ok(Json(KeyView::new(key, now)))
}

fn grant(wanted: serde_json::Value) -> Result<Grant, Problem> {
    let wanted: WantedKeyView =
        serde_json::from_value(wanted).map_err(|error| invalid(error.to_string()))?;
    wanted.grant().map_err(invalid)
}

fn invalid(detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "INVALID_KEY", detail)
}
