//! `lucius azure`: what an account and a namespace must hold, and making what is missing.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use lucius_azure_servicebus::topology::{Entity, Found, Management, Shape};
use lucius_domain::id::ServiceName;
use lucius_ports::clock::Clock as _;
use serde_json::{Value, json};

use super::{Failure, load, output, usage};
use crate::config::Config;
use crate::storage::{self, SERVICEBUS_CONNECTION, TABLES_CONNECTION};
use crate::system::SystemClock;

/// For how long a copy of a message is noticed; the service's own default.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(600);

#[derive(Args)]
pub(super) struct Flags {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Show what is missing or different; nothing is changed
    Plan(What),
    /// Make what is missing; what is there is never changed
    Apply(What),
}

#[derive(Args)]
struct What {
    /// A TOML file with settings
    #[arg(long, env = "LUCIUS_CONFIG")]
    config: Option<PathBuf>,
    /// The registry folder, whose steps name the services [default: ./registry]
    #[arg(long)]
    registry: Option<PathBuf>,
    /// A service that needs subscriptions besides those of the registry; may be repeated
    #[arg(long = "service")]
    services: Vec<String>,
}

/// One thing that must be there.
struct Row {
    what: String,
    found: Found,
    made: bool,
}

pub(super) async fn run(flags: Flags, json: bool) -> Result<(), Failure> {
    let (what, apply) = match flags.verb {
        Verb::Plan(what) => (what, false),
        Verb::Apply(what) => (what, true),
    };
    let mut config = load(what.config)?;
    config.registry = what.registry.unwrap_or(config.registry);
    let named = |variable| std::env::var_os(variable).is_some();
    if !named(TABLES_CONNECTION) && !named(SERVICEBUS_CONNECTION) {
        return Err(usage(anyhow::anyhow!(
            "nothing is named: set {TABLES_CONNECTION}, {SERVICEBUS_CONNECTION} or both to connection strings"
        )));
    }
    let mut rows = Vec::new();
    if named(TABLES_CONNECTION) {
        rows.extend(tables(&config, apply).await?);
    }
    if named(SERVICEBUS_CONNECTION) {
        let services = services(&config, &what.services)?;
        rows.extend(bus(&config, &services, apply).await?);
    }
    show(&rows, json);
    Ok(())
}

async fn tables(config: &Config, apply: bool) -> Result<Vec<Row>, Failure> {
    let storage = storage::tables(config).map_err(usage)?;
    let missing = storage.missing().await.map_err(anyhow::Error::from)?;
    let mut rows = Vec::new();
    for table in storage.names() {
        let is_missing = missing.contains(&table);
        if is_missing && apply {
            storage.create(&table).await.map_err(anyhow::Error::from)?;
        }
        rows.push(Row {
            what: format!("table {table}"),
            found: match is_missing {
                true => Found::Missing,
                false => Found::Right,
            },
            made: is_missing && apply,
        });
    }
    Ok(rows)
}

async fn bus(config: &Config, services: &[ServiceName], apply: bool) -> Result<Vec<Row>, Failure> {
    let connection = storage::bus_connection().map_err(usage)?;
    let shape = Shape {
        lock: Duration::from_millis(config.bus.lock_ms),
        max_delivery_count: config.bus.max_delivery_count,
        duplicate_window: DUPLICATE_WINDOW,
    };
    let management = Management::new(connection, shape).map_err(anyhow::Error::from)?;
    let mut rows = Vec::new();
    for entity in Entity::needed(services) {
        let looked = management.look(&entity, SystemClock.now()).await;
        let found = looked.map_err(anyhow::Error::from)?;
        let made = apply && found == Found::Missing;
        if made {
            let created = management.create(&entity, SystemClock.now()).await;
            created.map_err(anyhow::Error::from)?;
        }
        rows.push(Row {
            what: match &entity {
                Entity::Topic(_) => format!("topic {}", entity.path()),
                Entity::Subscription(..) => format!("subscription {}", entity.path()),
            },
            found,
            made,
        });
    }
    Ok(rows)
}

/// The services that the registry's steps name, and those named besides.
fn services(config: &Config, besides: &[String]) -> Result<Vec<ServiceName>, Failure> {
    let path = config.registry.join("registry.json");
    let read =
        || -> anyhow::Result<Value> { Ok(serde_json::from_str(&std::fs::read_to_string(&path)?)?) };
    let manifest = read().map_err(|error| {
        usage(anyhow::anyhow!(
            "cannot read {}: {error}; name the registry folder with --registry",
            path.display()
        ))
    })?;
    let each = |of: &Value, name: &str| of[name].as_array().cloned().unwrap_or_default();
    let mut names = besides.to_vec();
    for step in each(&manifest, "protocols")
        .iter()
        .flat_map(|protocol| each(protocol, "steps"))
    {
        names.extend(step["service"].as_str().map(str::to_owned));
    }
    for service in each(&manifest, "plugins")
        .iter()
        .flat_map(|plugin| each(plugin, "services"))
    {
        names.extend(service.as_str().map(str::to_owned));
    }
    names.sort_unstable();
    names.dedup();
    Ok(names.into_iter().map(ServiceName::new).collect())
}

fn show(rows: &[Row], json: bool) {
    let state = |row: &Row| match (&row.found, row.made) {
        (Found::Right, _) => "there",
        (Found::Missing, true) => "made",
        (Found::Missing, false) => "missing",
        (Found::Different(_), _) => "different",
    };
    let details = |row: &Row| match &row.found {
        Found::Different(details) => details.clone(),
        Found::Right | Found::Missing => Vec::new(),
    };
    if json {
        let rows = rows.iter().map(
            |row| json!({ "what": row.what, "state": state(row), "differences": details(row) }),
        );
        output::json(&json!({ "entities": rows.collect::<Vec<_>>() }));
        return;
    }
    let count = |wanted| rows.iter().filter(|row| state(row) == wanted).count();
    for row in rows.iter().filter(|row| state(row) != "there") {
        let details = details(row).join("; ");
        let what = format!("{:<11}{}  {details}", state(row), row.what);
        output::line(what.trim_end());
    }
    output::line(format!(
        "{} there, {} made, {} missing, {} different",
        count("there"),
        count("made"),
        count("missing"),
        count("different")
    ));
}
