//! The worker: takes messages from the bus and sees each attempt through to its RESULT.
//!
//! What must hold, whatever dies when: a finished attempt is never worked on again (the record is
//! written before the RESULT is sent), a message is completed only when the host has taken the
//! RESULT or wants none, and a message that is not completed comes back. So a worker may be killed
//! at any line and another one goes on.
//!
//! Attempts are ACKed when they arrive and then wait for a free slot with their lease kept alive:
//! the ACK timeout measures whether directives arrive, not how long the queue is.

mod attempt;
mod backoff;
mod heartbeat;
mod held;
mod lane;
mod report;
mod settings;
mod status;
mod work;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

pub use settings::{Config, Error, Timing};
pub use status::Status;

use crate::bus::{self, Delivery, Lane};
use crate::contract::AttemptKey;
use crate::record::{self, Record};
use crate::refs::Roots;
use crate::service::Service;
use crate::{callback, workspace};

/// What all lanes and attempts of one worker share.
struct Shared {
    service: Arc<dyn Service>,
    bus: bus::Client,
    callbacks: callback::Client,
    record: Record,
    roots: Arc<Roots>,
    timing: Timing,
    /// Slots for work.
    working: Arc<Semaphore>,
    /// Slots for messages in hand, working or waiting; one more a lane for the poll.
    in_hand: Arc<Semaphore>,
    in_flight: InFlight,
    /// Nothing new starts.
    stop: CancellationToken,
    /// What still runs is given back.
    give_back: CancellationToken,
    status: Arc<Status>,
}

/// The attempts in hand, each with the way to give it a newer lock.
///
/// When the bus delivers an attempt that is already in hand, its first lock is lost; the newer one
/// takes its place, so that the message stays ours while the work goes on.
#[derive(Default)]
struct InFlight(Mutex<HashMap<AttemptKey, watch::Sender<Delivery>>>);

impl InFlight {
    /// Enters the attempt, or passes the delivery on to where it is already in hand.
    fn enter(&self, key: &AttemptKey, delivery: Delivery) -> Option<watch::Receiver<Delivery>> {
        let mut attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(in_hand) = attempts.get(key) {
            in_hand.send_replace(delivery);
            return None;
        }
        let (sender, receiver) = watch::channel(delivery);
        attempts.insert(key.clone(), sender);
        Some(receiver)
    }

    fn leave(&self, key: &AttemptKey) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
    }
}

/// Runs `service` on the messages of its subscription until `stop` is cancelled.
///
/// After that, attempts that have a slot may finish within [`Timing::stop_grace`]; all others go
/// back to the bus. Fails at once when the data directory or a root cannot be used; a bus or host
/// that is away is waited for.
pub async fn run(
    config: Config,
    service: Arc<dyn Service>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let shared = Arc::new(open(config, service, stop)?);
    let name = shared.service.name();
    info!(
        service = name,
        step_type = shared.service.step_type(),
        "worker ready"
    );

    let mut lanes = JoinSet::new();
    for lane in Lane::all() {
        lanes.spawn(lane::serve(Arc::clone(&shared), lane));
    }
    let deadline = async {
        shared.stop.cancelled().await;
        shared.status.note_stopping();
        tokio::time::sleep(shared.timing.stop_grace).await;
        shared.give_back.cancel();
        std::future::pending::<()>().await;
    };
    let drained = async {
        while let Some(ended) = lanes.join_next().await {
            if let Err(error) = ended {
                error!(%error, "a lane of the worker ended unexpectedly; stopping");
                shared.stop.cancel();
            }
        }
    };
    tokio::select! {
        () = drained => {}
        () = deadline => {}
    }
    info!(service = name, "worker stopped");
    Ok(())
}

fn open(
    config: Config,
    service: Arc<dyn Service>,
    stop: CancellationToken,
) -> Result<Shared, Error> {
    let Config {
        bus,
        data_dir,
        record,
        refs,
        concurrency,
        accept_ahead,
        timing,
        authorization,
        status,
    } = config;
    std::fs::create_dir_all(&data_dir).map_err(|source| Error::DataDir {
        path: data_dir.clone(),
        source,
    })?;
    let roots = Arc::new(Roots::open(&refs)?);
    let name = workspace::segment(service.name());
    let record = match record {
        Some(shared) => shared,
        None => {
            let file = data_dir.join(format!("worker-{name}.db"));
            Arc::new(record::sqlite::File::open(&file, timing.remember)?) as _
        }
    };

    let http = http_client(&bus)?;
    let concurrency = concurrency.get();
    let in_hand = concurrency
        .saturating_add(accept_ahead)
        .saturating_add(usize::from(bus::LANES));
    Ok(Shared {
        bus: bus::Client::new(
            http.clone(),
            bus,
            service.name().to_owned(),
            authorization,
            timing.call_timeout,
        ),
        callbacks: callback::Client::new(http, timing.call_timeout),
        service,
        record: Record::new(record),
        roots,
        timing,
        working: Arc::new(Semaphore::new(concurrency)),
        in_hand: Arc::new(Semaphore::new(in_hand.min(Semaphore::MAX_PERMITS))),
        in_flight: InFlight::default(),
        give_back: CancellationToken::new(),
        stop,
        status,
    })
}

fn http_client(bus: &url::Url) -> Result<reqwest::Client, Error> {
    let mut builder = reqwest::Client::builder()
        // A redirect would carry the attempt's token to an address the directive does not name.
        .redirect(reqwest::redirect::Policy::none());
    let loopback = match bus.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => return Err(Error::BusUrl(bus.to_string())),
    };
    if loopback {
        builder = builder.no_proxy();
    }
    builder.build().map_err(Error::Http)
}
