//! Looking at jobs, and the two verbs that people have for them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use lucius_domain::id::JobId;
use lucius_domain::job::Job;
use lucius_engine::access::Tenants;

use super::access::Calling;
use super::problem::Problem;
use super::views::{JobListView, JobView, StepListView};
use super::{Shared, query, to_the_end};

/// The id in a path, when there is one that can be read.
pub(super) type IdPath = Result<Path<String>, PathRejection>;

/// List jobs
///
/// Newest first. Follow `next_cursor` with the same filter for more.
#[utoipa::path(
    get, path = "/v1/jobs", operation_id = "listJobs", tag = "jobs",
    params(
        ("tenant_id" = Option<String>, Query, description = "Only this tenant's"),
        ("state" = Option<String>, Query, description = "Only in this state"),
        ("request_type" = Option<String>, Query, description = "Only of this request type"),
        ("protocol_id" = Option<String>, Query, description = "Only of this protocol"),
        ("error_code" = Option<String>, Query, description = "Only failed ones with this code"),
        ("signature" = Option<String>, Query, description = "Only failed ones with this signature, as the dead letters name it"),
        ("from" = Option<String>, Query, description = "Only jobs accepted at this moment or later, RFC 3339"),
        ("until" = Option<String>, Query, description = "Only jobs accepted before this moment, RFC 3339"),
        ("limit" = Option<u32>, Query, description = "At most so many", minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of jobs", body = JobListView),
        (status = 400, description = "INVALID_CURSOR"),
        (status = 403, description = "TENANT_NOT_ALLOWED"),
    )
)]
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    caller: Calling,
    RawQuery(query): RawQuery,
) -> Result<Json<JobListView>, Problem> {
    let filter = query::jobs(query.as_deref(), |asked| caller.tenant_of_list(asked))?;
    let page = filter.limit;
    // One more than shown tells whether there are more.
    let mut asked = filter.clone();
    asked.limit = page + 1;
    let found = shared.engine.ledger().list(asked).await?;
    let more = found.len() > page;
    let shown = &found[..found.len().min(page)];
    let next_cursor = shown
        .last()
        .filter(|_| more)
        .map(|last| query::cursor(last.id, &filter));
    let jobs = shown.iter().map(|job| JobView::from(&**job)).collect();
    Ok(Json(JobListView { jobs, next_cursor }))
}

/// Show a job
#[utoipa::path(
    get, path = "/v1/jobs/{jobId}", operation_id = "showJob", tag = "jobs",
    params(("jobId" = String, Path, description = "The job")),
    responses(
        (status = 200, description = "The job", body = JobView),
        (status = 404, description = "JOB_NOT_FOUND"),
    )
)]
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    caller: Calling,
    path: IdPath,
    RawQuery(query): RawQuery,
) -> Result<Json<JobView>, Problem> {
    if path.as_ref().is_ok_and(|Path(text)| text.contains(':')) {
        return Err(Problem::method_not_allowed(Some("POST")));
    }
    query::none(query.as_deref())?;
    let job = load(&shared, &caller, path).await?;
    Ok(Json(JobView::from(&*job)))
}

/// Show a job's steps
#[utoipa::path(
    get, path = "/v1/jobs/{jobId}/steps", operation_id = "showSteps", tag = "jobs",
    params(("jobId" = String, Path, description = "The job")),
    responses(
        (status = 200, description = "The steps, in order", body = StepListView),
        (status = 404, description = "JOB_NOT_FOUND"),
    )
)]
pub(super) async fn steps(
    State(shared): State<Arc<Shared>>,
    caller: Calling,
    path: IdPath,
    RawQuery(query): RawQuery,
) -> Result<Json<StepListView>, Problem> {
    query::none(query.as_deref())?;
    let job = load(&shared, &caller, path).await?;
    Ok(Json(StepListView::from(&*job)))
}

/// Cancel a job
///
/// At once when no directive is out, else as soon as the active attempt ends.
#[utoipa::path(
    post, path = "/v1/jobs/{jobId}:cancel", operation_id = "cancelJob", tag = "jobs",
    params(("jobId" = String, Path, description = "The job")),
    responses(
        (status = 202, description = "The job, CANCELLED or CANCELLING", body = JobView),
        (status = 404, description = "JOB_NOT_FOUND"),
        (status = 409, description = "JOB_TERMINAL"),
        (status = 503, description = "CONTENDED"),
    )
)]
pub(super) async fn cancel(
    State(shared): State<Arc<Shared>>,
    caller: Calling,
    path: IdPath,
    RawQuery(query): RawQuery,
) -> Result<(StatusCode, Json<JobView>), Problem> {
    query::none(query.as_deref())?;
    let id = own(&shared, &caller, path).await?;
    let engine = Arc::clone(&shared.engine);
    let _turn = shared.clients.turn()?;
    let job = to_the_end(async move { engine.cancel(id).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(JobView::from(&*job))))
}

/// Start a failed job again
///
/// At the step that failed, with a fresh budget of attempts.
#[utoipa::path(
    post, path = "/v1/jobs/{jobId}:redrive", operation_id = "redriveJob", tag = "jobs",
    params(("jobId" = String, Path, description = "The job")),
    responses(
        (status = 202, description = "The job, which is under way again", body = JobView),
        (status = 404, description = "JOB_NOT_FOUND"),
        (status = 409, description = "JOB_NOT_FAILED"),
        (status = 429, description = "TENANT_LIMIT, LANE_LIMIT, GLOBAL_LIMIT"),
        (status = 503, description = "PAUSED, CONTENDED"),
    )
)]
pub(super) async fn redrive(
    State(shared): State<Arc<Shared>>,
    caller: Calling,
    path: IdPath,
    RawQuery(query): RawQuery,
) -> Result<(StatusCode, Json<JobView>), Problem> {
    query::none(query.as_deref())?;
    let id = own(&shared, &caller, path).await?;
    let engine = Arc::clone(&shared.engine);
    let _turn = shared.clients.turn()?;
    let job = to_the_end(async move { engine.redrive(id).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(JobView::from(&*job))))
}

/// The job that a path names, if the caller speaks for its tenant. Another's job does not exist for it.
pub(super) async fn load(
    shared: &Shared,
    caller: &Calling,
    path: IdPath,
) -> Result<Arc<Job>, Problem> {
    let job = shared.engine.ledger().load(named(path)?).await?;
    job.filter(|job| caller.0.speaks_for(&job.spec.tenant_id))
        .ok_or_else(Problem::job_not_found)
}

/// The id of a job that the caller may change.
async fn own(shared: &Shared, caller: &Calling, path: IdPath) -> Result<JobId, Problem> {
    match caller.0.tenants {
        Tenants::All => named(path),
        Tenants::Only(_) => Ok(load(shared, caller, path).await?.id),
    }
}

/// A job has one name, the one it was answered with; what cannot be a name is a job that is not there. A verb may
/// follow it.
fn named(path: IdPath) -> Result<JobId, Problem> {
    let Path(text) = path.map_err(|_| Problem::job_not_found())?;
    let text = text.split(':').next().unwrap_or_default();
    let id = JobId::parse(text).filter(|id| id.to_string().eq_ignore_ascii_case(text));
    id.ok_or_else(Problem::job_not_found)
}
