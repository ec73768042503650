//! The numbers of the ledger and of the bus, for the metrics.

use std::sync::Arc;

use lucius_embedded_bus::EmbeddedBus;
use lucius_sqlite::SqliteLedger;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;

/// Asks both stores whenever somebody looks.
#[derive(Debug)]
pub(crate) struct Stores {
    pub(crate) ledger: Arc<SqliteLedger>,
    pub(crate) bus: Arc<EmbeddedBus>,
}

impl Collector for Stores {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (ledger, bus) = (self.ledger.stats(), self.bus.stats().written);
        let counters = [
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
            ("bus_messages", "Messages sent", bus.messages),
            (
                "bus_transactions",
                "Transactions of the bus, each with one sync",
                bus.transactions,
            ),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        Ok(())
    }
}
