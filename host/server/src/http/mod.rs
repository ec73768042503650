//! The HTTP API.
//!
//! ```text
//! listen      connections: header time-outs, a bound on how many, a graceful end
//! routes      every route, and what it takes
//! access      who calls, and whether that is enough
//! around      every request: its id, its log span, its metrics, panics, problems, security headers
//! budget      what clients may use, so that workers are always heard
//! body, json  what comes in: media type, size, time, then strict JSON
//! commands, jobs, events, callbacks, registry, health   the handlers: they ask the engine and show its answer
//! views       what is shown; problem: every error
//! openapi     the same as a document
//! ```
//!
//! What changes something is carried through ([`to_the_end`]): a client that hangs up does not stop it halfway.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use lucius_engine::Engine;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use self::access::{Access, Guard, Needs};
use self::body::Bounds;
use self::budget::Clients;
use self::metrics::Metrics;
use self::problem::Problem;

pub mod access;
mod around;
mod audit;
mod body;
mod budget;
mod callbacks;
mod commands;
mod console;
mod dead_letters;
mod decisions;
mod events;
mod gates;
mod health;
mod hosts;
mod jobs;
mod json;
mod keys;
pub mod listen;
pub mod metrics;
mod openapi;
pub mod problem;
mod query;
mod redrives;
mod registry;
pub mod routes;
mod stream;
pub mod views;

/// The bounds of the API.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who is let in.
    pub access: Access,
    /// The largest body, in bytes.
    pub body_bytes: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How many connections there may be at once; more are for workers alone.
    pub connections: usize,
    /// How many connections workers may have on top of these; more wait to be accepted.
    pub worker_connections: usize,
    /// How many requests of clients are worked on at once, so that they leave room for callbacks.
    pub client_requests: usize,
    /// How long the head of a request may take to arrive. An idle connection is closed after it, too.
    pub head_timeout: Duration,
    /// How long a client may leave an answer unread before its connection is cut.
    pub stall_timeout: Duration,
    /// How long requests under way may take to end when the host stops.
    pub drain: Duration,
    /// How many live event streams there may be, so that watchers leave room for workers.
    pub streams: usize,
    /// How often a live stream looks for itself, in case another host moved the job.
    pub stream_poll: Duration,
    /// How often a quiet live stream shows that it is there.
    pub stream_keep_alive: Duration,
    /// How long a readiness check may take.
    pub check_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            access: Access::default(),
            body_bytes: 1 << 20,
            body_timeout: Duration::from_secs(30),
            connections: 12_000,
            worker_connections: 1_000,
            client_requests: 2_048,
            head_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(10),
            streams: 1_000,
            stream_poll: Duration::from_secs(5),
            stream_keep_alive: Duration::from_secs(15),
            check_timeout: Duration::from_secs(2),
        }
    }
}

/// The API of one host.
#[derive(Clone)]
pub struct Api {
    shared: Arc<Shared>,
    bus: Option<Router>,
}

/// What the handlers share.
pub(crate) struct Shared {
    engine: Arc<Engine>,
    metrics: Metrics,
    settings: Settings,
    /// Ends the live streams.
    closing: CancellationToken,
    streams: Arc<Semaphore>,
    clients: Clients,
    /// What the request ids of this run begin with.
    run: String,
    requests: AtomicU64,
}

impl Api {
    /// The API of this engine, with the embedded bus below `/bus` if there is one.
    pub fn new(engine: Arc<Engine>, bus: Option<Router>, settings: Settings) -> Self {
        let shared = Shared {
            metrics: Metrics::new(),
            closing: CancellationToken::new(),
            streams: Arc::new(Semaphore::new(settings.streams)),
            clients: Clients::new(settings.client_requests),
            run: format!("{:x}", engine.ports().clock.now().0),
            requests: AtomicU64::new(1),
            engine,
            settings,
        };
        Self {
            shared: Arc::new(shared),
            bus,
        }
    }

    /// The metrics, for more to be added.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// All routes, with all that goes around them.
    pub fn router(&self) -> Router {
        self.with_around(self.routes())
    }

    /// The routes that workers need; the others answer that the host is busy.
    fn router_for_workers(&self) -> Router {
        let routes = self.routes();
        self.with_around(routes.layer(axum::middleware::from_fn(budget::workers_only)))
    }

    fn routes(&self) -> Router {
        let mut router = routes::router(&self.shared);
        if let Some(bus) = &self.bus {
            let guard = Guard {
                shared: Arc::clone(&self.shared),
                needs: Needs::Bus,
                path: "/bus",
            };
            let guard = axum::middleware::from_fn_with_state(guard, access::guard);
            router = router.nest("/bus", bus.clone().layer(guard));
        }
        router
            .fallback(async || Problem::not_found())
            .method_not_allowed_fallback(async || Problem::method_not_allowed(None))
    }

    fn with_around(&self, router: Router) -> Router {
        let around = axum::middleware::from_fn_with_state(Arc::clone(&self.shared), around::around);
        router.layer(around)
    }
}

/// Serves until the future ends, then lets the requests under way end. See [`listen`].
pub async fn serve(listener: TcpListener, api: Api, until: impl Future<Output = ()>) {
    let routers = listen::Routers {
        for_all: api.router(),
        for_workers: api.router_for_workers(),
    };
    listen::serve(
        listener,
        routers,
        &api.shared.settings,
        &api.shared.closing,
        until,
    )
    .await;
}

impl Shared {
    fn body(&self) -> Bounds {
        Bounds {
            bytes: self.settings.body_bytes,
            time: self.settings.body_timeout,
        }
    }

    /// Somebody was not let in.
    fn denied(&self, problem: &Problem) {
        self.metrics.denied(problem.code());
        tracing::info!(code = problem.code(), "a request was not let in");
    }

    fn next_request_id(&self) -> String {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number}", self.run)
    }
}

pub use openapi::document;

/// Carries a change through, also when nobody waits for the answer any more.
fn to_the_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> ToTheEnd<T> {
    ToTheEnd(Some(Box::pin(work.in_current_span())))
}

/// Work that goes on as a task of its own when this is dropped before its end. As long as somebody waits there is no
/// need of one, with its way to another thread and back.
struct ToTheEnd<T: Send + 'static>(Option<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T: Send + 'static> Future for ToTheEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // Taken out, so that work that panics is not taken up again.
        #[expect(clippy::expect_used, reason = "no future is polled after its end")]
        let mut work = self.0.take().expect("it is not at its end");
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            self.0 = Some(work);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for ToTheEnd<T> {
    fn drop(&mut self) {
        // Without a runtime the process is at its end, too.
        if let (Some(work), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_goes_on_when_nobody_waits_for_it_any_more() {
        let (go, gone) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let work = to_the_end(async move {
            let went = gone.await;
            end.send(went).ok();
        });
        assert_eq!(work.now_or_never(), None, "it waits, and is dropped");
        go.send(7).unwrap();
        assert_eq!(ended.await.unwrap(), Ok(7));
    }

    #[tokio::test]
    async fn work_that_somebody_waits_for_gives_its_answer_and_is_done_once() {
        let (end, ended) = oneshot::channel();
        let work = to_the_end(async move { end.send(1).map(|()| 2) });
        assert_eq!(work.await, Ok(2));
        assert_eq!(ended.await, Ok(1));
    }
}
