//! The platform workers, made from the settings.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use lucius_platform::embedding::{Ingestion, Models};
use lucius_platform::service::Service;
use lucius_platform::sis::Intelligence;
use lucius_platform::{bus, ocr, program, refs, worker};

use crate::config::Config;

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

/// The folders of a data directory that workers may use. What else is there, such as the ledger and the key of the
/// callback tokens, is the host's alone.
const SHARED: [&str; 2] = ["workspace", "output"];

/// What a worker needs to run. `data_dir` is the host's when both are on one machine, since that is where directives
/// have their workspace. Files may be read below its folders `workspace` and `output` and below `read_roots`, and written
/// below those two and `write_roots`.
///
/// # Errors
/// The bus's address is none, or the data directory cannot be used.
pub fn worker_config(
    config: &Config,
    bus_url: &str,
    data_dir: &Path,
    api_key: Option<&str>,
) -> anyhow::Result<worker::Config> {
    let bus = bus_url.parse().with_context(|| {
        format!("\"{bus_url}\" is no bus address; write --bus http://127.0.0.1:7420/bus")
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
    let with_shared = |roots: &[PathBuf]| [&shared[..], roots].concat();
    Ok(worker::Config {
        bus,
        refs: refs::Settings {
            read_roots: with_shared(&config.worker.read_roots),
            write_roots: with_shared(&config.worker.write_roots),
            max_bytes: config.worker.input_bytes,
            temp_dir: own.join("tmp"),
        },
        data_dir: own,
        concurrency: config.worker.concurrency,
        accept_ahead: 32,
        timing: worker::Timing::default(),
        authorization: match api_key {
            Some(key) => Arc::new(bus::Bearer::new(key)),
            None => Arc::new(bus::Anonymous),
        },
    })
}
