//! Following a job live, as Server-Sent Events.
//!
//! The ledger is what is shown; the engine's hints only say when to look. A follower that was too slow for the hints
//! looks again, and now and then it looks for itself, since another host may have moved the job. The stream ends when
//! the job is over and all its events are sent, or when the host stops; a client that comes back with
//! `Last-Event-ID` goes on where it was.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{self, Stream};
use lucius_domain::event::Recorded;
use lucius_domain::id::JobId;
use lucius_domain::job::Job;
use lucius_engine::Engine;
use lucius_ports::ledger;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::problem::Problem;
use super::views::EventView;

/// How many events one look takes.
const BATCH: usize = 256;

/// True when nothing more comes after this event.
pub(super) fn is_over(job: &Job, after: u64) -> bool {
    job.progress.status.is_terminal() && after >= job.progress.events
}

/// Answers with the stream.
pub(super) fn follow(
    shared: &Shared,
    job: Arc<Job>,
    after: u64,
    changes: Receiver<JobId>,
) -> Result<Response, Problem> {
    if shared.closing.is_cancelled() {
        return Err(lucius_engine::Refusal::Draining.into());
    }
    let place = Arc::clone(&shared.streams)
        .try_acquire_owned()
        .map_err(|_| {
            let detail =
                "as many streams are open as there may be: try again later, or ask for the list";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "STREAM_LIMIT", detail)
        })?;
    let follower = Follower {
        engine: Arc::clone(&shared.engine),
        closing: shared.closing.clone(),
        poll: shared.settings.stream_poll,
        job,
        after,
        changes,
        ready: VecDeque::new(),
        _place: place,
    };
    let keep_alive = KeepAlive::new().interval(shared.settings.stream_keep_alive);
    Ok(Sse::new(follower.events())
        .keep_alive(keep_alive)
        .into_response())
}

struct Follower {
    engine: Arc<Engine>,
    closing: CancellationToken,
    poll: Duration,
    /// For the names of its steps, which never change.
    job: Arc<Job>,
    after: u64,
    changes: Receiver<JobId>,
    ready: VecDeque<Recorded>,
    _place: OwnedSemaphorePermit,
}

/// The client is told nothing but that the stream broke off; it comes back with `Last-Event-ID`.
#[derive(Debug, thiserror::Error)]
#[error("the stream broke off")]
struct BrokenOff;

impl Follower {
    fn events(self) -> impl Stream<Item = Result<Event, BrokenOff>> {
        stream::unfold(Some(self), async |follower| {
            let mut follower = follower?;
            match follower.next().await {
                Ok(recorded) => {
                    let event = event(&follower.job, &recorded?);
                    Some((Ok(event), Some(follower)))
                }
                Err(error) => {
                    tracing::warn!(jobId = %follower.job.id, %error, "an event stream broke off");
                    Some((Err(BrokenOff), None))
                }
            }
        })
    }

    /// The next event; nothing when there will be none.
    async fn next(&mut self) -> Result<Option<Recorded>, ledger::Error> {
        loop {
            if let Some(recorded) = self.ready.pop_front() {
                self.after = recorded.seq;
                return Ok(Some(recorded));
            }
            let ledger = self.engine.ledger();
            let id = self.job.id;
            self.ready = ledger.events(id, self.after, BATCH).await?.into();
            if !self.ready.is_empty() {
                continue;
            }
            let Some(job) = ledger.load(id).await? else {
                return Ok(None);
            };
            if is_over(&job, self.after) {
                return Ok(None);
            }
            if job.progress.events > self.after {
                continue;
            }
            tokio::select! {
                () = self.closing.cancelled() => return Ok(None),
                () = changed(&mut self.changes, id) => {}
                () = tokio::time::sleep(self.poll) => {}
            }
        }
    }
}

/// Returns when the job may have changed.
async fn changed(changes: &mut Receiver<JobId>, id: JobId) {
    loop {
        match changes.recv().await {
            Ok(job) if job == id => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            // The engine is gone; what is left is to look now and then until the host is gone too.
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

fn event(job: &Job, recorded: &Recorded) -> Event {
    let view = EventView::new(job, recorded);
    // A struct of text, numbers and JSON always serializes, and JSON has no line breaks.
    let data = serde_json::to_string(&view).unwrap_or_default();
    Event::default()
        .id(view.seq.to_string())
        .event(view.event_type)
        .data(data)
}
