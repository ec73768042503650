//! Why commands are refused just now, and what operators have stopped.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use lucius_engine::gates::pause::{Pause, Target};
use serde_json::Value;

use super::access::{Calling, Detail};
use super::problem::Problem;
use super::views::{
    GateView, GatesView, PauseListView, PauseView, ResumeView, StoreHealthView, WantedPauseView,
};
use super::{Shared, body, query, to_the_end};

/// How the gates stand
#[utoipa::path(
    get, path = "/v1/gates", operation_id = "showGates", tag = "operation",
    responses(
        (status = 200, description = "Each limit, what it lets in now and what it turned away", body = GatesView),
    )
)]
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
) -> Result<Json<GatesView>, Problem> {
    query::none(query.as_deref())?;
    let engine = &shared.engine;
    let now = engine.ports().clock.now();
    let pauses = engine.pauses().list(now).await?;
    let live = engine.registry().live();
    let tenant_limit = |tenant: &_| live.tenant_limit(tenant);
    let standings = engine.gates().standings(&tenant_limit);
    let clients = &shared.clients;
    let at_most = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let of_clients = GateView {
        gate: "client_requests",
        fullest: None,
        used: at_most(clients.used()),
        limit: at_most(clients.limit()),
        refused: clients.refused(),
        freed_per_second: 0.0,
    };
    let gates = standings.into_iter().map(GateView::from);
    Ok(Json(GatesView {
        draining: engine.is_draining(),
        held: u64::try_from(engine.pauses().held()).unwrap_or(u64::MAX),
        gates: gates.chain([of_clients]).collect(),
        health: engine
            .health()
            .conditions()
            .map(StoreHealthView::from)
            .into(),
        pauses: pauses.iter().cloned().map(PauseView::from).collect(),
    }))
}

/// What is paused
#[utoipa::path(
    get, path = "/v1/pauses", operation_id = "listPauses", tag = "operation",
    responses(
        (status = 200, description = "All pauses", body = PauseListView),
    )
)]
pub(super) async fn pauses(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
) -> Result<Json<PauseListView>, Problem> {
    query::none(query.as_deref())?;
    list(&shared).await.map(Json)
}

/// Pause something
///
/// What is paused stays in the outbox: nothing new of it reaches a worker. Commands are accepted and wait, or are
/// refused. What workers have goes on.
#[utoipa::path(
    post, path = "/v1/pauses", operation_id = "pause", tag = "operation",
    request_body = WantedPauseView,
    responses(
        (status = 200, description = "All pauses; every host goes by them within a second", body = PauseListView),
        (status = 422, description = "INVALID_PAUSE"),
    )
)]
pub(super) async fn pause(
    State(shared): State<Arc<Shared>>,
    caller: Calling,
    request: Request,
) -> Result<Response, Problem> {
    query::none(request.uri().query())?;
    let wanted: WantedPauseView = wanted(body::json(request, shared.body()).await?)?;
    let target = target(&wanted.target)?;
    let detail = format!("{target}, {}", wanted.manner.as_str());
    let pause = Pause {
        target,
        manner: wanted.manner.into(),
        since: shared.engine.ports().clock.now(),
        by: caller.0.name,
        reason: wanted.reason,
    };
    let engine = Arc::clone(&shared.engine);
    to_the_end(async move { engine.pauses().pause(pause).await }).await?;
    Ok(noted(detail, list(&shared).await?))
}

/// End a pause
///
/// What was held goes out with the next look at the outbox. Again is fine.
#[utoipa::path(
    post, path = "/v1/pauses:resume", operation_id = "resume", tag = "operation",
    request_body = ResumeView,
    responses(
        (status = 200, description = "The pauses that are left", body = PauseListView),
        (status = 422, description = "INVALID_PAUSE"),
    )
)]
pub(super) async fn resume(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Problem> {
    query::none(request.uri().query())?;
    let wanted: ResumeView = wanted(body::json(request, shared.body()).await?)?;
    let target = target(&wanted.target)?;
    let detail = target.to_string();
    let now = shared.engine.ports().clock.now();
    let engine = Arc::clone(&shared.engine);
    to_the_end(async move { engine.pauses().resume(&target, now).await }).await?;
    Ok(noted(detail, list(&shared).await?))
}

async fn list(shared: &Shared) -> Result<PauseListView, Problem> {
    let now = shared.engine.ports().clock.now();
    let pauses = shared.engine.pauses().list(now).await?;
    Ok(PauseListView {
        pauses: pauses.iter().cloned().map(PauseView::from).collect(),
    })
}

fn noted(detail: String, view: PauseListView) -> Response {
    let mut response = (StatusCode::OK, Json(view)).into_response();
    response.extensions_mut().insert(Detail(detail));
    response
}

fn wanted<T: serde::de::DeserializeOwned>(body: Value) -> Result<T, Problem> {
    serde_json::from_value(body).map_err(|error| invalid(error.to_string()))
}

fn target(text: &str) -> Result<Target, Problem> {
    Target::parse(text).map_err(|error| invalid(error.to_string()))
}

fn invalid(detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "INVALID_PAUSE", detail)
}
