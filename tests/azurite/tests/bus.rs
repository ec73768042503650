//! The bus through Microsoft's crate keeps the promises of every bus, tried on the embedded bus over HTTP; or, when
//! `LUCIUS_SERVICEBUS_CONNECTION` names one, on a namespace of Azure. That must be one for tests: topics and subscriptions
//! are made there, and what is in them is taken out.

#![allow(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is the point"
)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lucius_azure_servicebus::topology::{Entity, Found, Management, Shape};
use lucius_azure_servicebus::{Connection, ServiceBus};
use lucius_domain::id::ServiceName;
use lucius_domain::routing::Lane;
use lucius_embedded_bus::{EmbeddedBus, Settings};
use lucius_ports::bus::{Bus, Error, Subscription};
use lucius_ports::clock::Clock as _;
use lucius_ports::conformance;
use lucius_ports::conformance::bus::Fixture;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;

mod support {
    pub(crate) mod wall;
}

use support::wall::Wall;

/// Names a namespace of Azure to try it on.
const NAMESPACE: &str = "LUCIUS_SERVICEBUS_CONNECTION";

/// A bus, and Microsoft's crate before it.
struct Served {
    bus: Arc<ServiceBus>,
    /// The embedded bus, when it is that.
    embedded: Option<(JoinHandle<()>, TempDir)>,
    _turn: Option<MutexGuard<'static, ()>>,
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some((server, _)) = &self.embedded {
            server.abort();
        }
    }
}

const DELIVERIES: u32 = 3;

/// The embedded bus, served; its address, and what must outlive it.
async fn embedded() -> (String, JoinHandle<()>, TempDir) {
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
    (format!("http://{address}/bus"), server, directory)
}

async fn served() -> Served {
    if let Ok(namespace) = std::env::var(NAMESPACE) {
        return on_namespace(&namespace).await;
    }
    let (endpoint, server, directory) = embedded().await;
    Served {
        bus: open(&endpoint),
        embedded: Some((server, directory)),
        _turn: None,
    }
}

/// A namespace, emptied. Tests take turns, since they use the same subscriptions.
async fn on_namespace(text: &str) -> Served {
    static TURN: Mutex<()> = Mutex::const_new(());
    let turn = TURN.lock().await;
    let connection = Connection::parse(text).unwrap();
    let shape = Shape {
        lock: Duration::from_secs(60),
        max_delivery_count: DELIVERIES,
        duplicate_window: Duration::from_secs(600),
    };
    let management = Management::new(connection.clone(), shape).unwrap();
    let services = conformance::bus::SERVICES.map(ServiceName::new);
    let needed = Entity::needed(&services).into_iter();
    for entity in needed.filter(|it| it.path().starts_with(&conformance::bus::lane().topic())) {
        if management.look(&entity, Wall.now()).await.unwrap() == Found::Missing {
            management.create(&entity, Wall.now()).await.unwrap();
        }
    }
    let bus = ServiceBus::open(&connection, Arc::new(Wall)).unwrap();
    for service in &services {
        let subscription = bus.subscription(conformance::bus::lane(), service);
        while let Some(left) = subscription.peek_lock(Duration::ZERO).await.unwrap() {
            subscription.complete(&left).await.unwrap();
        }
        while subscription.take_dead_letter().await.unwrap().is_some() {}
    }
    conformance::bus::number_jobs_from(u128::try_from(Wall.now().0).unwrap() << 32);
    Served {
        bus,
        embedded: None,
        _turn: Some(turn),
    }
}

#[tokio::test]
async fn a_namespace_that_others_have_used_is_emptied_first() {
    let (endpoint, server, _directory) = embedded().await;
    let text = connection(&endpoint);
    for _ in 0..2 {
        let fixture = on_namespace(&text).await;
        conformance::bus::what_goes_in_comes_out_whole(&fixture).await;
    }
    let fixture = on_namespace(&text).await;
    conformance::bus::a_message_nobody_completes_becomes_a_dead_letter(&fixture).await;
    server.abort();
}

fn connection(endpoint: &str) -> String {
    format!("Endpoint={endpoint};SharedAccessKeyName=n;SharedAccessKey=c2VjcmV0")
}

fn open(endpoint: &str) -> Arc<ServiceBus> {
    let connection = Connection::parse(&connection(endpoint)).unwrap();
    ServiceBus::open(&connection, Arc::new(Wall)).unwrap()
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
