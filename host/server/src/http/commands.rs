//! Submitting commands.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse as _, Response};
use lucius_domain::id::TenantId;
use lucius_engine::accept::Accepted;
use serde_json::Value;
use tracing::{Span, field};

use super::access::Calling;
use super::problem::Problem;
use super::views::AcceptedView;
use super::{Shared, body, query, to_the_end};
use crate::telemetry::traces;

/// Submit a command
///
/// The answer comes once the job is durable. The same command again, or the same `idempotency_key`, gives the same
/// job and creates nothing.
#[utoipa::path(
    post, path = "/v1/commands", operation_id = "submit", tag = "jobs",
    request_body = ref("#/components/schemas/CommandEnvelope"),
    responses(
        (status = 202, description = "The job is durable", body = AcceptedView,
         headers(("Location" = String, description = "The job: `/v1/jobs/{jobId}`"))),
        (status = 400, description = "UNSUPPORTED_REQUEST_TYPE, DOC_ID_REQUIRED"),
        (status = 403, description = "TENANT_NOT_ALLOWED"),
        (status = 409, description = "IDEMPOTENCY_KEY_REUSED"),
        (status = 422, description = "INVALID_ENVELOPE, INVALID_PAYLOAD, REF_NOT_ALLOWED, ROUTE_REJECTED"),
        (status = 429, description = "TENANT_LIMIT, TENANT_FUEL_LIMIT, LANE_LIMIT, GLOBAL_LIMIT"),
        (status = 503, description = "PAUSED, PLUGIN_FAULT, BUS_UNAVAILABLE, DRAINING, CONTENDED"),
    )
)]
pub(super) async fn submit(
    State(shared): State<Arc<Shared>>,
    caller: Calling,
    request: Request,
) -> Response {
    match accept(&shared, &caller, request).await {
        Ok(accepted) => {
            shared.metrics.job_accepted(accepted.duplicate);
            let location = format!("/v1/jobs/{}", accepted.job.id);
            let view = AcceptedView::from(&accepted);
            (StatusCode::ACCEPTED, [(LOCATION, location)], Json(view)).into_response()
        }
        Err(problem) => {
            shared.metrics.job_refused(problem.code());
            problem.into_response()
        }
    }
}

async fn accept(shared: &Shared, caller: &Calling, request: Request) -> Result<Accepted, Problem> {
    query::none(request.uri().query())?;
    let mut command = body::json(request, shared.body()).await?;
    // A command that names no tenant does not fit its schema, which the engine says together with all else.
    if let Some(tenant) = command.get("tenant_id").and_then(Value::as_str) {
        caller.check_tenant(&TenantId::from(tenant))?;
    }
    take_place_in_trace(&mut command);
    let _turn = shared.clients.turn()?;
    let engine = Arc::clone(&shared.engine);
    let accepted = to_the_end(async move { engine.accept(command).await }).await?;
    Span::current().record("jobId", field::display(accepted.job.id));
    Ok(accepted)
}

/// The request comes after the client's own place in its trace, and the job after the request. A client's that is no
/// text stays, for the schema to refuse.
fn take_place_in_trace(command: &mut Value) {
    let span = Span::current();
    if let Some(tenant) = command.get("tenant_id").and_then(Value::as_str) {
        span.record("tenant", tenant);
    }
    let told = command.get("traceparent");
    if told.is_some_and(|it| !it.is_string() && !it.is_null()) {
        return;
    }
    if let Some(told) = told.and_then(Value::as_str) {
        span.record("traceparent", told);
    }
    if let (Some(place), Some(members)) = (traces::current(), command.as_object_mut()) {
        members.insert("traceparent".to_owned(), place.into());
    }
}
