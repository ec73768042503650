//! `lucius worker --health`: whether a worker is alive, and whether it gets work.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use lucius_platform::worker::Status;
use serde_json::{Value, json};

/// Serves as long as the program runs.
///
/// # Errors
/// The address cannot be listened on.
pub(super) async fn serve(address: SocketAddr, status: Arc<Status>) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await;
    let listener = listener
        .with_context(|| format!("cannot listen on {address}; choose another with --health"))?;
    let router = Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .with_state(status);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "nobody can see any more how this worker is");
        }
    });
    Ok(())
}

async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn ready(State(status): State<Arc<Status>>) -> (StatusCode, Json<Value>) {
    let bus = match status.bus_answers() {
        true => "ok",
        false => "unavailable",
    };
    let stopping = status.is_stopping();
    let is_ready = status.bus_answers() && !stopping;
    let (code, word) = match is_ready {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    let body =
        json!({ "status": word, "bus": bus, "stopping": stopping, "in_hand": status.in_hand() });
    (code, Json(body))
}
