//! Ledgers on Azurite, each with tables of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use lucius_azure_tables::{Connection, Means, Network, Retry, Settings, Storage, TableLedger};
use lucius_azurite::emulator;

use crate::wall::Wall;

static HOMES: AtomicU32 = AtomicU32::new(1);

#[expect(
    clippy::disallowed_methods,
    reason = "hosts of real life draw their numbers too"
)]
fn random() -> u128 {
    uuid::Uuid::new_v4().as_u128()
}

/// Tables that hosts share.
pub(crate) struct Home {
    connection: String,
    prefix: String,
    retry: Retry,
}

impl Home {
    pub(crate) async fn new() -> Self {
        Self::behind(emulator::tables().await.connection(), Retry::default()).await
    }

    /// Tables that are reached by another connection, such as one through a proxy.
    pub(crate) async fn behind(connection: String, retry: Retry) -> Self {
        let number = HOMES.fetch_add(1, Ordering::Relaxed);
        let home = Self {
            connection,
            prefix: format!("home{number}"),
            retry,
        };
        let storage = Storage::new(home.connection(), means(), home.settings()).unwrap();
        for table in storage.missing().await.unwrap() {
            storage.create(&table).await.unwrap();
        }
        home
    }

    fn connection(&self) -> Connection {
        Connection::parse(&self.connection).unwrap()
    }

    fn settings(&self) -> Settings {
        Settings {
            table_prefix: self.prefix.clone(),
            retry: self.retry.clone(),
            ..Settings::default()
        }
    }

    /// One host's ledger.
    pub(crate) async fn open(&self) -> Arc<TableLedger> {
        let opened = TableLedger::open(self.connection(), means(), self.settings()).await;
        opened.unwrap()
    }
}

fn means() -> Means {
    Means {
        transport: Arc::new(Network::new().unwrap()),
        clock: Arc::new(Wall),
        random: Arc::new(random),
    }
}

/// An empty ledger of its own.
pub(crate) async fn ledger() -> Arc<TableLedger> {
    Home::new().await.open().await
}
