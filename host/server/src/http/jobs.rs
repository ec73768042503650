//! Looking at jobs, and the two verbs that people have for them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use lucius_domain::id::JobId;
use lucius_domain::job::Job;

use super::around::RouteName;
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
        ("limit" = Option<u32>, Query, description = "At most so many", minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of jobs", body = JobListView),
        (status = 400, description = "INVALID_QUERY, INVALID_CURSOR"),
        (status = 503, description = "LEDGER_UNAVAILABLE; see Retry-After"),
    )
)]
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
) -> Result<Json<JobListView>, Problem> {
    let filter = query::jobs(query.as_deref())?;
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
        (status = 503, description = "LEDGER_UNAVAILABLE; see Retry-After"),
    )
)]
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    path: IdPath,
    RawQuery(query): RawQuery,
) -> Result<Json<JobView>, Problem> {
    if path
        .as_ref()
        .is_ok_and(|Path(text)| Verb::split(text).is_some())
    {
        return Err(Problem::method_not_allowed(Some("POST")));
    }
    query::none(query.as_deref())?;
    Ok(Json(JobView::from(&*load(&shared, path).await?)))
}

/// Show a job's steps
#[utoipa::path(
    get, path = "/v1/jobs/{jobId}/steps", operation_id = "showSteps", tag = "jobs",
    params(("jobId" = String, Path, description = "The job")),
    responses(
        (status = 200, description = "The steps, in order", body = StepListView),
        (status = 404, description = "JOB_NOT_FOUND"),
        (status = 503, description = "LEDGER_UNAVAILABLE; see Retry-After"),
    )
)]
pub(super) async fn steps(
    State(shared): State<Arc<Shared>>,
    path: IdPath,
    RawQuery(query): RawQuery,
) -> Result<Json<StepListView>, Problem> {
    query::none(query.as_deref())?;
    Ok(Json(StepListView::from(&*load(&shared, path).await?)))
}

/// What can be asked of a job: `POST /v1/jobs/{jobId}:cancel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Cancel,
    Redrive,
}

impl Verb {
    fn split(text: &str) -> Option<(&str, Self)> {
        let (id, verb) = text.split_once(':')?;
        match verb {
            "cancel" => Some((id, Self::Cancel)),
            "redrive" => Some((id, Self::Redrive)),
            _ => None,
        }
    }

    fn route(self) -> RouteName {
        match self {
            Self::Cancel => RouteName("/v1/jobs/{jobId}:cancel"),
            Self::Redrive => RouteName("/v1/jobs/{jobId}:redrive"),
        }
    }
}

/// One path for the job and its verbs, since the router cannot split a path segment.
pub(super) async fn verb(
    State(shared): State<Arc<Shared>>,
    path: IdPath,
    RawQuery(query): RawQuery,
) -> Response {
    let Ok(Path(text)) = path else {
        return Problem::job_not_found().into_response();
    };
    let Some((id, verb)) = Verb::split(&text) else {
        let problem = if text.contains(':') {
            Problem::not_found()
        } else {
            Problem::method_not_allowed(Some("GET,HEAD"))
        };
        return problem.into_response();
    };
    let outcome = match query::none(query.as_deref()) {
        Ok(()) => match verb {
            Verb::Cancel => cancel(&shared, id).await,
            Verb::Redrive => redrive(&shared, id).await,
        },
        Err(problem) => Err(problem),
    };
    let mut response = match outcome {
        Ok(job) => (StatusCode::ACCEPTED, Json(JobView::from(&*job))).into_response(),
        Err(problem) => problem.into_response(),
    };
    response.extensions_mut().insert(verb.route());
    response
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
        (status = 503, description = "LEDGER_UNAVAILABLE, CONTENDED; see Retry-After"),
    )
)]
pub(super) async fn cancel(shared: &Shared, id: &str) -> Result<Arc<Job>, Problem> {
    let id = parse(id)?;
    let engine = Arc::clone(&shared.engine);
    Ok(to_the_end(async move { engine.cancel(id).await }).await??)
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
        (status = 503, description = "LEDGER_UNAVAILABLE, CONTENDED; see Retry-After"),
    )
)]
pub(super) async fn redrive(shared: &Shared, id: &str) -> Result<Arc<Job>, Problem> {
    let id = parse(id)?;
    let engine = Arc::clone(&shared.engine);
    Ok(to_the_end(async move { engine.redrive(id).await }).await??)
}

/// The job that a path names.
pub(super) async fn load(shared: &Shared, path: IdPath) -> Result<Arc<Job>, Problem> {
    let Path(text) = path.map_err(|_| Problem::job_not_found())?;
    let job = shared.engine.ledger().load(parse(&text)?).await?;
    job.ok_or_else(Problem::job_not_found)
}

/// A job has one name, the one it was answered with; what cannot be a name is a job that is not there.
fn parse(text: &str) -> Result<JobId, Problem> {
    let id = JobId::parse(text).filter(|id| id.to_string().eq_ignore_ascii_case(text));
    id.ok_or_else(Problem::job_not_found)
}
