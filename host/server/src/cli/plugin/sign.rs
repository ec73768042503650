//! `lucius plugin sign`: vouches for a component, by ed25519 over its canonical manifest.
//!
//! The signature is kept in `signature.json` beside `plugin.json`, and `add` writes it into the registry's entry. It is
//! of exactly one component with exactly these limits and services, so what is built or changed later is signed again.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use lucius_engine::registry::PluginSpec;
use lucius_engine::registry::signature::{PrivateKey, Signed};
use serde_json::json;

use super::Judged;
use super::folder::SIGNATURE;
use crate::cli::Failure;
use crate::cli::output;

#[derive(Args)]
pub(in crate::cli) struct Flags {
    #[command(flatten)]
    judged: Judged,
    /// The private key, ed25519 as PKCS#8 PEM
    #[arg(long)]
    key: PathBuf,
    /// The key's name in the registry's trust.keys
    #[arg(long)]
    key_id: String,
    /// A number that rises with every release: a host refuses one below that of the last it activated
    #[arg(long)]
    serial: u64,
    /// Make the key first, in a file that nobody else may read
    #[arg(long)]
    new_key: bool,
}

pub(super) async fn run(flags: Flags, json: bool) -> Result<(), Failure> {
    let candidate = flags.judged.open()?;
    let described = candidate
        .admit(&candidate.sandbox()?)
        .await
        .map_err(|error| anyhow::anyhow!("no host would take it: {error}"))?;
    let key = match flags.new_key {
        true => make(&flags.key)?,
        false => read(&flags.key)?,
    };
    let entry = candidate.folder.entry(&candidate.built, &described);
    let entry: PluginSpec = serde_json::from_value(entry)?;
    let signed = Signed::of(&entry, candidate.built.digest, flags.serial);
    let signature = key.sign(&flags.key_id, &signed);
    let file = candidate.folder.beside(SIGNATURE);
    let text = format!("{:#}\n", json!(signature));
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    let public_key = key.public_key().to_string();
    if json {
        output::json(&json!({
            "file": file,
            "signature": signature,
            "public_key": public_key,
            "signed": signed,
        }));
    } else {
        output::line(format!("signed      {}", signed.text()));
        output::line(format!("signature   {}", file.display()));
        output::line(format!("public key  {public_key}"));
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<PrivateKey> {
    let text = fs::read_to_string(file).with_context(|| {
        format!(
            "cannot read the key {}: make one with --new-key",
            file.display()
        )
    })?;
    Ok(PrivateKey::from_pem(&text)?)
}

fn make(file: &Path) -> anyhow::Result<PrivateKey> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)
        .map_err(|error| anyhow::anyhow!("the system gives no randomness: {error}"))?;
    let key = PrivateKey::from_seed(&seed);
    let pem = key.to_pem()?;
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut new| new.write_all(pem.as_bytes()))
        .with_context(|| format!("cannot make the key {}", file.display()))?;
    Ok(key)
}
