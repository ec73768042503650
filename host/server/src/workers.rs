//! The platform workers, made from the settings.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use lucius_azure_servicebus::sas;
use lucius_azure_tables::Attempts;
use lucius_platform::contract::AttemptKey;
use lucius_platform::embedding::{Ingestion, Models};
use lucius_platform::service::Service;
use lucius_platform::sis::Intelligence;
use lucius_platform::{buckets, bus, ocr, program, record, refs, worker};
use lucius_ports::clock::Clock as _;

use crate::config::Config;
use crate::host::StartError;
use crate::storage;
use crate::system::SystemClock;

/// The services that ship with the platform.
pub const SHIPPED: [&str; 3] = ["platform-ocr", "platform-embedding", "platform-sis"];

/// A shipped service by its name.
///
/// # Errors
/// It is not one of [`SHIPPED`], or its settings cannot be used.
pub fn service(
    name: &str,
    config: &Config,
    models: &Arc<Models>,
) -> anyhow::Result<Arc<dyn Service>> {
    match name {
        "platform-ocr" => {
            let settings = ocr::Settings {
                pages_at_once: config.worker.ocr_pages_at_once,
                page_time_limit: Duration::from_millis(config.worker.ocr_page_ms),
                ..ocr::Settings::default()
            };
            Ok(Arc::new(ocr::Service::new(settings)))
        }
        "platform-embedding" => Ok(Arc::new(Ingestion::new(
            Arc::clone(models),
            config.embedding.clone(),
        ))),
        "platform-sis" => {
            let key = config.sis.api_key()?;
            Ok(Arc::new(Intelligence::new(
                Arc::clone(models),
                config.sis.clone(),
                key.as_ref(),
            )?))
        }
        other => anyhow::bail!(
            "\"{other}\" is not a shipped service ({}): give a program after --",
            SHIPPED.join(", ")
        ),
    }
}

/// A service whose work is done by a program.
pub fn program_service(
    name: &str,
    command: &[String],
    config: &Config,
) -> anyhow::Result<Arc<dyn Service>> {
    let (program, args) = command.split_first().context("give a program after --")?;
    anyhow::ensure!(
        is_there(Path::new(program)),
        "there is no program {program}: give its path, or its name if it is in PATH"
    );
    let args = args.iter().map(Into::into).collect();
    let mut settings = program::Settings::new(name, PathBuf::from(program), args);
    settings.time_limit = Duration::from_millis(config.worker.program_ms);
    Ok(Arc::new(program::Service::new(settings)))
}

/// A path that holds a file, or a name that is found in PATH.
fn is_there(program: &Path) -> bool {
    if program.components().count() > 1 || program.is_absolute() {
        return program.is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// The models folder, which is only looked into when a model is needed.
pub fn models(config: &Config) -> Arc<Models> {
    Arc::new(Models::new(config.worker.models_dir.clone()))
}

/// Where a worker's bus is, and what it shows there.
pub struct BusAccess {
    /// The address.
    pub url: String,
    authorization: Arc<dyn bus::Authorization>,
}

impl BusAccess {
    /// A host's own bus, with an API key if the host asks for one.
    pub fn of_host(url: String, api_key: Option<&str>) -> Self {
        let authorization: Arc<dyn bus::Authorization> = match api_key {
            Some(key) => Arc::new(bus::Bearer::new(key)),
            None => Arc::new(bus::Anonymous),
        };
        Self { url, authorization }
    }

    /// The namespace of the connection string in the environment.
    ///
    /// # Errors
    /// The variable is missing, or what is wrong with it.
    pub fn of_namespace() -> Result<Self, StartError> {
        let connection = storage::bus_connection()?;
        Ok(Self {
            url: connection.endpoint().to_owned(),
            authorization: Arc::new(Signed(connection)),
        })
    }
}

/// Signs every request anew, so that nothing expires in flight.
struct Signed(lucius_azure_servicebus::Connection);

impl bus::Authorization for Signed {
    fn header(&self, resource: &url::Url) -> Option<String> {
        // What is signed for is the subscription, or what is above it; a message has no rights of its own.
        let url = resource.as_str();
        let entity = url.split("/messages").next().unwrap_or(url);
        match sas::token(&self.0, entity, SystemClock.now()) {
            Ok(token) => Some(token),
            Err(error) => {
                tracing::error!(%error, "LUCIUS_SERVICEBUS_CONNECTION has a key that cannot sign");
                None
            }
        }
    }
}

/// What stores read their credentials from.
fn of_stores() -> Vec<(String, String)> {
    const OF_STORES: [&str; 3] = ["AZURE_", "AWS_", "GOOGLE_"];
    let of_store = |(name, _): &(String, String)| OF_STORES.iter().any(|it| name.starts_with(it));
    let texts = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    texts.filter(of_store).collect()
}

/// The folders of a data directory that workers may use. What else is there, such as the ledger and the key of the
/// callback tokens, is the host's alone.
const SHARED: [&str; 2] = ["workspace", "output"];

/// The table that workers share for what they have finished, as the platform knows it.
struct Shared(Attempts);

impl Shared {
    /// An attempt's name within its job.
    fn name(attempt: &AttemptKey) -> String {
        let AttemptKey {
            job_id: _,
            step_id,
            attempt_no,
            lease_id,
        } = attempt;
        format!("{step_id}\n{attempt_no}\n{}", lease_id.expose())
    }
}

#[async_trait]
impl record::Store for Shared {
    async fn get(&self, attempt: &AttemptKey) -> Result<Option<String>, record::Error> {
        let found = self.0.get(&attempt.job_id, &Self::name(attempt)).await;
        found.map_err(|error| record::Error::Store(error.into()))
    }

    async fn put(&self, attempt: &AttemptKey, text: String) -> Result<(), record::Error> {
        let name = Self::name(attempt);
        let put = self.0.put(&attempt.job_id, &name, &text);
        put.await
            .map_err(|error| record::Error::Store(error.into()))
    }
}

/// What a worker needs to run. `data_dir` is the host's when both are on one machine, since that is where directives
/// have their workspace. Files may be read below its folders `workspace` and `output` and below `read_roots`, and written
/// below those two and `write_roots`.
///
/// # Errors
/// The bus's address is none, the data directory cannot be used, or the table of finished attempts is not there.
pub async fn worker_config(
    config: &Config,
    of_bus: BusAccess,
    data_dir: &Path,
) -> anyhow::Result<worker::Config> {
    let BusAccess { url, authorization } = of_bus;
    let bus = url.parse().with_context(|| {
        format!("\"{url}\" is no bus address; write --bus http://127.0.0.1:7420/bus")
    })?;
    let unusable = || {
        format!(
            "cannot use the data directory {}; choose another with --data-dir",
            data_dir.display()
        )
    };
    std::fs::create_dir_all(data_dir).with_context(unusable)?;
    let data_dir = data_dir.canonicalize().with_context(unusable)?;
    let shared = SHARED.map(|name| data_dir.join(name));
    let own = data_dir.join("workers");
    for folder in shared.iter().chain([&own]) {
        std::fs::create_dir_all(folder).with_context(unusable)?;
    }
    let timing = worker::Timing::default();
    let attempts = storage::attempts(config, timing.remember).await?;
    let with_shared = |roots: &[PathBuf]| [&shared[..], roots].concat();
    Ok(worker::Config {
        bus,
        refs: refs::Settings {
            read_roots: with_shared(&config.worker.read_roots),
            write_roots: with_shared(&config.worker.write_roots),
            max_bytes: config.worker.input_bytes,
            temp_dir: own.join("tmp"),
            buckets: buckets::Settings {
                read: config.worker.read_buckets.clone(),
                write: config.worker.write_buckets.clone(),
                environment: of_stores(),
            },
        },
        data_dir: own,
        record: attempts.map(|attempts| Arc::new(Shared(attempts)) as _),
        concurrency: config.worker.concurrency,
        accept_ahead: 32,
        timing,
        authorization,
        status: Arc::default(),
    })
}
