//! A job's events, as a list or as a live stream.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::access::Calling;
use super::jobs::{IdPath, load};
use super::problem::Problem;
use super::views::{EventListView, EventView};
use super::{Shared, query, stream};

/// Show or follow a job's events
///
/// As a list; or, with `Accept: text/event-stream`, as Server-Sent Events: all there are after `Last-Event-ID`, then
/// each as it happens, until the job is over. The `id` of an event is its `seq`, its `event` its type, its `data` the
/// same object as in the list.
#[utoipa::path(
    get, path = "/v1/jobs/{jobId}/events", operation_id = "showEvents", tag = "jobs",
    params(
        ("jobId" = String, Path, description = "The job"),
        ("after" = Option<u64>, Query, description = "Only events after this `seq`"),
        ("limit" = Option<u32>, Query, description = "At most so many; not for the stream", minimum = 1, maximum = 1000),
        ("Last-Event-ID" = Option<u64>, Header, description = "As `after`, for a stream that is taken up again"),
    ),
    responses(
        (status = 200, description = "The events",
         content((EventListView = "application/json"), (String = "text/event-stream"))),
        (status = 204, description = "To a stream taken up again: the job is over and all was sent"),
        (status = 404, description = "JOB_NOT_FOUND"),
        (status = 503, description = "DRAINING, STREAM_LIMIT"),
    )
)]
pub(super) async fn events(
    State(shared): State<Arc<Shared>>,
    caller: Calling,
    path: IdPath,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let range = query::events(query.as_deref())?;
    if wants_stream(&headers) {
        let resumed = last_event_id(&headers)?;
        // Watching begins before the first look, so that nothing in between is missed.
        let changes = shared.engine.watch();
        let job = load(&shared, &caller, path).await?;
        let after = resumed.unwrap_or(range.after);
        if resumed.is_some() && stream::is_over(&job, after) {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        return stream::follow(&shared, job, after, changes);
    }
    let job = load(&shared, &caller, path).await?;
    let events = shared
        .engine
        .ledger()
        .events(job.id, range.after, range.limit)
        .await?;
    let full = events.len() == range.limit;
    let next_after = events.last().filter(|_| full).map(|last| last.seq);
    let events = events
        .iter()
        .map(|recorded| EventView::new(&job, recorded))
        .collect();
    Ok(Json(EventListView { events, next_after }).into_response())
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut types = accepted.flat_map(|value| value.split(','));
    types.any(|range| {
        let essence = range.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("text/event-stream")
    })
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let seq = value.to_str().ok().and_then(query::seq);
    let wrong =
        || Problem::invalid_query("Last-Event-ID is the id of an event of this stream, its seq");
    seq.ok_or_else(wrong).map(Some)
}
