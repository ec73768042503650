//! The same tests on the ledger in tables: `LUCIUS_TESTS_ON=azurite` puts every host on Azurite, each with tables of
//! its own, and `LUCIUS_TESTS_ON=azurite-with-faults` puts a proxy between that fails on purpose.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use lucius_azurite::emulator::{self, connection_at};
use lucius_azurite::proxy::Proxy;
use tokio::sync::OnceCell;

use crate::places;

const VARIABLE: &str = "LUCIUS_TESTS_ON";
/// One request in so many goes wrong.
const FAIL_ONE_IN: u64 = 40;

static HOSTS: AtomicU32 = AtomicU32::new(1);
static PROXY: OnceCell<u16> = OnceCell::const_new();

/// What a host is started with beside its own settings.
///
/// # Panics
/// The variable says something else, or the tables cannot be made.
pub async fn settings() -> Vec<(String, String)> {
    let connection = match std::env::var(VARIABLE).as_deref() {
        Err(_) => return Vec::new(),
        Ok("azurite") => emulator::tables().await.connection(),
        Ok("azurite-with-faults") => {
            let upstream = emulator::tables().await.port();
            let start = async || Proxy::lasting(upstream, 1, FAIL_ONE_IN);
            connection_at(*PROXY.get_or_init(start).await)
        }
        Ok(other) => panic!("{VARIABLE} is azurite or azurite-with-faults, not {other}"),
    };
    let number = HOSTS.fetch_add(1, Ordering::Relaxed);
    let settings = [
        ("LUCIUS_LEDGER_BACKEND", "azure-tables".to_owned()),
        ("LUCIUS_LEDGER_TABLE_PREFIX", format!("host{number}")),
        ("LUCIUS_TABLES_CONNECTION", connection),
        // Azurite has one processor, and every host of every test scans its own lanes.
        ("LUCIUS_TIMING_SWEEP_INTERVAL_MS", "300".to_owned()),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value));
    let mut apply = Command::new(places::program());
    apply
        .args(["azure", "apply"])
        .env_remove("LUCIUS_SERVICEBUS_CONNECTION");
    let made = apply.envs(settings.clone()).output();
    assert!(
        made.as_ref().is_ok_and(|made| made.status.success()),
        "the tables cannot be made: {made:?}"
    );
    settings.to_vec()
}
