//! `lucius serve` and `lucius dev`.

use std::sync::Arc;
use std::time::Duration;

use lucius_engine::Engine;
use lucius_engine::audit::{Audit, Entry};
use lucius_engine::gates::pause::{Manner, Pause, Pauses, Target};
use lucius_ports::clock::{Clock as _, Ids as _};
use lucius_ports::ledger::Error;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Failure, HostFlags, log, output, usage};
use crate::config::{BusBackend, Config, LedgerBackend};
use crate::host::Host;
use crate::http;
use crate::stores::Stores;
use crate::system::{SystemClock, SystemIds};
use crate::telemetry::fleet::Fleet;
use crate::telemetry::trials::Trials;
use crate::{storage, workers};

/// How long requests under way may take once the host is told to stop.
const DRAIN: Duration = Duration::from_secs(20);

/// Runs the host until it is told to stop.
pub(super) async fn serve(flags: HostFlags, json: bool) -> Result<(), Failure> {
    let config = flags.load()?;
    let log = log::start(&config, "lucius")?;
    let host = open(config, &flags).await?;
    let signals = Signals::listen()?;
    summary(&host, &[], json);
    let served = run(host, flags, signals, CancellationToken::new()).await;
    log.finish().await;
    served
}

/// Runs the host and the three platform workers until they are told to stop.
pub(super) async fn dev(flags: HostFlags, json: bool) -> Result<(), Failure> {
    let mut config = flags.load()?;
    let log = log::start(&config, "lucius")?;
    // A developer's own machine: documents are where the developer is, or in passing.
    for place in [std::env::current_dir()?, std::env::temp_dir()] {
        config.worker.read_roots.push(place.clone());
        config.worker.write_roots.push(place);
    }
    let host = open(config, &flags).await?;
    let stop = CancellationToken::new();
    let models = workers::models(&host.config);
    let key = host.worker_key()?;
    let mut running = tokio::task::JoinSet::new();
    for name in workers::SHIPPED {
        let service = workers::service(name, &host.config, &models).map_err(usage)?;
        let data_dir = &host.config.data_dir;
        let bus = bus_of(&host, key.as_deref())?;
        let config = workers::worker_config(&host.config, bus, data_dir).await;
        let config = config.map_err(usage)?;
        running.spawn(lucius_platform::worker::run(
            config,
            service,
            stop.child_token(),
        ));
    }
    let signals = Signals::listen()?;
    summary(&host, &workers::SHIPPED, json);
    let served = run(host, flags, signals, stop.clone()).await;
    stop.cancel();
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    log.finish().await;
    served
}

/// The bus that this process's workers take directives from.
fn bus_of(host: &Host, key: Option<&str>) -> Result<workers::BusAccess, Failure> {
    match host.config.bus.backend {
        BusBackend::Embedded => Ok(workers::BusAccess::of_host(host.bus_url(), key)),
        BusBackend::AzureServicebus => workers::BusAccess::of_namespace().map_err(usage),
    }
}

fn summary(host: &Host, workers: &[&str], json: bool) {
    let live = host.engine.registry().live();
    let refused = host.engine.registry().last_reload().errors;
    let plugins: Vec<String> = live
        .plugins
        .iter()
        .map(|plugin| plugin.pin.to_string())
        .collect();
    let protocols = live.protocols.len();
    let address = format!("http://{}", host.address);
    let (data_dir, registry) = (
        host.config.data_dir.display(),
        host.config.registry.display(),
    );
    if json {
        output::json(&json!({
            "state": "ready", "url": address, "data_dir": data_dir.to_string(), "registry": registry.to_string(),
            "generation": live.generation, "plugins": plugins, "workers": workers,
        }));
        return;
    }
    let mut rows = vec![
        ("api", address),
        ("data", data_dir.to_string()),
        ("ledger", ledger(&host.config)),
        ("bus", bus(host)),
        (
            "registry",
            format!(
                "{registry}, generation {}, {protocols} protocols",
                live.generation
            ),
        ),
        ("plugins", plugins.join(", ")),
    ];
    if !workers.is_empty() {
        rows.push(("workers", workers.join(", ")));
    }
    for error in refused {
        rows.push((
            "DEGRADED",
            format!("the registry is refused, the last good generation runs: {error}"),
        ));
    }
    for (name, value) in rows {
        output::line(format!("{name:<10}{value}"));
    }
    output::line("ready");
}

fn ledger(config: &Config) -> String {
    match config.ledger.backend {
        LedgerBackend::Sqlite => "sqlite, synchronous=FULL".to_owned(),
        LedgerBackend::AzureTables => {
            let prefix = &config.ledger.table_prefix;
            // It was read when the ledger was opened.
            let connection = storage::tables_connection();
            let endpoint = connection.map(|at| at.endpoint().to_owned());
            format!("azure-tables, {}, {prefix}*", endpoint.unwrap_or_default())
        }
    }
}

async fn open(config: Config, flags: &HostFlags) -> Result<Host, Failure> {
    let host = Host::open(config).await.map_err(usage)?;
    if flags.start_paused {
        start_paused(host.engine.pauses(), host.engine.audit()).await?;
    }
    Ok(host)
}

/// Pauses everything, on record. When it is paused already, that pause stays with its reason and its refusals: an
/// operator may have made it on another host, and this one starts again and again.
async fn start_paused(pauses: &Pauses, audit: &Audit) -> Result<(), Error> {
    let now = SystemClock.now();
    let target = Target::Everything;
    if pauses.list(now).await?.iter().any(|it| it.target == target) {
        return Ok(());
    }
    let act = "lucius serve --start-paused";
    let entry = Entry {
        at: now,
        who: "shell".to_owned(),
        act: act.to_owned(),
        path: "the ledger".to_owned(),
        why: None,
        request_id: None,
        detail: None,
        status: None,
    };
    let begun = audit.begin(entry, SystemIds.job_id(now)).await?;
    let detail = format!("{target}, hold");
    let pause = Pause {
        target,
        manner: Manner::Hold,
        since: now,
        by: act.to_owned(),
        reason: None,
    };
    let is_new = pauses.pause_unless_paused(pause).await?;
    let status = if is_new { 201 } else { 409 };
    audit.end(begun, status, Some(&detail)).await
}

/// Takes the limits from the settings anew whenever the process is told to (SIGHUP). Settings that are wrong change
/// nothing.
async fn follow_limits(flags: HostFlags, engine: Arc<Engine>, mut hangups: Signal) {
    while hangups.recv().await.is_some() {
        let limits = flags.load().and_then(|config| {
            let limits = config.limits.of_engine();
            limits.map_err(|text| Failure::Usage(anyhow::Error::msg(text)))
        });
        match limits {
            Ok(limits) => {
                engine.set_limits(limits);
                tracing::info!(?limits, "the limits are those of the settings now");
            }
            Err(Failure::Failed(error) | Failure::Usage(error)) => {
                tracing::error!(%error, "the settings are refused; the limits stay as they are");
            }
        }
    }
}

fn bus(host: &Host) -> String {
    let name = match host.config.bus.backend {
        BusBackend::Embedded => "embedded",
        BusBackend::AzureServicebus => "azure-servicebus",
    };
    format!("{name}, {}", host.bus_url())
}

/// Serves until a signal or `stop`, then lets requests under way end.
async fn run(
    host: Host,
    flags: HostFlags,
    signals: Signals,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let Signals {
        ending,
        for_registry,
        for_limits,
    } = signals;
    let engine = Arc::clone(&host.engine);
    let moving = tokio::spawn(Arc::clone(&engine).run());
    let watch = match host.config.plugins.watch_ms {
        0 => None,
        ms => Some(Duration::from_millis(ms)),
    };
    let reloading = tokio::spawn(super::reload::run(Arc::clone(&engine), for_registry, watch));
    let looking_after = tokio::spawn(Arc::clone(&engine).look_after());
    let following = tokio::spawn(follow_limits(flags, Arc::clone(&engine), for_limits));
    let signalled = async {
        tokio::select! {
            () = ending.came() => {}
            () = stop.cancelled() => {}
        }
        tracing::info!("stopping: no new commands, requests under way may end");
        engine.drain();
        if let Some(bus) = &host.embedded_bus {
            bus.close();
        }
        stop.cancel();
    };
    let settings = http::Settings {
        access: host.access.clone(),
        body_bytes: host.config.limits.body_bytes,
        connections: host.config.limits.connections,
        worker_connections: host.config.limits.worker_connections,
        client_requests: host.config.limits.client_requests,
        drain: DRAIN,
        ..http::Settings::default()
    };
    let api = http::Api::new(
        Arc::clone(&engine),
        host.embedded_bus.as_ref().map(|bus| bus.router()),
        settings,
    );
    let stores = Stores {
        ledger: host.sqlite.clone(),
        bus: host.embedded_bus.clone(),
    };
    let trials = Trials(Arc::clone(&engine));
    let fleet = Fleet(Arc::clone(&engine));
    api.metrics().register(|registry| {
        registry.register_collector(Box::new(stores));
        registry.register_collector(Box::new(trials));
        registry.register_collector(Box::new(fleet));
    });
    host.observers.register_with(api.metrics(), host.levels);
    http::serve(host.listener, api, signalled).await;
    moving.abort();
    reloading.abort();
    looking_after.abort();
    following.abort();
    // Its end, also when it is only that it was aborted.
    let _ended = moving.await;
    if let Err(error) = engine.leave_fleet().await {
        tracing::warn!(%error, "other hosts get this one's lanes when its claims end");
    }
    // Folds the WAL into the file, so that what is left is one file to copy.
    if let Some(ledger) = &host.sqlite {
        ledger.close().await;
    }
    Ok(())
}

/// What the process is told by signals. They are listened for before anybody is told that it is ready, since one that
/// came before would end it on the spot.
struct Signals {
    ending: Ending,
    /// SIGHUP, once for each who reads something anew by it.
    for_registry: Signal,
    for_limits: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            ending: Ending::listen()?,
            for_registry: signal(SignalKind::hangup())?,
            for_limits: signal(SignalKind::hangup())?,
        })
    }
}

/// SIGTERM and SIGINT.
pub(super) struct Ending {
    terminate: Signal,
    interrupt: Signal,
}

impl Ending {
    /// From now on neither ends the program by itself.
    ///
    /// # Errors
    /// The system gives no signals.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the first of them.
    pub(super) async fn came(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use lucius_domain::time::Timestamp;
    use lucius_memory::records::MemoryRecords;

    use super::*;

    #[tokio::test]
    async fn a_host_that_starts_paused_says_so_on_record_and_leaves_an_operators_pause_as_it_is() {
        let records = Arc::new(MemoryRecords::new());
        let pauses = Pauses::new(Arc::clone(&records) as Arc<_>);
        let audit = Audit::new(records);
        start_paused(&pauses, &audit).await.unwrap();
        let first = pauses.seen();
        assert_eq!((first.len(), first[0].manner), (1, Manner::Hold));
        let (entries, _) = audit.list(None, 10).await.unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].act, "lucius serve --start-paused");
        assert_eq!(entries[0].detail.as_deref(), Some("everything, hold"));
        assert_eq!(entries[0].status, Some(201));

        let of_operator = Pause {
            target: Target::Everything,
            manner: Manner::Refuse,
            since: Timestamp(1),
            by: "operator".to_owned(),
            reason: Some("ticket 4711".to_owned()),
        };
        pauses.pause(of_operator.clone()).await.unwrap();
        start_paused(&pauses, &audit).await.unwrap();
        assert_eq!(pauses.seen().first(), Some(&of_operator));
        assert_eq!(audit.list(None, 10).await.unwrap().0, entries);

        // Nor is it overwritten when it is made at the same time.
        let late = Pause {
            manner: Manner::Hold,
            ..of_operator.clone()
        };
        assert!(!pauses.pause_unless_paused(late).await.unwrap());
        assert_eq!(pauses.seen().first(), Some(&of_operator));
    }
}
