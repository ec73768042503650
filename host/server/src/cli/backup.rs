//! `lucius backup`: a copy of the data directory's durable part, made while the host runs.
//!
//! The ledger is the only truth, and is copied whole as it is at one moment. A running host keeps the embedded bus to
//! itself, so the bus is copied only when none runs, after the ledger. Without it nothing is lost: an attempt whose
//! directive is not on the restored bus ends by its ACK time-out or lease, and the next one has a directive of its
//! own. What a bus's copy has beyond the ledger's belongs to attempts whose callbacks do not count. The copy has the layout of a data directory: `lucius serve --data-dir COPY` serves from it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use lucius_sqlite::file::FileError;
use serde_json::json;

use super::output;
use super::{Failure, load, usage};

#[derive(Args)]
pub(super) struct Flags {
    /// The folder for the copy; it must be empty, or not there yet
    to: PathBuf,
    /// The data directory [default: ./lucius-data]
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// A TOML file with settings
    #[arg(long, env = "LUCIUS_CONFIG")]
    config: Option<PathBuf>,
}

pub(super) fn run(flags: Flags, json: bool) -> Result<(), Failure> {
    let config = load(flags.config)?;
    let from = flags.data_dir.unwrap_or(config.data_dir);
    check(&from, &flags.to).map_err(usage)?;
    let copied = copy(&from, &flags.to)?;
    let Copied { files, left_out } = copied;
    if json {
        let document =
            json!({ "from": from, "to": flags.to, "files": files, "left_out": left_out });
        output::json(&document);
        return Ok(());
    }
    for file in left_out {
        output::line(format!(
            "left out  {file}, which the running host keeps to itself: directives that are out are sent again"
        ));
    }
    for file in files {
        output::line(format!("copied  {}", flags.to.join(file).display()));
    }
    output::line(format!(
        "serve from it with: lucius serve --data-dir {}",
        flags.to.display()
    ));
    Ok(())
}

fn check(from: &Path, to: &Path) -> anyhow::Result<()> {
    if !from.join("ledger.db").is_file() {
        bail!(
            "there is no ledger in {}: name the data directory with --data-dir",
            from.display()
        );
    }
    let is_empty = match fs::read_dir(to) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => bail!("cannot use {}: {error}", to.display()),
    };
    if !is_empty {
        bail!("{} is not empty: choose a new folder", to.display());
    }
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))
}

/// What is in the copy, and what is not.
#[derive(Default)]
struct Copied {
    files: Vec<String>,
    left_out: Vec<String>,
}

/// Copies what is durable.
fn copy(from: &Path, to: &Path) -> anyhow::Result<Copied> {
    let mut copied = Copied::default();
    lucius_sqlite::file::copy(&from.join("ledger.db"), &to.join("ledger.db"))?;
    copied.files.push("ledger.db".to_owned());
    if from.join("bus.db").is_file() {
        match lucius_sqlite::file::copy(&from.join("bus.db"), &to.join("bus.db")) {
            Ok(()) => copied.files.push("bus.db".to_owned()),
            Err(FileError::Held { .. }) => copied.left_out.push("bus.db".to_owned()),
            Err(error) => return Err(error.into()),
        }
    }
    // The key of the callback tokens, readable by its owner alone; without it, services that are at work are refused.
    let key = from.join("callback.key");
    if key.is_file() {
        fs::copy(&key, to.join("callback.key"))
            .with_context(|| format!("cannot copy {}", key.display()))?;
        copied.files.push("callback.key".to_owned());
    }
    // Plugins by digest: a file is never changed once it is there.
    let components = from.join("components");
    if components.is_dir() {
        fs::create_dir_all(to.join("components"))?;
        for entry in fs::read_dir(&components)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let name = PathBuf::from("components").join(entry.file_name());
                fs::copy(entry.path(), to.join(&name))
                    .with_context(|| format!("cannot copy {}", entry.path().display()))?;
                copied.files.push(name.display().to_string());
            }
        }
    }
    fs::File::open(to)?.sync_all()?;
    Ok(copied)
}
