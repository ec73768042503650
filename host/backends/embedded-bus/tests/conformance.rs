//! The embedded bus, in process, against what every bus does.

#![allow(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is the point"
)]

use std::sync::Arc;

use async_trait::async_trait;
use lucius_domain::id::ServiceName;
use lucius_domain::routing::Lane;
use lucius_embedded_bus::{EmbeddedBus, Settings};
use lucius_ports::bus::{Bus, Subscription};
use lucius_ports::conformance::bus::Fixture;
use tempfile::TempDir;

mod support {
    pub(crate) mod bus;
}

struct OnDisk {
    bus: Arc<EmbeddedBus>,
    _directory: TempDir,
}

#[async_trait]
impl Fixture for OnDisk {
    fn bus(&self) -> &dyn Bus {
        &*self.bus
    }

    async fn subscription(&self, lane: Lane, service: &ServiceName) -> Box<dyn Subscription> {
        Box::new(self.bus.subscription(lane, service).unwrap())
    }

    fn max_delivery_count(&self) -> u32 {
        3
    }
}

fn on_disk(settings: Settings) -> OnDisk {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings {
        max_delivery_count: 3,
        ..settings
    };
    OnDisk {
        bus: support::bus::open(directory.path(), settings),
        _directory: directory,
    }
}

#[tokio::test]
async fn what_died_is_shown_and_taken_once() {
    let fixture = on_disk(Settings::default());
    lucius_ports::conformance::bus::what_died_is_shown_and_taken_once(&fixture, &*fixture.bus)
        .await;
}

mod with_bodies_in_memory {
    use super::*;

    lucius_ports::bus_conformance!(async { on_disk(Settings::default()) });
}

mod with_every_body_read_from_the_file {
    use super::*;

    lucius_ports::bus_conformance!(async {
        on_disk(Settings {
            body_memory_bytes: 0,
            ..Settings::default()
        })
    });
}
