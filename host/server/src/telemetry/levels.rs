//! How full things are, read when somebody asks for the metrics.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use lucius_embedded_bus::EmbeddedBus;
use lucius_sqlite::SqliteLedger;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MessageLabels {
    service: String,
    state: &'static str,
}

type Level = Gauge<u64, AtomicU64>;

/// The stores of one host, as full as they are.
pub struct Levels {
    ledger: Option<Arc<SqliteLedger>>,
    bus: Option<Arc<EmbeddedBus>>,
    data_dir: PathBuf,
    queue: Level,
    batch: Level,
    messages: Family<MessageLabels, Level>,
    free: Level,
    size: Level,
}

impl Levels {
    /// The levels of these; what is beyond this machine is measured by those who run it.
    pub fn new(
        ledger: Option<Arc<SqliteLedger>>,
        bus: Option<Arc<EmbeddedBus>>,
        data_dir: PathBuf,
    ) -> Self {
        Self {
            ledger,
            bus,
            data_dir,
            queue: Level::default(),
            batch: Level::default(),
            messages: Family::default(),
            free: Level::default(),
            size: Level::default(),
        }
    }

    /// Adds the metrics to those of the host.
    pub fn register(&self, to: &mut Registry) {
        to.register(
            "ledger_queue",
            "Changes that waited when the last batch was taken",
            self.queue.clone(),
        );
        to.register(
            "ledger_last_batch",
            "Changes in the last batch",
            self.batch.clone(),
        );
        to.register(
            "bus_queue_messages",
            "Messages on the bus, by service and state: ready, locked, dead",
            self.messages.clone(),
        );
        to.register_with_unit(
            "data_dir_free",
            "Room on the disk of the data directory",
            Unit::Bytes,
            self.free.clone(),
        );
        to.register_with_unit(
            "data_dir_size",
            "The disk of the data directory",
            Unit::Bytes,
            self.size.clone(),
        );
    }

    /// Reads them.
    pub fn read(&self) {
        if let Some(stats) = self.ledger.as_ref().map(|ledger| ledger.stats()) {
            self.queue.set(stats.queue_depth);
            self.batch.set(stats.last_batch);
        }
        self.messages.clear();
        let subscriptions = self.bus.as_ref().map(|bus| bus.stats().subscriptions);
        for subscription in subscriptions.into_iter().flatten() {
            let states = [
                ("ready", subscription.ready),
                ("locked", subscription.locked),
                ("dead", subscription.dead),
            ];
            for (state, messages) in states {
                let service = subscription.service.clone();
                let labels = MessageLabels { service, state };
                let messages = u64::try_from(messages).unwrap_or(u64::MAX);
                self.messages.get_or_create(&labels).inc_by(messages);
            }
        }
        match room(&self.data_dir) {
            Ok(Room { free, size }) => {
                self.free.set(free);
                self.size.set(size);
            }
            Err(error) => {
                tracing::warn!(%error, "the room on the data directory's disk is not known")
            }
        }
    }
}

/// A disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// What this process may still write.
    pub free: u64,
    /// All of it.
    pub size: u64,
}

/// The disk that a directory is on.
///
/// # Errors
/// The directory is not there, or the system does not say.
pub fn room(directory: &std::path::Path) -> std::io::Result<Room> {
    let disk = rustix::fs::statvfs(directory)?;
    Ok(Room {
        free: disk.f_bavail.saturating_mul(disk.f_frsize),
        size: disk.f_blocks.saturating_mul(disk.f_frsize),
    })
}
