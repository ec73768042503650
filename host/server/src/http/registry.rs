//! Looking at the registry, and reading it again.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use lucius_engine::registry::EntryError;
use serde_json::Value;

use super::problem::Problem;
use super::views::RegistryView;
use super::{Shared, query, to_the_end};

/// How many earlier generations are shown.
const PREVIOUS: usize = 10;

/// Show the registry
#[utoipa::path(
    get, path = "/v1/registry", operation_id = "showRegistry", tag = "registry",
    responses(
        (status = 200, description = "The live generation", body = RegistryView),
        (status = 503, description = "LEDGER_UNAVAILABLE; see Retry-After"),
    )
)]
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
) -> Result<Json<RegistryView>, Problem> {
    query::none(query.as_deref())?;
    view(&shared).await.map(Json)
}

/// Read the registry again
///
/// If anything is wrong with it, all of that is reported and the old generation stays live.
#[utoipa::path(
    post, path = "/v1/registry:reload", operation_id = "reloadRegistry", tag = "registry",
    responses(
        (status = 200, description = "The generation that is live now", body = RegistryView),
        (status = 422, description = "REGISTRY_REFUSED, with `errors`: [{entry, reason}]"),
        (status = 503, description = "LEDGER_UNAVAILABLE; see Retry-After"),
    )
)]
pub(super) async fn reload(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
) -> Result<Json<RegistryView>, Problem> {
    query::none(query.as_deref())?;
    let engine = Arc::clone(&shared.engine);
    match to_the_end(async move { engine.reload().await }).await?? {
        Ok(_live) => view(&shared).await.map(Json),
        Err(errors) => Err(refused(&errors)),
    }
}

async fn view(shared: &Shared) -> Result<RegistryView, Problem> {
    let engine = &shared.engine;
    let records = engine.ports().generations.latest(PREVIOUS + 1).await?;
    let registry = engine.registry();
    Ok(RegistryView::new(
        &registry.live(),
        &registry.last_reload(),
        &records,
    ))
}

fn refused(errors: &[EntryError]) -> Problem {
    let detail = "the registry is refused, the live generation stays as it is; see errors";
    // A list of structs of text always serializes.
    let errors = serde_json::to_value(errors).unwrap_or(Value::Null);
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "REGISTRY_REFUSED", detail).and("errors", errors)
}
