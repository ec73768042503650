//! What clients may use of the host, so that they cannot starve workers.
//!
//! A job that nobody can report the end of is stuck, however quickly it was accepted. So two things are never given to
//! clients entirely. Requests of clients that are worked on at the same time have a bound; callbacks and the bus do not
//! count. And connections beyond `limits.connections` are kept for workers: they are accepted, and answer
//! nothing but callbacks, the bus and the health checks. A body takes no turn before it has arrived, so that slow
//! clients use up none.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::Request;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::problem::Problem;

/// The turns of clients.
pub(super) struct Clients {
    turns: Semaphore,
    limit: usize,
    refused: AtomicU64,
}

impl Clients {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            turns: Semaphore::new(limit),
            limit,
            refused: AtomicU64::new(0),
        }
    }

    /// A turn, for as long as it is held.
    ///
    /// # Errors
    /// BUSY.
    pub(super) fn turn(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.turns.try_acquire().map_err(|_| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            busy("as many requests as the host works on at once are under way: try again later")
        })
    }

    pub(super) fn used(&self) -> usize {
        self.limit.saturating_sub(self.turns.available_permits())
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// Lets nothing through but what workers and load balancers ask, and has the connection of everybody else closed.
pub(super) async fn workers_only(request: Request, next: Next) -> Response {
    if is_for_workers(request.uri().path()) {
        return next.run(request).await;
    }
    let detail =
        "all connections for clients are in use, and this one is kept for workers: try again later";
    let mut response = busy(detail).into_response();
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}

/// What is answered however many clients there are.
pub(super) fn is_for_workers(path: &str) -> bool {
    let is_work = path.starts_with("/v1/callbacks/") || path.starts_with("/bus/");
    is_work || matches!(path, "/healthz" | "/readyz")
}

fn busy(detail: &'static str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "BUSY", detail)
}
