//! A bus in a directory of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lucius_domain::time::Timestamp;
use lucius_embedded_bus::{EmbeddedBus, Settings};
use lucius_ports::clock::Clock;

/// 2023-11-14T22:13:20Z, for ever.
pub(crate) struct StoppedClock;

#[async_trait]
impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000)
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// The bus of a data directory.
pub(crate) fn open(directory: &Path, settings: Settings) -> Arc<EmbeddedBus> {
    EmbeddedBus::open(&directory.join("bus.db"), settings, Arc::new(StoppedClock)).unwrap()
}
