//! `lucius keys`: the keys that clients call with.
//!
//! A running host makes them by its API, which takes a key with the scope admin. The first key is made on the data
//! directory itself, while no host runs on it, or in the tables that hosts share: who can write there needs no key.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use lucius_domain::time::Timestamp;
use lucius_engine::access::Scope;
use lucius_engine::access::keys::{KeyId, Keys};
use lucius_engine::audit::{Audit, Entry};
use lucius_ports::clock::{Clock as _, Ids as _};
use lucius_ports::records::Records;
use serde_json::{Value, json};

use super::client::{Client, HostUrl};
use super::output::{self, text};
use super::{Failure, load, usage};
use crate::host;
use crate::http::views::{KeyListView, KeyView, NewKeyView, WantedKeyView};
use crate::storage;
use crate::system::{SystemClock, SystemIds, random_key};

#[derive(Args)]
pub(super) struct Flags {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

/// Where the keys are.
#[derive(Args)]
struct Place {
    #[command(flatten)]
    host: HostUrl,
    /// The data directory itself instead of a host; no host may be running on it
    #[arg(long, global = true)]
    data_dir: Option<PathBuf>,
    /// The ledger in tables that the settings and LUCIUS_TABLES_CONNECTION name instead of a host; hosts may run on it
    #[arg(long, global = true, conflicts_with = "data_dir")]
    tables: bool,
    /// A TOML file with settings, to find the tables
    #[arg(long, env = "LUCIUS_CONFIG", global = true)]
    config: Option<PathBuf>,
}

impl Place {
    /// The keys themselves, unless a host is to be asked.
    async fn store(&self) -> Result<Option<Store>, Failure> {
        if let Some(folder) = &self.data_dir {
            let (records, secret) = host::records_of(folder).map_err(usage)?;
            return Ok(Some(Store::new(records, &secret, "the data directory")));
        }
        if self.tables {
            let config = load(self.config.clone())?;
            let shared = storage::shared_records(&config, random_secret()?).await;
            let (records, secret) = shared.map_err(usage)?;
            return Ok(Some(Store::new(records, &secret, "the tables")));
        }
        Ok(None)
    }
}

#[derive(Subcommand)]
enum Command {
    /// Make a key and print it; it is shown this once
    Create {
        /// Whose it is, for people
        #[arg(long, default_value = "")]
        label: String,
        /// Whose jobs it is about; several times for several tenants, "*" for all
        #[arg(long = "tenant")]
        tenants: Vec<String>,
        /// What it allows: submit, read, cancel, work, monitor, admin
        #[arg(
            long = "scope",
            alias = "scopes",
            required = true,
            value_delimiter = ','
        )]
        scopes: Vec<String>,
        /// With the scope work: a service whose directives it receives; all when not given
        #[arg(long = "service")]
        services: Vec<String>,
        /// How long it is good, for example 90d, 12h, 30m; without it, until it is revoked
        #[arg(long, value_parser = lifetime)]
        expires_in: Option<Duration>,
        /// Why, for the audit trail
        #[arg(long)]
        reason: Option<String>,
    },
    /// List all keys, without their secrets
    List,
    /// End a key for good
    Revoke {
        /// The key's id: the middle of the key
        id: String,
        /// Why, for the audit trail
        #[arg(long)]
        reason: Option<String>,
    },
}

pub(super) async fn run(flags: Flags, json: bool) -> Result<(), Failure> {
    let store = flags.place.store().await?;
    let host = Client::new(&flags.place.host)?;
    match flags.command {
        Command::Create {
            label,
            tenants,
            scopes,
            services,
            expires_in,
            reason,
        } => {
            let wanted = WantedKeyView {
                label,
                tenants,
                scopes,
                services,
                expires_at: expires_in.map(|it| after(it).to_string()),
            };
            let made = match &store {
                Some(store) => store.create(wanted, reason).await?,
                None => {
                    let wanted = serde_json::to_value(&wanted)?;
                    host.act("/v1/keys", Some(&wanted), reason.as_deref())
                        .await?
                }
            };
            created(&made, json);
        }
        Command::List => {
            let list = match &store {
                Some(store) => store.list().await?,
                None => host.get("/v1/keys").await?,
            };
            listed(&list, json);
        }
        Command::Revoke { id, reason } => {
            let key = match &store {
                Some(store) => store.revoke(&id, reason).await?,
                None => {
                    let id = KeyId::parse(&id).ok_or_else(|| usage(no_id()))?;
                    let path = format!("/v1/keys/{id}:revoke");
                    host.act(&path, None, reason.as_deref()).await?
                }
            };
            if json {
                output::json(&key);
            } else {
                output::line(format!(
                    "key {} is {}",
                    text(&key, "id"),
                    text(&key, "state")
                ));
            }
        }
    }
    Ok(())
}

fn created(made: &Value, json: bool) {
    if json {
        output::json(made);
        return;
    }
    output::line(text(made, "secret"));
    if made["bus_key"].is_string() {
        output::line(format!(
            "SharedAccessKeyName={};SharedAccessKey={}",
            text(made, "id"),
            text(made, "bus_key")
        ));
    }
}

fn listed(list: &Value, json: bool) {
    if json {
        output::json(list);
        return;
    }
    const PLAIN: [&str; 4] = ["id", "label", "state", "expires_at"];
    const LISTS: [&str; 3] = ["scopes", "tenants", "services"];
    let keys = list["keys"].as_array().into_iter().flatten();
    let rows: Vec<Vec<String>> = keys
        .map(|key| {
            let plain = PLAIN.map(|name| text(key, name));
            plain
                .into_iter()
                .chain(LISTS.map(|name| joined(&key[name])))
                .collect()
        })
        .collect();
    output::table(&[&PLAIN[..], &LISTS[..]].concat(), &rows);
}

fn joined(list: &Value) -> String {
    let names: Vec<&str> = list
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    names.join(",")
}

fn no_id() -> anyhow::Error {
    anyhow!("a key's id is the 16 signs in the middle of the key: see \"lucius keys list\"")
}

/// `90d`, `12h`, `30m`, `45s`.
fn lifetime(text: &str) -> Result<Duration, String> {
    let unit = text.chars().last().and_then(|unit| match unit {
        'd' => Some(86_400),
        'h' => Some(3_600),
        'm' => Some(60),
        's' => Some(1),
        _ => None,
    });
    let number = unit.and_then(|_| text[..text.len() - 1].parse::<u64>().ok());
    let seconds = unit
        .zip(number)
        .and_then(|(unit, number)| number.checked_mul(unit));
    seconds
        .filter(|seconds| (1..=100 * 366 * 86_400).contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| "write it like 90d, 12h, 30m or 45s".to_owned())
}

fn after(lifetime: Duration) -> Timestamp {
    let ms = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
    SystemClock.now().plus_ms(ms)
}

/// The keys as they are kept.
struct Store {
    keys: Keys,
    audit: Audit,
    /// What was written to, for the audit trail.
    place: &'static str,
}

impl Store {
    fn new(records: Arc<dyn Records>, secret: &[u8; 32], place: &'static str) -> Self {
        Self {
            keys: Keys::new(Arc::clone(&records), Arc::new(SystemClock), secret),
            audit: Audit::new(records),
            place,
        }
    }

    fn entry(&self, act: &str, why: Option<String>) -> Entry {
        Entry {
            at: SystemClock.now(),
            who: "shell".to_owned(),
            act: format!("lucius {act}"),
            path: self.place.to_owned(),
            why,
            request_id: None,
            detail: None,
            status: None,
        }
    }

    async fn create(&self, wanted: WantedKeyView, why: Option<String>) -> anyhow::Result<Value> {
        let grant = wanted.grant().map_err(|error| anyhow!(error))?;
        let works = grant.scopes.contains(&Scope::Work);
        let begun = self
            .audit
            .begin(self.entry("keys create", why), id())
            .await?;
        let issued = self.keys.issue(grant, "shell", &random_key()?).await?;
        let detail = format!("key {}", issued.key.id);
        self.audit.end(begun, 201, Some(&detail)).await?;
        Ok(serde_json::to_value(NewKeyView {
            bus_key: works.then(|| self.keys.bus_key(&issued.key.id)),
            secret: issued.text,
            key: KeyView::new(issued.key, SystemClock.now()),
        })?)
    }

    async fn list(&self) -> anyhow::Result<Value> {
        let now = SystemClock.now();
        let keys = self.keys.list().await?;
        let keys = keys.into_iter().map(|key| KeyView::new(key, now)).collect();
        Ok(json!(KeyListView { keys }))
    }

    async fn revoke(&self, id_text: &str, why: Option<String>) -> anyhow::Result<Value> {
        let key = KeyId::parse(id_text).ok_or_else(no_id)?;
        let begun = self
            .audit
            .begin(self.entry("keys revoke", why), id())
            .await?;
        let revoked = self.keys.revoke(&key).await?;
        let status = if revoked.is_some() { 200 } else { 404 };
        self.audit
            .end(begun, status, Some(&format!("key {key}")))
            .await?;
        let revoked = revoked.context("there is no such key: see \"lucius keys list\"")?;
        Ok(serde_json::to_value(KeyView::new(
            revoked,
            SystemClock.now(),
        ))?)
    }
}

fn id() -> lucius_domain::id::JobId {
    SystemIds.job_id(SystemClock.now())
}

/// What callback tokens are signed with from now on, if no host has made a key for that yet.
fn random_secret() -> anyhow::Result<[u8; 32]> {
    let random = random_key()?;
    let mut secret = [0; 32];
    secret.copy_from_slice(&random[..32]);
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_a_number_and_a_unit() {
        assert_eq!(lifetime("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(lifetime("45s"), Ok(Duration::from_secs(45)));
        for wrong in [
            "",
            "d",
            "0d",
            "-1d",
            "90",
            "1y",
            "99999999999999999999d",
            "1é",
        ] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }
}
