//! What plugins decided about a job, and moving a job to where others decide.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, Request, State};
use axum::http::StatusCode;
use lucius_domain::id::Generation;
use serde::Deserialize;
use utoipa::ToSchema;

use super::access::Calling;
use super::jobs::{IdPath, load};
use super::problem::Problem;
use super::registry::read;
use super::views::{DecisionListView, DecisionView, JobView, MovedView};
use super::{Shared, query, to_the_end};

/// Where a job is to be moved.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MigrateTo)]
pub(super) struct MigrateBody {
    /// The registry generation.
    to: u64,
    /// True to move it although the plugins there would have decided otherwise.
    #[serde(default)]
    force: bool,
}

/// Show what plugins decided about a job
///
/// Each decision with what was asked and said, so that it can be put to any version of the plugin again.
#[utoipa::path(
    get, path = "/v1/jobs/{jobId}/decisions", operation_id = "showDecisions", tag = "jobs",
    params(("jobId" = String, Path, description = "The job")),
    responses(
        (status = 200, description = "The decisions, in order", body = DecisionListView),
        (status = 404, description = "JOB_NOT_FOUND"),
    )
)]
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    caller: Calling,
    path: IdPath,
    RawQuery(query): RawQuery,
) -> Result<Json<DecisionListView>, Problem> {
    query::none(query.as_deref())?;
    let job = load(&shared, &caller, path).await?;
    let decisions = shared.engine.decisions(job.id).await?;
    let decisions = decisions.ok_or_else(Problem::job_not_found)?;
    Ok(Json(DecisionListView {
        job_id: job.id.to_string(),
        decisions: decisions.iter().map(DecisionView::from).collect(),
    }))
}

/// Move a job to another registry generation
///
/// For its steps that are not over. The plugins there are asked first what was decided about them so far; if they say
/// something else, the job stays, unless it is forced.
#[utoipa::path(
    post, path = "/v1/jobs/{jobId}:migrate", operation_id = "migrateJob", tag = "jobs",
    params(("jobId" = String, Path, description = "The job")),
    request_body = MigrateBody,
    responses(
        (status = 202, description = "The job, and on what the plugins do not agree", body = MovedView),
        (status = 404, description = "JOB_NOT_FOUND"),
        (status = 409, description = "JOB_TERMINAL, MIGRATION_DIFFERS, with `differences`"),
        (status = 422, description = "MIGRATION_REFUSED, INVALID_BODY"),
        (status = 503, description = "CONTENDED"),
    )
)]
pub(super) async fn migrate(
    State(shared): State<Arc<Shared>>,
    caller: Calling,
    path: IdPath,
    request: Request,
) -> Result<(StatusCode, Json<MovedView>), Problem> {
    let id = load(&shared, &caller, path).await?.id;
    let MigrateBody { to, force } = read(&shared, request).await?;
    let engine = Arc::clone(&shared.engine);
    let moving = async move { engine.migrate(id, Generation(to), force).await };
    let moved = to_the_end(moving).await?;
    let view = MovedView {
        job: JobView::from(&*moved.job),
        differences: moved.differences.iter().map(Into::into).collect(),
    };
    Ok((StatusCode::ACCEPTED, Json(view)))
}
