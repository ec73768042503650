//! The ledger and the bus that the settings name.
//!
//! What is beyond this machine is named by a connection string from the environment, never from a file. One that is
//! missing or wrong, a key that is refused, a table that is not there and a ledger that does not answer are each said
//! in one line at the start. A bus that cannot be reached does not keep the host from starting, since what is accepted
//! waits in the outbox: the host is not ready until it can.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lucius_azure_servicebus::ServiceBus;
use lucius_azure_tables::{Attempts, Means, Network, Storage, TableLedger};
use lucius_embedded_bus::EmbeddedBus;
use lucius_ports::bus::Bus;
use lucius_ports::clock::Clock;
use lucius_ports::dead_queues::DeadQueues;
use lucius_ports::ledger::{Generations, Ledger};
use lucius_ports::pins::Pins;
use lucius_ports::records::{Document, Key, Kind, Records};
use lucius_ports::upkeep::Upkeep;
use lucius_sqlite::SqliteLedger;

use crate::config::{BusBackend, Config, LedgerBackend, RecordBackend};
use crate::host::StartError;
use crate::system::{self, SystemClock};

/// Names the tables.
pub const TABLES_CONNECTION: &str = "LUCIUS_TABLES_CONNECTION";
/// Names the namespace.
pub const SERVICEBUS_CONNECTION: &str = "LUCIUS_SERVICEBUS_CONNECTION";

/// A ledger by the ports it serves.
pub(crate) struct Ledgers {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) pins: Arc<dyn Pins>,
    pub(crate) upkeep: Arc<dyn Upkeep>,
    pub(crate) generations: Arc<dyn Generations>,
    pub(crate) records: Arc<dyn Records>,
    /// The one in a file, when it is that.
    pub(crate) sqlite: Option<Arc<SqliteLedger>>,
}

impl Ledgers {
    fn of<T: Pins + Generations + Records + Upkeep + 'static>(one: Arc<T>) -> Self {
        Self {
            ledger: Arc::clone(&one) as _,
            pins: Arc::clone(&one) as _,
            upkeep: Arc::clone(&one) as _,
            generations: Arc::clone(&one) as _,
            records: one as _,
            sqlite: None,
        }
    }

    pub(crate) async fn open(config: &Config, data_dir: &Path) -> Result<Self, StartError> {
        match config.ledger.backend {
            LedgerBackend::Sqlite => {
                let ledger = SqliteLedger::open(data_dir, lucius_sqlite::Settings::default())?;
                Ok(Self {
                    sqlite: Some(Arc::clone(&ledger)),
                    ..Self::of(ledger)
                })
            }
            LedgerBackend::AzureTables => Ok(Self::of(table_ledger(config).await?)),
        }
    }
}

/// The key of the callback tokens, where hosts share a ledger. Who can read the ledger can read the fences of all
/// attempts, so the key is as well kept there as in a file.
#[derive(serde::Serialize, serde::Deserialize)]
struct CallbackKey([u8; 32]);

impl Document for CallbackKey {
    const KIND: Kind = Kind("callback-key");
}

impl Ledgers {
    /// The key of the callback tokens: this host's own, or that of all hosts of the ledger, since a callback may come
    /// to any of them. The first host's becomes that of all.
    pub(crate) async fn token_key(
        &self,
        config: &Config,
        own: [u8; 32],
    ) -> Result<[u8; 32], StartError> {
        match config.ledger.backend {
            LedgerBackend::Sqlite => Ok(own),
            LedgerBackend::AzureTables => self.shared_key(own).await,
        }
    }

    async fn shared_key(&self, own: [u8; 32]) -> Result<[u8; 32], StartError> {
        let name = Key::of("current");
        // Whether or not it was the first, what is there then is the key.
        self.records.write(&name, &CallbackKey(own), None).await?;
        let shared = self.records.read::<CallbackKey>(&name).await?;
        Ok(shared.map_or(own, |shared| shared.document.0))
    }
}

/// The ledger in the tables that the settings name.
///
/// # Errors
/// The connection string is missing or wrong, a table is not there, or the account does not answer.
pub async fn table_ledger(config: &Config) -> Result<Arc<TableLedger>, StartError> {
    let settings = table_settings(config);
    Ok(TableLedger::open(tables_connection()?, means()?, settings).await?)
}

/// The records of the tables that the settings name, and the secret that their hosts share.
///
/// # Errors
/// The tables cannot be opened.
pub async fn shared_records(
    config: &Config,
    secret_if_first: [u8; 32],
) -> Result<(Arc<dyn Records>, [u8; 32]), StartError> {
    let ledgers = Ledgers::of(table_ledger(config).await?);
    let secret = ledgers.shared_key(secret_if_first).await?;
    Ok((ledgers.records, secret))
}

/// The table of what workers have finished, when the settings name it.
///
/// # Errors
/// The connection string is missing or wrong, the table is not there, or it does not answer.
pub async fn attempts(config: &Config, keep: Duration) -> Result<Option<Attempts>, StartError> {
    match config.worker.record {
        RecordBackend::File => Ok(None),
        RecordBackend::AzureTables => {
            let settings = table_settings(config);
            let connection = tables_needed_by("worker.record \"azure-tables\"")?;
            Ok(Some(
                Attempts::open(connection, means()?, settings, keep).await?,
            ))
        }
    }
}

/// A bus, and the embedded one when it is that.
pub(crate) struct Buses {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) dead_queues: Arc<dyn DeadQueues>,
    pub(crate) embedded: Option<Arc<EmbeddedBus>>,
}

impl Buses {
    pub(crate) fn open(config: &Config, data_dir: &Path) -> Result<Self, StartError> {
        match config.bus.backend {
            BusBackend::Embedded => {
                let settings = lucius_embedded_bus::Settings {
                    lock_duration: Duration::from_millis(config.bus.lock_ms),
                    max_delivery_count: config.bus.max_delivery_count,
                    ..lucius_embedded_bus::Settings::default()
                };
                let clock: Arc<dyn Clock> = Arc::new(SystemClock);
                let bus = EmbeddedBus::open(&data_dir.join("bus.db"), settings, clock)?;
                Ok(Self {
                    bus: Arc::clone(&bus) as _,
                    dead_queues: Arc::clone(&bus) as _,
                    embedded: Some(bus),
                })
            }
            BusBackend::AzureServicebus => {
                let bus = ServiceBus::open(&bus_connection()?, Arc::new(SystemClock))?;
                Ok(Self {
                    bus: Arc::clone(&bus) as _,
                    dead_queues: bus,
                    embedded: None,
                })
            }
        }
    }
}

/// The tables that the settings name.
///
/// # Errors
/// The connection string is missing or wrong, or the prefix makes no names.
pub fn tables(config: &Config) -> Result<Storage, StartError> {
    let storage = Storage::new(tables_connection()?, means()?, table_settings(config))?;
    Ok(storage)
}

fn table_settings(config: &Config) -> lucius_azure_tables::Settings {
    lucius_azure_tables::Settings {
        table_prefix: config.ledger.table_prefix.clone(),
        ..lucius_azure_tables::Settings::default()
    }
}

fn means() -> Result<Means, StartError> {
    let network = Network::new().map_err(|error| StartError::Setting(error.to_string()))?;
    Ok(Means {
        transport: Arc::new(network),
        clock: Arc::new(SystemClock),
        random: Arc::new(system::random),
    })
}

/// Where the tables are.
///
/// # Errors
/// The variable is missing, or what is wrong with it.
pub fn tables_connection() -> Result<lucius_azure_tables::Connection, StartError> {
    tables_needed_by("ledger.backend \"azure-tables\"")
}

fn tables_needed_by(setting: &str) -> Result<lucius_azure_tables::Connection, StartError> {
    let text = connection(TABLES_CONNECTION, setting)?;
    lucius_azure_tables::Connection::parse(&text)
        .map_err(|error| wrong_connection(TABLES_CONNECTION, &error))
}

/// Where the namespace is.
///
/// # Errors
/// The variable is missing, or what is wrong with it.
pub fn bus_connection() -> Result<lucius_azure_servicebus::Connection, StartError> {
    let text = connection(SERVICEBUS_CONNECTION, "bus.backend \"azure-servicebus\"")?;
    lucius_azure_servicebus::Connection::parse(&text)
        .map_err(|error| wrong_connection(SERVICEBUS_CONNECTION, &error))
}

fn connection(variable: &'static str, needed_by: &str) -> Result<String, StartError> {
    std::env::var(variable).map_err(|_| {
        StartError::Setting(format!(
            "{needed_by} needs the environment variable {variable}: set it to the connection string that the Azure portal shows"
        ))
    })
}

fn wrong_connection(variable: &str, error: &dyn std::fmt::Display) -> StartError {
    StartError::Setting(format!(
        "{variable} is no connection string: {error}; copy it anew from the Azure portal"
    ))
}
