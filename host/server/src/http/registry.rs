//! Looking at the registry, and changing which generation is live.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use lucius_domain::id::{Digest, Generation};
use lucius_engine::registry::{Activated, ApproveError, EntryError, Options};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::ToSchema;

use super::problem::Problem;
use super::views::{ActivatedView, ApprovalView, PlanView, RegistryView};
use super::{Shared, body, query, to_the_end};

/// How many earlier generations are shown.
const PREVIOUS: usize = 10;

/// How a candidate is looked at; what is absent is as the host's settings say.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReloadOptions)]
pub(super) struct OptionsBody {
    /// How many of a plugin's past decisions are put to the version that would replace it.
    #[serde(default)]
    replay: Option<usize>,
    /// How many of them it may decide otherwise.
    #[serde(default)]
    max_diff: Option<u64>,
}

/// Where to go back to.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RollbackTo)]
pub(super) struct RollbackBody {
    /// A generation that was live; what was live before the live one when absent.
    #[serde(default)]
    to: Option<u64>,
}

/// Which component.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ComponentDigest)]
pub(super) struct DigestBody {
    /// Its SHA-256, 64 hexadecimal digits.
    #[schema(value_type = String)]
    digest: Digest,
}

/// Show the registry
#[utoipa::path(
    get, path = "/v1/registry", operation_id = "showRegistry", tag = "registry",
    responses(
        (status = 200, description = "The live generation", body = RegistryView),
    )
)]
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
) -> Result<Json<RegistryView>, Problem> {
    query::none(query.as_deref())?;
    view(&shared).await.map(Json)
}

/// Say what a reload would change
///
/// Nothing is done. Past decisions of the plugins that would be replaced are put to their successors.
#[utoipa::path(
    post, path = "/v1/registry:plan", operation_id = "planRegistry", tag = "registry",
    request_body(content = OptionsBody, description = "May be left out"),
    responses(
        (status = 200, description = "What would change", body = PlanView),
        (status = 422, description = "REGISTRY_REFUSED, with `errors`: [{entry, reason}]; INVALID_BODY"),
    )
)]
pub(super) async fn plan(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Json<PlanView>, Problem> {
    let options = options(&shared, request).await?;
    let engine = Arc::clone(&shared.engine);
    match to_the_end(async move { engine.plan(options).await }).await? {
        Ok(plan) => Ok(Json(PlanView::from(&plan))),
        Err(errors) => Err(refused(&errors)),
    }
}

/// Read the registry again
///
/// If anything is wrong with it, all of that is reported and the old generation stays live.
#[utoipa::path(
    post, path = "/v1/registry:reload", operation_id = "reloadRegistry", tag = "registry",
    request_body(content = OptionsBody, description = "May be left out"),
    responses(
        (status = 200, description = "The generation that is live now, and what changed", body = ActivatedView),
        (status = 422, description = "REGISTRY_REFUSED, with `errors`: [{entry, reason}]; INVALID_BODY"),
    )
)]
pub(super) async fn reload(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Json<ActivatedView>, Problem> {
    let options = options(&shared, request).await?;
    let engine = Arc::clone(&shared.engine);
    let outcome = to_the_end(async move { engine.reload(options).await }).await?;
    activated(&shared, outcome).await
}

/// Go back to an earlier generation
///
/// It goes live as a new generation, from what the host has kept: nothing is read from the registry folder.
#[utoipa::path(
    post, path = "/v1/registry:rollback", operation_id = "rollBackRegistry", tag = "registry",
    request_body(content = RollbackBody, description = "May be left out"),
    responses(
        (status = 200, description = "The generation that is live now, and what changed", body = ActivatedView),
        (status = 422, description = "REGISTRY_REFUSED, with `errors`: [{entry, reason}]; INVALID_BODY"),
    )
)]
pub(super) async fn rollback(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Json<ActivatedView>, Problem> {
    let RollbackBody { to } = read(&shared, request).await?;
    let engine = Arc::clone(&shared.engine);
    let to = to.map(Generation);
    let outcome = to_the_end(async move { engine.rollback(to).await }).await?;
    activated(&shared, outcome).await
}

/// Approve a component
///
/// What its entry in the registry asks for now may go live, although it is more than the plugin had.
#[utoipa::path(
    post, path = "/v1/registry:approve", operation_id = "approvePlugin", tag = "registry",
    request_body = DigestBody,
    responses(
        (status = 200, description = "What was approved", body = ApprovalView),
        (status = 422, description = "REGISTRY_REFUSED, with `errors`: [{entry, reason}]; INVALID_BODY"),
    )
)]
pub(super) async fn approve(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Json<ApprovalView>, Problem> {
    let DigestBody { digest } = read(&shared, request).await?;
    let engine = Arc::clone(&shared.engine);
    match to_the_end(async move { engine.approve(digest).await }).await {
        Ok(approval) => Ok(Json(ApprovalView::from(&approval))),
        Err(ApproveError::Ledger(error)) => Err(error.into()),
        Err(error @ (ApproveError::Unknown(_) | ApproveError::Unreadable(_))) => {
            Err(refused(&[EntryError {
                entry: "approve".to_owned(),
                reason: error.to_string(),
            }]))
        }
    }
}

/// Let a component out of quarantine
///
/// It may go live again, by the next reload.
#[utoipa::path(
    post, path = "/v1/registry:release", operation_id = "releasePlugin", tag = "registry",
    request_body = DigestBody,
    responses(
        (status = 200, description = "The live generation", body = RegistryView),
        (status = 422, description = "REGISTRY_REFUSED: it is not quarantined; INVALID_BODY"),
    )
)]
pub(super) async fn release(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Json<RegistryView>, Problem> {
    let DigestBody { digest } = read(&shared, request).await?;
    let engine = Arc::clone(&shared.engine);
    if to_the_end(async move { engine.release(digest).await }).await? {
        return view(&shared).await.map(Json);
    }
    Err(refused(&[EntryError {
        entry: "release".to_owned(),
        reason: format!("{digest} is not quarantined: see quarantined in lucius registry status"),
    }]))
}

async fn activated(
    shared: &Shared,
    outcome: Result<Activated, Vec<EntryError>>,
) -> Result<Json<ActivatedView>, Problem> {
    let Activated { live: _, plan } = outcome.map_err(|errors| refused(&errors))?;
    Ok(Json(ActivatedView {
        registry: view(shared).await?,
        changes: PlanView::from(&plan),
    }))
}

async fn view(shared: &Shared) -> Result<RegistryView, Problem> {
    let engine = &shared.engine;
    let records = engine.ports().generations.latest(PREVIOUS + 1).await?;
    Ok(RegistryView::new(engine, &records))
}

async fn options(shared: &Shared, request: Request) -> Result<Options, Problem> {
    let OptionsBody { replay, max_diff } = read(shared, request).await?;
    let usual = shared.engine.settings().registry.options;
    Ok(Options {
        replay: replay.unwrap_or(usual.replay),
        max_diff: max_diff.or(usual.max_diff),
    })
}

/// A small body; one that was not sent is an empty object.
pub(super) async fn read<T: DeserializeOwned>(
    shared: &Shared,
    request: Request,
) -> Result<T, Problem> {
    query::none(request.uri().query())?;
    let document = match request.headers().get(CONTENT_TYPE) {
        None => Value::Object(serde_json::Map::new()),
        Some(_) => body::json(request, shared.body()).await?,
    };
    serde_json::from_value(document).map_err(|error| {
        let detail = format!("the body is not as it must be: {error}");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "INVALID_BODY", detail)
    })
}

fn refused(errors: &[EntryError]) -> Problem {
    let detail = "the registry is refused, the live generation stays as it is; see errors";
    // A list of structs of text always serializes.
    let errors = serde_json::to_value(errors).unwrap_or(Value::Null);
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "REGISTRY_REFUSED", detail).and("errors", errors)
}
