//! What a long-running command tells while it runs: its log, and its traces.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt};

use super::{Failure, usage};
use crate::config::{Config, LogFormat};
use crate::telemetry::traces::{self, Sending};

/// A log that has started.
pub(super) struct Log(Option<Sending>);

impl Log {
    /// Sends what is left of the traces.
    pub(super) async fn finish(self) {
        let Some(sending) = self.0 else { return };
        if let Err(error) = tokio::task::spawn_blocking(|| sending.finish()).await {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// Logs to standard error and traces, as the settings say. Within a runtime.
///
/// # Errors
/// A setting of either is wrong.
pub(super) fn start(config: &Config, service: &str) -> Result<Log, Failure> {
    let filter = EnvFilter::try_new(&config.log.filter)
        .map_err(|error| usage(anyhow::anyhow!("log.filter: {error}")))?;
    let lines = fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let lines = match config.log.format {
        LogFormat::Human => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let (traces, sending) = match config.telemetry.otlp_endpoint.as_str() {
        "" => (None, None),
        endpoint => {
            let started = traces::start(endpoint, service);
            let refused = |error| usage(anyhow::anyhow!("telemetry.otlp_endpoint: {error}"));
            let (traces, sending) = started.map_err(refused)?;
            (Some(traces), Some(sending))
        }
    };
    // Spans of this program alone, whatever the log leaves out.
    let ours = Targets::new().with_target("lucius", LevelFilter::INFO);
    let log = Registry::default()
        .with(lines.with_filter(filter))
        .with(traces.map(|traces| traces.with_filter(ours)));
    log.try_init()
        .map_err(|error| Failure::Failed(anyhow::anyhow!("the log cannot start: {error}")))?;
    Ok(Log(sending))
}
