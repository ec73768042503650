//! The accept loop.
//!
//! Why not `axum::serve`: it sets no timer, so a client that sends its request's head one byte at a time holds a
//! connection for ever. Here the head has a time and a size, an answer that is not read has a time, the number of connections
//! is bounded (some are for workers alone, see [`super::budget`]; more wait in the kernel), and no error of accepting ends the loop: with every descriptor in use it waits and tries again.
//!
//! Stopping is graceful: nothing new is accepted, idle connections are closed, requests under way end and their
//! connections with them; what is left at the deadline is cut.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use self::stall::Patient;
use super::Settings;

mod stall;

/// The most a request's head may have, in bytes; longer is answered 431.
const HEAD_BYTES: usize = 32 << 10;
/// The first wait after accepting failed; each one after it is twice as long, up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Serves until the future ends, then stops as the module says. `closing` is cancelled first, for what would not end
/// by itself.
pub(super) async fn serve(
    listener: TcpListener,
    routers: Routers,
    settings: &Settings,
    closing: &CancellationToken,
    until: impl Future<Output = ()>,
) {
    let places = Places {
        for_all: Pool::new(settings.connections),
        for_workers: Pool::new(settings.worker_connections),
    };
    let serving = Serving {
        protocol: protocol(settings.head_timeout),
        patience: settings.stall_timeout,
        routers,
        closing: closing.clone(),
        cut: CancellationToken::new(),
    };
    let mut until = pin!(until);
    loop {
        tokio::select! {
            biased;
            () = &mut until => break,
            (stream, place, kind) = next(&listener, &places) => {
                let serving = serving.clone();
                tokio::spawn(async move {
                    serving.connection(stream, kind).await;
                    drop(place);
                });
            }
        }
    }
    drop(listener);
    closing.cancel();
    // Every place is free again once every connection is closed.
    let closed = tokio::time::timeout(settings.drain, places.all_free()).await;
    if closed.is_err() {
        let open = places.for_all.used() + places.for_workers.used();
        tracing::warn!(
            connections = open,
            "cut at the deadline; nothing that was answered is lost"
        );
        serving.cut.cancel();
    }
}

fn protocol(head_timeout: Duration) -> http1::Builder {
    let mut protocol = http1::Builder::new();
    protocol
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_header_size(HEAD_BYTES)
        .max_buf_size(HEAD_BYTES);
    protocol
}

/// The next connection, once there is a place for it.
async fn next(listener: &TcpListener, places: &Places) -> (TcpStream, OwnedSemaphorePermit, Kind) {
    let (place, kind) = places.next().await;
    let mut wait = FIRST_WAIT;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (place, kind) = places.best_now(place, kind);
                return (stream, place, kind);
            }
            Err(error) if is_the_clients(&error) => {
                tracing::debug!(%error, "a client was gone before it was accepted");
            }
            Err(error) => {
                tracing::error!(%error, ?wait, "connections cannot be accepted; trying again");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }
}

/// True when only that one connection is concerned.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
    )
}

/// What connections serve.
#[derive(Clone)]
pub(super) struct Routers {
    /// Everything.
    pub(super) for_all: Router,
    /// What workers need.
    pub(super) for_workers: Router,
}

/// Whom a connection is for.
#[derive(Clone, Copy)]
enum Kind {
    All,
    Workers,
}

/// Places for connections.
struct Places {
    for_all: Pool,
    for_workers: Pool,
}

struct Pool {
    all: u32,
    free: Arc<Semaphore>,
}

impl Pool {
    fn new(places: usize) -> Self {
        let all = u32::try_from(places).unwrap_or(u32::MAX).max(1);
        let free = Semaphore::new(usize::try_from(all).unwrap_or(usize::MAX));
        Self {
            all,
            free: Arc::new(free),
        }
    }

    async fn place(&self) -> OwnedSemaphorePermit {
        match Arc::clone(&self.free).acquire_owned().await {
            Ok(place) => place,
            // The semaphore is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    fn used(&self) -> usize {
        usize::try_from(self.all).unwrap_or(usize::MAX) - self.free.available_permits()
    }
}

impl Places {
    /// A place for anybody as long as there is one, else one for workers.
    async fn next(&self) -> (OwnedSemaphorePermit, Kind) {
        tokio::select! {
            biased;
            place = self.for_all.place() => (place, Kind::All),
            place = self.for_workers.place() => (place, Kind::Workers),
        }
    }

    /// A place for anybody instead of one for workers, if one has become free since that was taken: the next client
    /// may have come long after.
    fn best_now(&self, place: OwnedSemaphorePermit, kind: Kind) -> (OwnedSemaphorePermit, Kind) {
        match kind {
            Kind::All => (place, kind),
            Kind::Workers => match Arc::clone(&self.for_all.free).try_acquire_owned() {
                Ok(better) => (better, Kind::All),
                Err(_) => (place, kind),
            },
        }
    }

    async fn all_free(&self) {
        for pool in [&self.for_all, &self.for_workers] {
            let _all = pool.free.acquire_many(pool.all).await;
        }
    }
}

#[derive(Clone)]
struct Serving {
    protocol: http1::Builder,
    patience: Duration,
    routers: Routers,
    closing: CancellationToken,
    cut: CancellationToken,
}

impl Serving {
    async fn connection(self, stream: TcpStream, kind: Kind) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection stays without TCP_NODELAY");
        }
        let service = TowerToHyperService::new(match kind {
            Kind::All => self.routers.for_all,
            Kind::Workers => self.routers.for_workers,
        });
        let stream = TokioIo::new(Patient::new(stream, self.patience));
        let mut connection = pin!(self.protocol.serve_connection(stream, service));
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = self.closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    outcome = connection => outcome,
                    () = self.cut.cancelled() => return,
                }
            }
        };
        if let Err(error) = outcome {
            // Clients that hang up or time out are everyday.
            tracing::debug!(%error, "a connection ended early");
        }
    }
}
