//! What a worker is told: where things are, how much at once, how long to wait.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::Status;
use crate::bus::Authorization;
use crate::{record, refs};

/// A worker's settings.
#[derive(Clone)]
pub struct Config {
    /// The bus: `http://127.0.0.1:7420/bus`.
    pub bus: Url,
    /// The worker's own folder. Made when missing.
    pub data_dir: PathBuf,
    /// Where finished attempts are remembered; in a file in the folder when absent.
    pub record: Option<Arc<dyn record::Store>>,
    /// Which files may be read and written.
    pub refs: refs::Settings,
    /// How many attempts are worked on at once.
    pub concurrency: NonZeroUsize,
    /// How many more are ACKed and kept waiting for a slot. More makes a burst safe from ACK
    /// timeouts; fewer leaves more to other workers of the same service.
    pub accept_ahead: usize,
    /// How long to wait for what.
    pub timing: Timing,
    /// The `Authorization` header for the bus.
    pub authorization: Arc<dyn Authorization>,
    /// Where it says how it is.
    pub status: Arc<Status>,
}

/// Every duration of the worker.
#[derive(Debug, Clone)]
pub struct Timing {
    /// How long one poll waits for a message; whole seconds, at least one.
    pub poll: Duration,
    /// The pause after an empty poll, so that a bus which does not wait is not polled in a circle.
    pub poll_pause: Duration,
    /// How long one call to bus or host may take.
    pub call_timeout: Duration,
    /// How often a message's lock is renewed; well below the bus's lock duration (1 min).
    pub lock_renewal: Duration,
    /// How often a heartbeat is sent; well below the execution lease (15 min).
    pub heartbeat: Duration,
    /// The least time between heartbeats that only bring news of progress.
    pub progress: Duration,
    /// The first wait after a call that failed; each next one is twice as long.
    pub retry_first: Duration,
    /// The longest such wait.
    pub retry_longest: Duration,
    /// How long to try to ACK before the message goes back to the bus.
    pub ack_patience: Duration,
    /// How long one attempt may work.
    pub attempt_limit: Duration,
    /// How long attempts may go on once the worker is told to stop.
    pub stop_grace: Duration,
    /// How long finished attempts are remembered; longer than any message lives on the bus.
    pub remember: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(20),
            poll_pause: Duration::from_millis(50),
            call_timeout: Duration::from_secs(10),
            lock_renewal: Duration::from_secs(20),
            heartbeat: Duration::from_secs(20),
            progress: Duration::from_secs(1),
            retry_first: Duration::from_millis(200),
            retry_longest: Duration::from_secs(15),
            ack_patience: Duration::from_secs(60),
            attempt_limit: Duration::from_secs(2 * 3600),
            stop_grace: Duration::from_secs(20),
            remember: Duration::from_secs(14 * 86_400),
        }
    }
}

/// Why a worker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory cannot be made.
    #[error("cannot use the data directory {}: {source}; choose another with --data-dir", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The record of finished attempts cannot be opened.
    #[error("{0}; repair or remove the worker-*.db file in the data directory")]
    Record(#[from] record::sqlite::Error),
    /// A root cannot be used.
    #[error(transparent)]
    Root(#[from] refs::RootError),
    /// The bus's address is no address.
    #[error("{0} is no bus address; write --bus http://127.0.0.1:7420/bus")]
    BusUrl(String),
    /// No HTTP client can be made on this machine.
    #[error("cannot set up HTTP: {0}; check the machine's proxy settings")]
    Http(reqwest::Error),
}
