//! The bus through Microsoft's crate keeps the promises of every bus, tried on the embedded bus over HTTP.

#![allow(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is the point"
)]

use std::sync::Arc;

use async_trait::async_trait;
use lucius_azure_servicebus::{Connection, ServiceBus};
use lucius_domain::id::ServiceName;
use lucius_domain::routing::Lane;
use lucius_embedded_bus::{EmbeddedBus, Settings};
use lucius_ports::bus::{Bus, Error, Subscription};
use lucius_ports::conformance;
use lucius_ports::conformance::bus::Fixture;
use tempfile::TempDir;
use tokio::task::JoinHandle;

mod support {
    pub(crate) mod wall;
}

use support::wall::Wall;

/// The embedded bus, served, and Microsoft's crate before it.
struct Served {
    bus: Arc<ServiceBus>,
    server: JoinHandle<()>,
    _directory: TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

const DELIVERIES: u32 = 3;

async fn served() -> Served {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings {
        max_delivery_count: DELIVERIES,
        ..Settings::default()
    };
    let embedded = EmbeddedBus::open(&directory.path().join("bus.db"), settings, Arc::new(Wall));
    let embedded = embedded.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().nest("/bus", embedded.router());
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Served {
        bus: open(&format!("http://{address}/bus")),
        server,
        _directory: directory,
    }
}

fn open(endpoint: &str) -> Arc<ServiceBus> {
    let text = format!("Endpoint={endpoint};SharedAccessKeyName=n;SharedAccessKey=c2VjcmV0");
    ServiceBus::open(&Connection::parse(&text).unwrap(), Arc::new(Wall)).unwrap()
}

#[async_trait]
impl Fixture for Served {
    fn bus(&self) -> &dyn Bus {
        &*self.bus
    }

    async fn subscription(&self, lane: Lane, service: &ServiceName) -> Box<dyn Subscription> {
        Box::new(self.bus.subscription(lane, service))
    }

    fn max_delivery_count(&self) -> u32 {
        DELIVERIES
    }
}

mod on_the_embedded_bus {
    use super::served;

    lucius_ports::bus_conformance!(served());
}

#[tokio::test]
async fn what_died_is_shown_and_taken_once() {
    let fixture = served().await;
    let dead = Arc::clone(&fixture.bus);
    conformance::bus::what_died_is_shown_and_taken_once(&fixture, &*dead).await;
}

#[tokio::test]
async fn f24_a_bus_that_is_away_is_said_to_be_away() {
    let bus = open("http://127.0.0.1:9/bus");
    let error = bus.check().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)));
    assert!(
        error.to_string().contains("LUCIUS_SERVICEBUS_CONNECTION"),
        "{error}"
    );
}
