//! The ledger in one SQLite file, `ledger.db` in the data directory.
//!
//! What it promises: an answer comes only after the change is synced to disk (WAL, `synchronous=FULL`, both read back
//! at start), the file belongs to one process at a time (a lock that the kernel drops with the process), and a file
//! that is damaged, foreign or newer is refused in one line and left as it is.
//!
//! ```text
//! create, commit, append -> encode -> bounded queue -> writer thread: one transaction for all that wait -> answers
//! load of a live job     -> the writer's cache of what it committed last
//! any other read         -> a reader connection on a blocking thread: a snapshot that never waits for the writer
//! ```
//!
//! On failure: a change that was not answered may have happened or not, and is whole either way. A full disk makes
//! the ledger unavailable until there is room. A file that cannot be written or synced closes it for good, see
//! [`SqliteLedger::health`]; reads go on.

pub mod file;
mod hot;
mod open;
mod port;
mod read;
mod readers;
mod records;
mod row;
mod schema;
mod stats;
mod upkeep;
mod wal;
mod whole;
mod write;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use lucius_ports::ledger::Error;
use tokio::sync::{mpsc, oneshot};

use crate::hot::HotJobs;
use crate::open::Place;
use crate::readers::Readers;
use crate::writer::{Answer, Request, Shared, Writer};

pub use crate::open::OpenError;
pub use crate::stats::Stats;

/// How much of what the ledger may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How many changes may wait for the writer; whoever brings one more waits.
    pub queue: usize,
    /// How many changes go into one transaction at most.
    pub batch: usize,
    /// How many connections read.
    pub readers: usize,
    /// How many live jobs are kept in memory.
    pub hot_jobs: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            queue: 4_096,
            batch: 1_024,
            readers: 3,
            hot_jobs: 10_000,
        }
    }
}

/// The ledger in a file. When the last handle is dropped, what waits is written and the file is closed.
#[derive(Debug)]
pub struct SqliteLedger {
    readers: Arc<Readers>,
    shared: Shared,
    /// `None` only while it is dropped.
    queue: Option<mpsc::Sender<Request>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl SqliteLedger {
    /// Opens the ledger in a data directory, and creates both when they are missing.
    ///
    /// # Errors
    /// One line that says what is wrong and what to do; see [`OpenError`].
    pub fn open(directory: &Path, settings: Settings) -> Result<Arc<Self>, OpenError> {
        let place = Place::take(directory)?;
        let connection = place.open_writer()?;
        let readers = Readers::open(&place, settings.readers)?;
        let shared = Shared {
            hot: Arc::new(HotJobs::new(settings.hot_jobs)),
            counters: Arc::default(),
            broken: Arc::new(OnceLock::new()),
        };
        let (sender, queue) = mpsc::channel(settings.queue.max(1));
        let batch_limit = settings.batch.max(1);
        let file = place.file();
        let writer = Writer {
            connection,
            place,
            queue,
            batch_limit,
            shared: shared.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("ledger-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| OpenError::Io { path: file, source })?;
        let (queue, thread) = (Some(sender), Mutex::new(Some(thread)));
        Ok(Arc::new(Self {
            readers,
            shared,
            queue,
            thread,
        }))
    }

    /// What the writer has done since the ledger was opened.
    pub fn stats(&self) -> Stats {
        self.shared.counters.read()
    }

    /// Whether changes can still be written; a ledger that is not healthy never gets better without a restart.
    ///
    /// # Errors
    /// Why not, in one line.
    pub fn health(&self) -> Result<(), String> {
        match &self.queue {
            Some(queue) if !queue.is_closed() => Ok(()),
            Some(_) | None => Err(self.reason()),
        }
    }

    /// Writes what waits, closes the file and gives it up for other processes. Later calls find the ledger
    /// unavailable; closing again does nothing.
    pub async fn close(&self) {
        self.readers.close();
        let (answer, closed) = oneshot::channel();
        if let Some(queue) = &self.queue
            && queue.send(Request::Close(answer)).await.is_ok()
        {
            // An error means that the writer is gone already.
            let _closed = closed.await;
        }
        let thread = self.thread();
        let joining = tokio::task::spawn_blocking(move || join(thread));
        if let Err(error) = joining.await {
            tracing::warn!(%error, "the ledger's writer was not waited for");
        }
    }

    /// Brings a request to the writer and waits for its answer.
    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let gone = || Error::Unavailable(self.reason());
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        queue.send(request(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    fn reason(&self) -> String {
        let broken = self.shared.broken.get();
        broken
            .cloned()
            .unwrap_or_else(|| "the ledger is closed".to_owned())
    }

    fn thread(&self) -> Option<JoinHandle<()>> {
        self.thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Drop for SqliteLedger {
    fn drop(&mut self) {
        self.readers.close();
        drop(self.queue.take()); // the writer ends when it has written what waits
        join(self.thread());
    }
}

fn join(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread
        && thread.join().is_err()
    {
        tracing::error!("the ledger's writer has panicked; what it had not answered is not known");
    }
}
