//! `lucius azure`: what an account and a namespace must hold, and making what is missing.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
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

/// How many entities are looked at at once.
const AT_ONCE: usize = 8;

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

/// What of a namespace is missing or different, each in a line; nothing is changed.
pub(super) async fn wrong_with_bus(config: &Config) -> Result<Vec<String>, Failure> {
    let services = services(config, &[])?;
    let rows = bus(config, &services, false).await?;
    let wrong = rows.iter().filter(|row| row.found != Found::Right);
    Ok(wrong.map(Row::line).collect())
}

async fn bus(config: &Config, services: &[ServiceName], apply: bool) -> Result<Vec<Row>, Failure> {
    let connection = storage::bus_connection().map_err(usage)?;
    let shape = Shape {
        lock: Duration::from_millis(config.bus.lock_ms),
        max_delivery_count: config.bus.max_delivery_count,
        duplicate_window: DUPLICATE_WINDOW,
    };
    let management = Management::new(connection, shape).map_err(anyhow::Error::from)?;
    let management = &management;
    let looks = Entity::needed(services)
        .into_iter()
        .map(|entity| async move {
            let found = management.look(&entity, SystemClock.now()).await?;
            anyhow::Ok((entity, found))
        });
    let looked: Vec<_> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
    let mut rows = Vec::new();
    for (entity, found) in looked {
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

impl Row {
    fn state(&self) -> &'static str {
        match (&self.found, self.made) {
            (Found::Right, _) => "there",
            (Found::Missing, true) => "made",
            (Found::Missing, false) => "missing",
            (Found::Different(_), _) => "different",
        }
    }

    fn differences(&self) -> &[String] {
        match &self.found {
            Found::Different(differences) => differences,
            Found::Right | Found::Missing => &[],
        }
    }

    fn line(&self) -> String {
        let differences = self.differences().join("; ");
        let line = format!("{:<11}{}  {differences}", self.state(), self.what);
        line.trim_end().to_owned()
    }
}

fn show(rows: &[Row], json: bool) {
    if json {
        let rows = rows.iter().map(|row| {
            json!({ "what": row.what, "state": row.state(), "differences": row.differences() })
        });
        output::json(&json!({ "entities": rows.collect::<Vec<_>>() }));
        return;
    }
    let count = |wanted| rows.iter().filter(|row| row.state() == wanted).count();
    for row in rows.iter().filter(|row| row.state() != "there") {
        output::line(row.line());
    }
    output::line(format!(
        "{} there, {} made, {} missing, {} different",
        count("there"),
        count("made"),
        count("missing"),
        count("different")
    ));
}
