//! The same tests with ledger and bus where Azure has them, by `LUCIUS_TESTS_ON`:
//!
//! | value | ledger | bus |
//! |---|---|---|
//! | `azurite` | tables on Azurite | embedded |
//! | `azure` | tables on Azurite | through Microsoft's crate, on the embedded bus of another process |
//! | `azurite-with-faults`, `azure-with-faults` | the same, through proxies that fail on purpose | |
//!
//! Every host has tables and a namespace of its own, unless a test gives them to several ([`Cloud`]).

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use lucius_azurite::emulator::{self, connection_at};
use lucius_azurite::proxy::Proxy;
use tokio::sync::OnceCell;

use crate::host::{Host, Setup};
use crate::{places, registry};

const VARIABLE: &str = "LUCIUS_TESTS_ON";
/// One request in so many goes wrong.
const FAIL_ONE_IN: u64 = 40;

/// How long a message is locked where answers get lost, unless a test says how long.
const SHORT_LOCK_MS: u64 = 8_000;

static CLOUDS: AtomicU32 = AtomicU32::new(1);
static PROXY: OnceCell<u16> = OnceCell::const_new();

/// Where a host's ledger and bus are when they are not with it.
#[derive(Clone, Debug)]
pub struct Cloud {
    /// What a host is started with beside its own settings.
    pub settings: Vec<(String, String)>,
    /// The process that serves the bus; none when every host has its own.
    pub namespace: Option<Arc<Host>>,
}

/// What is beyond this machine, and whether the way there fails now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The bus too, and not the ledger alone.
    pub bus: bool,
    /// One request in so many goes wrong; none when 0.
    pub fail_one_in: u64,
}

impl Kind {
    /// What the surroundings ask for.
    ///
    /// # Panics
    /// The variable says something else.
    pub fn asked() -> Option<Self> {
        let (bus, fail_one_in) = match std::env::var(VARIABLE).as_deref() {
            Err(_) => return None,
            Ok("azurite") => (false, 0),
            Ok("azurite-with-faults") => (false, FAIL_ONE_IN),
            Ok("azure") => (true, 0),
            Ok("azure-with-faults") => (true, FAIL_ONE_IN),
            Ok(other) => panic!(
                "{VARIABLE} is azurite, azure, azurite-with-faults or azure-with-faults, not {other}"
            ),
        };
        Some(Self { bus, fail_one_in })
    }
}

impl Cloud {
    /// Tables of its own, and a namespace of its own that is set up by those of `settings` that are about the bus.
    ///
    /// # Panics
    /// They cannot be made.
    pub async fn new(kind: Kind, settings: &[(String, String)]) -> Self {
        let mut cloud = Self {
            settings: tables(kind.fail_one_in).await,
            namespace: None,
        };
        if kind.bus {
            let namespace = namespace(kind, settings).await;
            let direct = port_of(namespace.url());
            let port = match kind.fail_one_in {
                0 => direct,
                some => Proxy::lasting(direct, 2, some),
            };
            cloud.settings.extend([
                named("LUCIUS_BUS_BACKEND", "azure-servicebus"),
                named("LUCIUS_SERVICEBUS_CONNECTION", &bus_connection(port)),
            ]);
            cloud.namespace = Some(Arc::new(namespace));
        }
        cloud
    }

    /// The port that the namespace is served at.
    ///
    /// # Panics
    /// It has none.
    pub fn namespace_port(&self) -> u16 {
        let namespace = self.namespace.as_ref();
        port_of(namespace.map_or("no namespace", |host| host.url()))
    }
}

/// The connection string of the namespace that is served, or passed on, at a port of this machine.
pub fn bus_connection(port: u16) -> String {
    format!("Endpoint=http://127.0.0.1:{port}/bus;SharedAccessKeyName=any;SharedAccessKey=c2VjcmV0")
}

fn named(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

async fn tables(fail_one_in: u64) -> Vec<(String, String)> {
    let upstream = emulator::tables().await.port();
    let port = match fail_one_in {
        0 => upstream,
        some => {
            let start = async || Proxy::lasting(upstream, 1, some);
            *PROXY.get_or_init(start).await
        }
    };
    let number = CLOUDS.fetch_add(1, Ordering::Relaxed);
    let settings = vec![
        named("LUCIUS_LEDGER_BACKEND", "azure-tables"),
        named("LUCIUS_LEDGER_TABLE_PREFIX", &format!("host{number}")),
        named("LUCIUS_TABLES_CONNECTION", &connection_at(port)),
        // Azurite has one processor, and every host of every test scans its own lanes.
        named("LUCIUS_TIMING_SWEEP_INTERVAL_MS", "300"),
    ];
    let mut apply = Command::new(places::program());
    apply
        .args(["azure", "apply"])
        .env_remove("LUCIUS_SERVICEBUS_CONNECTION");
    let made = apply.envs(settings.clone()).output();
    assert!(
        made.as_ref().is_ok_and(|made| made.status.success()),
        "the tables cannot be made: {made:?}"
    );
    settings
}

/// A process that serves nothing but its bus.
async fn namespace(kind: Kind, settings: &[(String, String)]) -> Host {
    let empty = registry::plain(&[]);
    let about_the_bus = |name: &str| name.starts_with("LUCIUS_BUS_");
    let mut bare = Setup::serve();
    if kind.fail_one_in > 0 {
        // A message whose answer is lost is locked for a worker that does not know; a test waits for it to come back.
        bare = bare.with("BUS_LOCK_MS", SHORT_LOCK_MS);
    }
    let setup = settings
        .iter()
        .filter(|(name, _)| about_the_bus(name))
        .fold(bare, |setup, (name, value)| {
            setup.with(name.trim_start_matches("LUCIUS_"), value)
        });
    setup.registry(empty.path()).here().start().await
}

fn port_of(url: &str) -> u16 {
    let port = url.rsplit(':').next().and_then(|port| port.parse().ok());
    port.unwrap_or_else(|| panic!("no port in {url}"))
}
