//! Looking at what came to nothing.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use lucius_ports::bus::Error;

use super::problem::Problem;
use super::views::DeadLettersView;
use super::{Shared, query};

/// List dead letters
///
/// Jobs that failed for good, grouped by why, the most frequent first; and the bus's dead-letter queues that hold
/// anything. Start them again with `POST /v1/redrives`.
#[utoipa::path(
    get, path = "/v1/dead-letters", operation_id = "listDeadLetters", tag = "operation",
    params(
        ("tenant_id" = Option<String>, Query, description = "Only this tenant's jobs"),
        ("limit" = Option<u32>, Query, description = "At most so many groups", minimum = 1, maximum = 500),
    ),
    responses(
        (status = 200, description = "The groups and the queues", body = DeadLettersView),
        (status = 503, description = "BUS_UNAVAILABLE"),
    )
)]
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
) -> Result<Json<DeadLettersView>, Problem> {
    let (tenant, limit) = query::dead_letters(query.as_deref())?;
    let engine = &shared.engine;
    let groups = engine.dead_letters(tenant.as_ref(), limit).await?;
    let queues = match engine.dead_queues().await {
        Ok(queues) => Ok(queues),
        Err(Error::Refused(reason)) => Err(reason),
        Err(error @ Error::Unavailable(_)) => return Err(Problem::bus(error)),
    };
    Ok(Json(DeadLettersView::new(&groups, queues)))
}
