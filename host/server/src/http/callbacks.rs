//! What services say back about an attempt.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use lucius_domain::contract::CallbackKind;
use serde_json::Value;
use tracing::Span;

use super::access::bearer;
use super::problem::Problem;
use super::views::CallbackView;
use super::{Shared, body, query, to_the_end};

type Answer = Result<Json<CallbackView>, Problem>;

/// Say that a directive has arrived
#[utoipa::path(
    post, path = "/v1/callbacks/ack", operation_id = "ack", tag = "callbacks",
    request_body = ref("#/components/schemas/Ack"),
    responses(
        (status = 200, description = "It is durable, or known already", body = CallbackView),
        (status = 401, description = "TOKEN_MISSING"),
        (status = 403, description = "TOKEN_REFUSED"), (status = 404, description = "JOB_NOT_FOUND"),
        (status = 409, description = "STALE_ATTEMPT"),
        (status = 422, description = "INVALID_CALLBACK"),
        (status = 503, description = "CONTENDED; send it again"),
    )
)]
pub(super) async fn ack(State(shared): State<Arc<Shared>>, request: Request) -> Answer {
    take(&shared, CallbackKind::Ack, request).await
}

/// Say that work goes on, and renew the lease
#[utoipa::path(
    post, path = "/v1/callbacks/heartbeat", operation_id = "heartbeat", tag = "callbacks",
    request_body = ref("#/components/schemas/Heartbeat"),
    responses(
        (status = 200, description = "The lease runs anew, or the job is over", body = CallbackView),
        (status = 401, description = "TOKEN_MISSING"),
        (status = 403, description = "TOKEN_REFUSED"), (status = 404, description = "JOB_NOT_FOUND"),
        (status = 409, description = "STALE_ATTEMPT"),
        (status = 422, description = "INVALID_CALLBACK"),
        (status = 503, description = "CONTENDED; send it again"),
    )
)]
pub(super) async fn heartbeat(State(shared): State<Arc<Shared>>, request: Request) -> Answer {
    take(&shared, CallbackKind::Heartbeat, request).await
}

/// Say how an attempt ended
///
/// The RESULT, the activation of the next step and its directive are one commit.
#[utoipa::path(
    post, path = "/v1/callbacks/result", operation_id = "result", tag = "callbacks",
    request_body = ref("#/components/schemas/Result"),
    responses(
        (status = 200, description = "It is durable, or known already", body = CallbackView),
        (status = 401, description = "TOKEN_MISSING"),
        (status = 403, description = "TOKEN_REFUSED"), (status = 404, description = "JOB_NOT_FOUND"),
        (status = 409, description = "STALE_ATTEMPT, CALLBACK_CONFLICT"),
        (status = 422, description = "INVALID_CALLBACK"),
        (status = 503, description = "CONTENDED; send it again"),
    )
)]
pub(super) async fn result(State(shared): State<Arc<Shared>>, request: Request) -> Answer {
    take(&shared, CallbackKind::Result, request).await
}

async fn take(shared: &Shared, kind: CallbackKind, request: Request) -> Answer {
    let outcome = bring(shared, kind, request).await;
    let label = match &outcome {
        Ok(true) => "applied",
        Ok(false) => "ignored",
        Err(problem) => problem.code(),
    };
    shared.metrics.callback(kind, label);
    outcome.map(|applied| Json(CallbackView { applied }))
}

async fn bring(shared: &Shared, kind: CallbackKind, request: Request) -> Result<bool, Problem> {
    query::none(request.uri().query())?;
    let token = bearer(request.headers()).map(str::to_owned);
    let callback = body::json(request, shared.body()).await?;
    say_which(&callback);
    let engine = Arc::clone(&shared.engine);
    let applied = to_the_end(async move {
        let token = token.as_deref();
        match kind {
            CallbackKind::Ack => engine.ack(callback, token).await,
            CallbackKind::Heartbeat => engine.heartbeat(callback, token).await,
            CallbackKind::Result => engine.result(callback, token).await,
        }
    });
    Ok(applied.await?)
}

/// Tells the log and the trace which attempt a callback is about, as it says itself.
fn say_which(callback: &Value) {
    let span = Span::current();
    for member in ["traceparent", "jobId", "stepId"] {
        if let Some(text) = callback.get(member).and_then(Value::as_str) {
            span.record(member, text);
        }
    }
    if let Some(number) = callback.get("attempt_no").and_then(Value::as_u64) {
        span.record("attempt", number);
    }
}
