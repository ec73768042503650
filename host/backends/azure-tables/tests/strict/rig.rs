//! A ledger on a model, and a clock that waits for nobody.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use lucius_azure_tables::{Connection, Means, Retry, Settings, Storage, TableLedger};
use lucius_domain::time::Timestamp;
use lucius_ports::clock::Clock;
use lucius_ports::conformance::ledger::differential::Dice;

use crate::model::{Behaviour, Model};

/// A clock that a wait moves on.
#[derive(Debug)]
pub(crate) struct Moving(AtomicI64);

impl Default for Moving {
    fn default() -> Self {
        Self(AtomicI64::new(1_800_000_000_000))
    }
}

impl Moving {
    pub(crate) fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

#[async_trait]
impl Clock for Moving {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }

    async fn sleep(&self, duration: Duration) {
        self.advance(i64::try_from(duration.as_millis()).unwrap());
        tokio::task::yield_now().await;
    }
}

/// Many tries, so that a test of what happens in between is no test of luck.
pub(crate) fn settings() -> Settings {
    Settings {
        retry: Retry {
            tries: 40,
            budget: 1_000_000,
            ..Retry::default()
        },
        ..Settings::default()
    }
}

pub(crate) fn connection() -> Connection {
    let text = "AccountName=acme;AccountKey=c2VjcmV0;TableEndpoint=http://tables.test";
    Connection::parse(text).unwrap()
}

pub(crate) fn means(model: &Arc<Model>, seed: u64) -> Means {
    let dice = Mutex::new(Dice::new(seed));
    let random = move || {
        let mut dice = dice.lock().unwrap();
        u128::from(dice.roll()) << 64 | u128::from(dice.roll())
    };
    Means {
        transport: Arc::clone(model) as _,
        clock: Arc::clone(&model.clock) as _,
        random: Arc::new(random),
    }
}

/// Makes the tables.
pub(crate) async fn make_tables(model: &Arc<Model>) {
    let means = means(model, 5);
    let storage = Storage::new(connection(), means, settings()).unwrap();
    for table in storage.missing().await.unwrap() {
        storage.create(&table).await.unwrap();
    }
    assert_eq!(storage.missing().await.unwrap(), Vec::<String>::new());
}

/// One host's ledger on a model that others may use as well.
pub(crate) async fn open(model: &Arc<Model>, seed: u64) -> Arc<TableLedger> {
    let means = means(model, seed);
    TableLedger::open(connection(), means, settings())
        .await
        .unwrap()
}

/// An empty ledger of its own.
pub(crate) async fn ledger(behaviour: Behaviour, seed: u64) -> Arc<TableLedger> {
    let model = Arc::new(Model::new(behaviour, seed));
    make_tables(&model).await;
    open(&model, seed + 1_000).await
}
