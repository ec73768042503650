//! Where jobs and messages are kept.

use serde::{Deserialize, Serialize};

/// The ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ledger {
    /// Which one.
    pub backend: LedgerBackend,
    /// What the names of the tables begin with, in Azure Table Storage.
    pub table_prefix: String,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            backend: LedgerBackend::Sqlite,
            table_prefix: "lucius".to_owned(),
        }
    }
}

/// Which ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LedgerBackend {
    /// One SQLite file in the data directory.
    #[default]
    Sqlite,
    /// Tables that hosts share, named by `LUCIUS_TABLES_CONNECTION`.
    AzureTables,
}

/// The bus.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bus {
    /// Which one.
    pub backend: BusBackend,
    /// How long a message stays locked, in milliseconds.
    pub lock_ms: u64,
    /// How often a message is delivered before it goes to the dead-letter queue.
    pub max_delivery_count: u32,
}

/// Which bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BusBackend {
    /// In this process, below `/bus`.
    #[default]
    Embedded,
    /// A Service Bus namespace, named by `LUCIUS_SERVICEBUS_CONNECTION`.
    AzureServicebus,
}

impl Default for Bus {
    fn default() -> Self {
        Self {
            backend: BusBackend::Embedded,
            lock_ms: 60_000,
            max_delivery_count: 10,
        }
    }
}

/// Hosts that share a ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fleet {
    /// How long a host's claim on a lane lasts unless it is renewed, in milliseconds.
    pub claim_ms: u64,
}

impl Default for Fleet {
    fn default() -> Self {
        Self { claim_ms: 15_000 }
    }
}
