//! The numbers of the ledger and of the bus, for the metrics.

use std::sync::Arc;

use lucius_embedded_bus::EmbeddedBus;
use lucius_sqlite::SqliteLedger;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;

/// Asks the stores of this machine whenever somebody looks; those beyond it are counted by those who run them.
#[derive(Debug)]
pub(crate) struct Stores {
    pub(crate) ledger: Option<Arc<SqliteLedger>>,
    pub(crate) bus: Option<Arc<EmbeddedBus>>,
}

impl Collector for Stores {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let of_ledger = self.ledger.as_ref().map(|ledger| {
            let ledger = ledger.stats();
            [
                (
                    "ledger_commits",
                    "Jobs created and versions replaced",
                    ledger.commits,
                ),
                (
                    "ledger_transactions",
                    "Transactions of the ledger, each with one sync",
                    ledger.transactions,
                ),
                ("ledger_rows", "Rows written by the ledger", ledger.rows),
                (
                    "ledger_conflicts",
                    "Changes that were decided on another version",
                    ledger.conflicts,
                ),
                (
                    "ledger_failures",
                    "Transactions of the ledger that failed",
                    ledger.failures,
                ),
            ]
        });
        let of_bus = self.bus.as_ref().map(|bus| {
            let bus = bus.stats().written;
            [
                ("bus_messages", "Messages sent", bus.messages),
                (
                    "bus_transactions",
                    "Transactions of the bus, each with one sync",
                    bus.transactions,
                ),
            ]
        });
        let of_bus = of_bus.into_iter().flatten();
        let counters = of_ledger.into_iter().flatten().chain(of_bus);
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        Ok(())
    }
}
