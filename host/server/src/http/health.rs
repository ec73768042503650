//! Is the host alive, and can it do its work?

use std::future::Future;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use lucius_domain::id::JobId;
use lucius_engine::gates::health::Condition;
use serde_json::Value;
use uuid::Uuid;

use super::Shared;
use super::problem::Problem;
use super::views::{ChecksView, HealthView, ReadinessView};

const OK: &str = "ok";
/// An older registry generation is live than was asked for; jobs are served all the same.
const DEGRADED: &str = "degraded";

/// Is the host alive?
#[utoipa::path(
    get, path = "/healthz", operation_id = "healthz", tag = "operation",
    responses((status = 200, description = "It answers", body = HealthView))
)]
pub(super) async fn healthz() -> Json<HealthView> {
    Json(HealthView { status: OK })
}

/// Can the host do its work?
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "operation",
    responses(
        (status = 200, description = "It can", body = ReadinessView),
        (status = 503, description = "NOT_READY, with the same `checks`"),
    )
)]
pub(super) async fn readyz(
    State(shared): State<Arc<Shared>>,
) -> Result<Json<ReadinessView>, Problem> {
    let engine = &shared.engine;
    let ports = engine.ports();
    // No job has this id; what counts is that the ledger says so.
    let ledger = check(&shared, "ledger", ports.ledger.load(JobId(Uuid::nil())));
    let bus = check(&shared, "bus", ports.bus.check());
    let (ledger, bus) = tokio::join!(ledger, bus);
    let [of_ledger, of_bus] = engine.health().conditions();
    let (ledger, bus) = (with_writes(ledger, of_ledger), with_writes(bus, of_bus));
    let registry = if engine.registry().live().protocols.is_empty() {
        "empty"
    } else if engine.registry().last_reload().errors.is_empty() {
        OK
    } else {
        DEGRADED
    };
    let stopping = engine.is_draining() || shared.closing.is_cancelled();
    let draining = if stopping { "draining" } else { OK };
    let checks = ChecksView {
        ledger,
        bus,
        registry,
        draining,
    };
    if [ledger, bus, registry, draining]
        .iter()
        .all(|check| [OK, DEGRADED].contains(check))
    {
        return Ok(Json(ReadinessView {
            status: "ready",
            checks,
        }));
    }
    let detail = "the host cannot take commands now; see checks";
    // A struct of text always serializes.
    let checks = serde_json::to_value(checks).unwrap_or(Value::Null);
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "NOT_READY", detail).and("checks", checks))
}

/// A store that answers and takes no writes. The host stays ready all the same: a command is what finds out that
/// it is well again, and workers are to be heard as soon as it is.
fn with_writes(check: &'static str, condition: Condition) -> &'static str {
    if check == OK && condition.is_sick {
        DEGRADED
    } else {
        check
    }
}

async fn check<T, E: std::fmt::Display>(
    shared: &Shared,
    what: &'static str,
    asking: impl Future<Output = Result<T, E>>,
) -> &'static str {
    match tokio::time::timeout(shared.settings.check_timeout, asking).await {
        Ok(Ok(_)) => OK,
        Ok(Err(error)) => {
            tracing::warn!(what, %error, "not ready");
            "unavailable"
        }
        Err(_) => {
            tracing::warn!(what, "not ready: it does not answer in time");
            "slow"
        }
    }
}
