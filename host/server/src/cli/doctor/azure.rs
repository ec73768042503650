//! Ledger and bus where Azure has them.

use std::sync::Arc;

use lucius_azure_servicebus::ServiceBus;
use lucius_ports::bus::Bus as _;
use lucius_ports::clock::Clock as _;
use lucius_ports::ledger::{Filter, Ledger as _};

use super::machine::no_job_ahead;
use super::{BUS, Finding, LEDGER};
use crate::cli::{Failure, azure};
use crate::config::Config;
use crate::storage::{self, SERVICEBUS_CONNECTION, TABLES_CONNECTION};
use crate::system::SystemClock;

/// How many things that are wrong are named.
const NAMED: usize = 5;

pub(super) async fn ledger(config: &Config) -> Vec<Finding> {
    let ledger = match storage::table_ledger(config).await {
        Ok(ledger) => ledger,
        // The error says what to do.
        Err(error) => {
            let advice = format!("see docs/azure.md; the account is that of {TABLES_CONNECTION}");
            return vec![Finding::fail(LEDGER, error.to_string(), advice)];
        }
    };
    let prefix = &config.ledger.table_prefix;
    let there = Finding::ok(LEDGER, format!("the tables {prefix}* answer"));
    let newest = Filter {
        limit: 1,
        ..Filter::default()
    };
    let newest = match ledger.list(newest).await {
        Ok(newest) => newest,
        Err(error) => {
            let advice =
                "try again; a table that goes on refusing is seen in the account's metrics";
            return vec![Finding::fail(LEDGER, error.to_string(), advice)];
        }
    };
    let newest_at = newest.first().map(|job| job.spec.created_at.0);
    vec![there, no_job_ahead(newest_at, SystemClock.now().0)]
}

/// What workers have finished, when they share a record.
pub(super) async fn record(config: &Config) -> Option<Finding> {
    const WHAT: &str = "worker record";
    let keep = lucius_platform::worker::Timing::default().remember;
    match storage::attempts(config, keep).await {
        Ok(None) => None,
        Ok(Some(_)) => Some(Finding::ok(WHAT, "its table answers")),
        Err(error) => {
            let advice = "or set worker.record = \"file\"";
            Some(Finding::fail(WHAT, error.to_string(), advice))
        }
    }
}

pub(super) async fn bus(config: &Config) -> Finding {
    let advice = format!("see docs/azure.md; the namespace is that of {SERVICEBUS_CONNECTION}");
    let connection = match storage::bus_connection() {
        Ok(connection) => connection,
        Err(error) => return Finding::fail(BUS, error.to_string(), advice),
    };
    let bus = ServiceBus::open(&connection, Arc::new(SystemClock));
    let reached = match bus {
        Ok(bus) => bus.check().await,
        Err(error) => Err(error),
    };
    if let Err(error) = reached {
        return Finding::fail(BUS, error.to_string(), advice);
    }
    let endpoint = connection.endpoint();
    match azure::wrong_with_bus(config).await {
        Ok(wrong) if wrong.is_empty() => {
            Finding::ok(BUS, format!("{endpoint} has all topics and subscriptions"))
        }
        Ok(wrong) => {
            let mut named = wrong[..wrong.len().min(NAMED)].join(", ");
            if wrong.len() > NAMED {
                named.push_str(&format!(" and {} more", wrong.len() - NAMED));
            }
            let advice =
                "lucius azure apply makes what is missing; what differs is for a person to change";
            Finding::fail(BUS, named, advice)
        }
        Err(Failure::Usage(error) | Failure::Failed(error)) => {
            let seen = format!("{endpoint} answers, and does not show its topics: {error}");
            Finding::warn(
                BUS,
                seen,
                "run it once with a key that has the right Manage",
            )
        }
    }
}
