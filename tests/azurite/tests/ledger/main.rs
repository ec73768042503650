//! The table ledger on Azurite: every promise of the port, and the same answers as SQLite's and memory's.

#![allow(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is the point"
)]

mod faults;
mod rig;
#[path = "../support/wall.rs"]
mod wall;

use std::sync::Arc;

use lucius_memory::ledger::MemoryLedger;
use lucius_ports::conformance::ledger::differential::differential;
use lucius_ports::conformance::ledger::reopen::everything_survives_being_reopened;
use lucius_sqlite::SqliteLedger;

use rig::{Home, ledger};

mod on_azurite {
    use super::ledger;

    lucius_ports::ledger_conformance!(ledger().await);
    lucius_ports::records_conformance!(ledger().await);
    lucius_ports::upkeep_conformance!(ledger().await);
}

#[tokio::test]
async fn everything_is_there_for_another_host() {
    let home = Home::new().await;
    everything_survives_being_reopened(async || home.open().await).await;
}

#[tokio::test]
async fn it_answers_as_the_sqlite_ledger_does() {
    for seed in 1..=3 {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = SqliteLedger::open(folder.path(), lucius_sqlite::Settings::default()).unwrap();
        differential(sqlite, ledger().await, seed, 400).await;
    }
}

#[tokio::test]
async fn it_answers_as_the_memory_ledger_does() {
    differential(Arc::new(MemoryLedger::new()), ledger().await, 11, 600).await;
}
