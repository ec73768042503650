//! `lucius worker`: one platform service, or any program as a service.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::serve::Ending;
use super::{Failure, load, log, usage, worker_health};
use crate::config::BusBackend;
use crate::workers::{self, BusAccess};

/// Where a host serves its bus unless it is told otherwise.
const DEFAULT_BUS: &str = "http://127.0.0.1:7420/bus";

#[derive(Args)]
pub(super) struct Flags {
    /// The service to be: platform-ocr, platform-embedding, platform-sis, or any other with a program after --
    #[arg(long)]
    service: String,
    /// The bus to take directives from [default: http://127.0.0.1:7420/bus, or the namespace of
    /// LUCIUS_SERVICEBUS_CONNECTION with bus.backend = "azure-servicebus"]
    #[arg(long)]
    bus: Option<String>,
    /// The host's data directory when both are on one machine; here is the workspace, and what the worker remembers
    #[arg(long, default_value = "./lucius-data")]
    data_dir: PathBuf,
    /// What the bus asks for: an API key with the scope work
    #[arg(long, env = "LUCIUS_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Say on this address how the worker is: /healthz, /readyz
    #[arg(long, value_name = "ADDRESS")]
    health: Option<SocketAddr>,
    /// A TOML file with settings
    #[arg(long, env = "LUCIUS_CONFIG")]
    config: Option<PathBuf>,
    /// A program that gets each directive as JSON on standard input and prints the result as JSON
    #[arg(last = true)]
    program: Vec<String>,
}

pub(super) async fn run(flags: Flags) -> Result<(), Failure> {
    let config = load(flags.config)?;
    let log = log::start(&config, &flags.service)?;
    let service = match flags.program.is_empty() {
        true => workers::service(&flags.service, &config, &workers::models(&config)),
        false => workers::program_service(&flags.service, &flags.program, &config),
    };
    let service = service.map_err(usage)?;
    let key = flags.api_key.as_deref();
    let bus = match (flags.bus, config.bus.backend) {
        (Some(url), _) => BusAccess::of_host(url, key),
        (None, BusBackend::Embedded) => BusAccess::of_host(DEFAULT_BUS.to_owned(), key),
        (None, BusBackend::AzureServicebus) => BusAccess::of_namespace().map_err(usage)?,
    };
    let at = bus.url.clone();
    let worker = workers::worker_config(&config, bus, &flags.data_dir);
    let worker = worker.await.map_err(usage)?;
    if let Some(address) = flags.health {
        let status = Arc::clone(&worker.status);
        worker_health::serve(address, status).await.map_err(usage)?;
    }
    let stop = CancellationToken::new();
    let on_signal = stop.clone();
    let ending = Ending::listen()?;
    tokio::spawn(async move {
        ending.came().await;
        on_signal.cancel();
    });
    super::output::line(format!(
        "worker    {}\nbus       {}\nready",
        flags.service, at
    ));
    let ran = lucius_platform::worker::run(worker, service, stop).await;
    log.finish().await;
    ran.map_err(usage)
}
