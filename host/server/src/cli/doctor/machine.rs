//! What can be seen without a host: directory, disk, files, registry, tools.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use lucius_ports::clock::Clock as _;
use lucius_registry_dir::RegistryDir;
use lucius_sqlite::file::FileError;
use lucius_wasm::Sandbox;

use super::{BUS, Finding, LEDGER, azure};
use crate::config::{BusBackend, Config, LedgerBackend};
use crate::system::SystemClock;
use crate::telemetry::levels;

/// Below this a ledger may soon find no room, in bytes.
const LITTLE_ROOM: u64 = 1 << 30;
/// Below this it will, in bytes.
const NO_ROOM: u64 = 64 << 20;
/// How far a job may lie in the future before the clock is in doubt, in milliseconds.
const CLOCK_MARGIN_MS: i64 = 60_000;

pub(super) async fn look(config: &Config) -> Vec<Finding> {
    let data_dir = &config.data_dir;
    let mut findings = vec![directory(data_dir)];
    let is_there = data_dir.is_dir();
    if is_there {
        findings.push(disk(data_dir));
        findings.push(key(data_dir));
    }
    match config.ledger.backend {
        LedgerBackend::Sqlite if is_there => findings.extend(ledger(data_dir)),
        LedgerBackend::Sqlite => {}
        LedgerBackend::AzureTables => findings.extend(azure::ledger(config).await),
    }
    match config.bus.backend {
        BusBackend::Embedded if is_there => findings.push(bus(data_dir)),
        BusBackend::Embedded => {}
        BusBackend::AzureServicebus => findings.push(azure::bus(config).await),
    }
    findings.extend(azure::record(config).await);
    findings.push(registry(config).await);
    findings.extend(tools(config));
    findings
}

fn directory(data_dir: &Path) -> Finding {
    const WHAT: &str = "data directory";
    let shown = data_dir.display();
    if !data_dir.exists() {
        let seen = format!("{shown} is not there");
        return Finding::warn(
            WHAT,
            seen,
            "nothing, if the host never ran; else name it with --data-dir",
        );
    }
    match tempfile::tempfile_in(data_dir) {
        Ok(_) => Finding::ok(WHAT, format!("{shown} can be written")),
        Err(error) => Finding::fail(
            WHAT,
            format!("{shown} cannot be written: {error}"),
            "give the host's user the right to write there, or make room",
        ),
    }
}

fn disk(data_dir: &Path) -> Finding {
    const WHAT: &str = "disk";
    let room = match levels::room(data_dir) {
        Ok(room) => room,
        Err(error) => {
            return Finding::warn(WHAT, format!("unknown: {error}"), "look at it with df");
        }
    };
    let seen = format!("{} MiB free of {} MiB", room.free >> 20, room.size >> 20);
    let advice = "make room on the disk of the data directory; see the runbook, DiskAlmostFull";
    match room.free {
        free if free < NO_ROOM => Finding::fail(WHAT, seen, advice),
        free if free < LITTLE_ROOM => Finding::warn(WHAT, seen, advice),
        _ => Finding::ok(WHAT, seen),
    }
}

fn key(data_dir: &Path) -> Finding {
    const WHAT: &str = "callback key";
    let path = data_dir.join("callback.key");
    let Ok(metadata) = path.metadata() else {
        return Finding::ok(WHAT, "none yet; the host makes it when it starts");
    };
    let others = metadata.permissions().mode() & 0o077;
    if metadata.len() != 32 {
        let advice = "restore it from a backup, or remove it to have a new one made";
        return Finding::fail(
            WHAT,
            format!("{} does not hold 32 bytes", path.display()),
            advice,
        );
    }
    if others != 0 {
        let advice = format!("chmod 600 {}", path.display());
        return Finding::fail(WHAT, "others than its owner may read it", advice);
    }
    Finding::ok(WHAT, "its owner alone may read it")
}

fn ledger(data_dir: &Path) -> Vec<Finding> {
    const RESTORE: &str = "restore it from a backup; see the runbook, backup and restore";
    let inspection = match lucius_sqlite::file::inspect(data_dir) {
        Ok(Some(inspection)) => inspection,
        Ok(None) => {
            return vec![Finding::ok(
                LEDGER,
                "none yet; the host makes it when it starts",
            )];
        }
        Err(error) => return vec![Finding::fail(LEDGER, error.to_string(), RESTORE)],
    };
    let (layout, known) = (inspection.layout, inspection.known_layout);
    if !inspection.is_ledger {
        let seen = "ledger.db is a database of something else";
        return vec![Finding::fail(
            LEDGER,
            seen,
            "move it away, or use another --data-dir",
        )];
    }
    if let Some(damage) = inspection.damage {
        return vec![Finding::fail(
            LEDGER,
            format!("it is damaged: {damage}"),
            RESTORE,
        )];
    }
    let finding = match layout.cmp(&known) {
        std::cmp::Ordering::Equal => Finding::ok(LEDGER, format!("sound, layout {layout}")),
        std::cmp::Ordering::Less => Finding::warn(
            LEDGER,
            format!("sound, layout {layout}; this version writes {known}"),
            "back it up before this version starts: it brings the layout up to date for good",
        ),
        std::cmp::Ordering::Greater => Finding::fail(
            LEDGER,
            format!("layout {layout} is newer than this version's {known}"),
            "start the version that wrote it, or a later one",
        ),
    };
    let clock = no_job_ahead(inspection.newest_job_at, SystemClock.now().0);
    vec![finding, clock]
}

/// Whether the newest job lies in the future, which a clock that is wrong makes it do.
pub(super) fn no_job_ahead(newest_job_at: Option<i64>, now: i64) -> Finding {
    let ahead = newest_job_at.map_or(0, |at| at - now);
    if ahead <= CLOCK_MARGIN_MS {
        return Finding::ok("clock", "no job is in the future");
    }
    Finding::fail(
        "clock",
        format!("the newest job is {} s in the future", ahead / 1_000),
        "set the clock right (NTP); jobs are due when their time has come by it",
    )
}

fn bus(data_dir: &Path) -> Finding {
    let path = data_dir.join("bus.db");
    if !path.exists() {
        return Finding::ok(BUS, "none yet; the host makes it when it starts");
    }
    match lucius_sqlite::file::check(&path) {
        Ok(None) => Finding::ok(BUS, "sound"),
        Err(FileError::Held { .. }) => Finding::ok(BUS, "a running host has it"),
        Ok(Some(damage)) => Finding::fail(
            BUS,
            format!("it is damaged: {damage}"),
            "move bus.db away: jobs whose directive was in it are sent again after their ACK timeout",
        ),
        Err(error) => Finding::fail(BUS, error.to_string(), "see to the file's permissions"),
    }
}

async fn registry(config: &Config) -> Finding {
    const WHAT: &str = "registry";
    let checked = async {
        let kept = tempfile::tempdir().map_err(|error| error.to_string())?;
        let source = RegistryDir::new(&config.registry, kept.path());
        let sandbox = Sandbox::start(crate::sandbox::settings(&config.plugins));
        let sandbox = sandbox.map_err(|error| error.to_string())?;
        let cap = config.plugins.cap();
        lucius_engine::registry::check(&source, &sandbox, cap)
            .await
            .map_err(|errors| {
                let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
                all.join("; ")
            })
    };
    match checked.await {
        Ok(snapshot) => Finding::ok(
            WHAT,
            format!(
                "{}, {} plugins, {} protocols",
                config.registry.display(),
                snapshot.plugins.len(),
                snapshot.protocols.len()
            ),
        ),
        Err(seen) => Finding::fail(
            WHAT,
            seen,
            "mend the entry that is named; a host that runs keeps its last good generation meanwhile",
        ),
    }
}

/// What the platform's own workers call or load; a machine that runs none of them needs none of it.
fn tools(config: &Config) -> Vec<Finding> {
    let mut missing = Vec::new();
    for tool in ["pdftotext", "pdftoppm", "tesseract"] {
        let found = std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(tool).is_file()));
        if !found {
            missing.push(tool);
        }
    }
    let tools = if missing.is_empty() {
        Finding::ok(
            "worker tools",
            "pdftotext, pdftoppm and tesseract are there",
        )
    } else {
        Finding::warn(
            "worker tools",
            format!("{} not found", missing.join(", ")),
            "if this machine is to run platform-ocr: apt-get install poppler-utils tesseract-ocr",
        )
    };
    let model = config.worker.models_dir.join(&config.embedding.model);
    let model = if model.join("model.safetensors").is_file() {
        Finding::ok("worker model", model.display().to_string())
    } else {
        Finding::warn(
            "worker model",
            format!("{} is not there", model.display()),
            "if this machine is to run platform-embedding or platform-sis: put the model there",
        )
    };
    vec![tools, model]
}
