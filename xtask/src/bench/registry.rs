//! What a change of the registry costs: by itself, a thousand times over, and beside commands that come in; and the same
//! while a component of 12 MB is compiled.
//!
//! Every second reload makes the shipped registry live, with all of its components to be loaded from the cache; the
//! others make live one without plugins, so that they are dropped again.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use ureq::Agent;

use super::goals;
use crate::demo::host::{Host, Setting};
use crate::shell;

const RELOADS: usize = 1_000;
/// How often the registry is reloaded beside the load.
const EVERY: Duration = Duration::from_millis(500);
/// How long commands come in.
const SECONDS: &str = "20";
/// Part of what the host can do, so that there is room for what is measured.
const SHARE: f64 = 0.4;
/// A reload answers when all is compiled.
const ANSWERS_WITHIN: Duration = Duration::from_secs(300);
const MANIFEST: &str = "registry.json";

/// The table, in Markdown.
///
/// # Errors
/// The list of rows is broken.
pub(super) fn table(results: &Value) -> Result<String> {
    goals::table_of(include_str!("registry.json"), results)
}

/// Measures all of it on one host.
pub(super) fn run() -> Result<Value> {
    let scratch = tempfile::tempdir()?;
    let registry = Registry::copy(scratch.path().join("registry"))?;
    let setting = Setting {
        verb: "serve",
        registry: registry.folder.clone(),
        ..Setting::fresh()?
    };
    let host = Host::start(&setting)?;
    let api = Api::new(&setting.address);
    let alone = alone(&registry, &api, host.pid())?;
    let best = bench(&api, &["--jobs", "3000"])?;
    let rate = best["jobs_per_second"].as_f64().unwrap_or(100.0) * SHARE;
    let (quiet, ()) = beside(&api, rate, |_| Ok(()))?;
    let (reloading, ()) = beside(&api, rate, |ended| {
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(EVERY) {
            registry.reload(&api)?;
        }
        Ok(())
    })?;
    registry.add_large()?;
    let (mut compiling, took) = beside(&api, rate, |_| api.reload())?;
    compiling["reload_s"] = took.as_secs_f64().into();
    fs::remove_dir_all(&setting.data)?;
    Ok(json!({
        "rate_per_second": rate,
        "alone": alone,
        "quiet": quiet,
        "reloading": reloading,
        "compiling": compiling,
    }))
}

/// Reloads while nothing else is done.
fn alone(registry: &Registry, api: &Api, pid: u32) -> Result<Value> {
    let (mut times, mut swaps) = (Vec::new(), Vec::new());
    let mut after_10 = 0.0;
    for reload in 1..=RELOADS {
        times.push(registry.reload(api)?.as_secs_f64() * 1_000.0);
        swaps.push(api.swap_ms()?);
        if reload == 10 {
            after_10 = resident_mb(pid)?;
        }
    }
    times.sort_by(f64::total_cmp);
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    Ok(json!({
        "reload_ms": { "p50": at(50), "p99": at(99), "max": at(100) },
        "longest_swap_ms": swaps.into_iter().fold(0.0, f64::max),
        "after_10_mb": after_10,
        "after_1000_mb": resident_mb(pid)?,
    }))
}

/// A constant rate of commands, and something that is done meanwhile and told when they end.
fn beside<T: Send>(
    api: &Api,
    rate: f64,
    meanwhile: impl FnOnce(&Receiver<()>) -> Result<T> + Send,
) -> Result<(Value, T)> {
    let (end, ended) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let meanwhile = scope.spawn(move || meanwhile(&ended));
        let rate = format!("{rate:.0}");
        let measured = bench(
            api,
            &["--rate", &rate, "--seconds", SECONDS, "--jobs", "100"],
        );
        drop(end);
        let done = meanwhile.join();
        let done = done.map_err(|_| anyhow::anyhow!("what is done meanwhile panicked"))??;
        let measured = measured?;
        let refused = measured["loop"]["refused"].as_object();
        let refused = refused
            .into_iter()
            .flatten()
            .map(|(_, count)| count.as_u64());
        let accepted = measured["loop"]["accepted"].as_u64().unwrap_or(0);
        let completed = measured["jobs"].as_u64().unwrap_or(0);
        let failed: u64 = refused.flatten().sum::<u64>() + accepted.saturating_sub(completed);
        let measured = json!({
            "accepted": accepted,
            "failed": failed,
            "accept_p99_ms": measured["times_ms"]["accept"]["p99"],
            "complete_p99_ms": measured["times_ms"]["complete"]["p99"],
        });
        Ok((measured, done))
    })
}

fn bench(api: &Api, arguments: &[&str]) -> Result<Value> {
    let mut command = shell::program(shell::lucius());
    command.args(["bench", "--json", "--url", &api.base, "--warm-up", "200"]);
    command.args(arguments);
    super::cases::measured(&mut command)
}

fn resident_mb(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kilobytes.context("the system does not tell the host's memory")? / 1_024.0)
}

/// The shipped registry, in a folder of its own.
struct Registry {
    folder: PathBuf,
    /// As it is shipped.
    whole: String,
    /// The same protocols, without a plugin.
    plain: String,
}

impl Registry {
    fn copy(folder: PathBuf) -> Result<Self> {
        let shipped = shell::root().join("registry");
        let whole = fs::read_to_string(shipped.join(MANIFEST))?;
        let mut manifest: Value = serde_json::from_str(&whole)?;
        fs::create_dir_all(folder.join("components"))?;
        for plugin in manifest["plugins"].as_array().into_iter().flatten() {
            let component = plugin["component"].as_str().unwrap_or_default();
            fs::copy(shipped.join(component), folder.join(component))?;
        }
        manifest["plugins"] = json!([]);
        let protocols = manifest["protocols"].as_array_mut().into_iter().flatten();
        let steps = protocols
            .filter_map(|it| it["steps"].as_array_mut())
            .flatten();
        for step in steps.filter_map(Value::as_object_mut) {
            step.remove("plugin");
        }
        let registry = Self {
            plain: manifest.to_string(),
            whole,
            folder,
        };
        registry.write(&registry.whole)?;
        Ok(registry)
    }

    fn write(&self, manifest: &str) -> Result<()> {
        Ok(fs::write(self.folder.join(MANIFEST), manifest)?)
    }

    /// Has the components dropped and the registry as shipped made live again; how long the latter took.
    fn reload(&self, api: &Api) -> Result<Duration> {
        self.write(&self.plain)?;
        api.reload()?;
        self.write(&self.whole)?;
        api.reload()
    }

    /// Adds the example that carries a JavaScript engine.
    fn add_large(&self) -> Result<()> {
        let example = shell::root().join("plugins/examples/redact/javascript");
        for arguments in [
            &["plugin", "build"][..],
            &[
                "plugin",
                "add",
                "--registry",
                &self.folder.to_string_lossy(),
            ],
        ] {
            let mut command = Command::new(shell::lucius());
            command.args(arguments).current_dir(&example);
            command.env("PATH", with_tools()?).stdin(Stdio::null());
            shell::run(&mut command)?;
        }
        Ok(())
    }
}

/// `PATH` with what the set-up brought in front.
fn with_tools() -> Result<std::ffi::OsString> {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let tools = shell::target().join("tools/bin");
    let all = std::iter::once(tools).chain(std::env::split_paths(&inherited));
    Ok(std::env::join_paths(all)?)
}

/// The host, as an operator's program speaks to it.
struct Api {
    agent: Agent,
    base: String,
}

impl Api {
    fn new(address: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWERS_WITHIN));
        Self {
            agent: config.build().into(),
            base: format!("http://{address}"),
        }
    }

    /// How long a reload takes.
    fn reload(&self) -> Result<Duration> {
        let began = Instant::now();
        let mut answer = self
            .agent
            .post(format!("{}/v1/registry:reload", self.base))
            .send_empty()?;
        let took = began.elapsed();
        let text = answer.body_mut().read_to_string()?;
        if !answer.status().is_success() {
            bail!("the reload was refused: {text}");
        }
        Ok(took)
    }

    /// What of the last reload a request could notice.
    fn swap_ms(&self) -> Result<f64> {
        let mut answer = self.agent.get(format!("{}/metrics", self.base)).call()?;
        let text = answer.body_mut().read_to_string()?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix("lucius_registry_swap_seconds "));
        let seconds: f64 = value.context("the host does not tell the swap")?.parse()?;
        Ok(seconds * 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_number_or_a_ratio_beside_its_goal_if_it_has_one() {
        let results = json!({
            "pieces": { "plugin call, fresh instance, on this thread": 30.0, "wasmtime alone, fresh instance": 20.0 },
            "registry": { "compiling": { "reload_s": 8.0, "failed": 0 } },
        });
        let table = table(&results).expect("the rows can be read");
        for row in [
            "fresh instance | under 40.0 µs | 30.0 µs | met |",
            "over wasmtime alone, fresh instance | under 1.30 | 1.50 | 1.15 times the goal |",
            "compiled beside the load | - | 8.00 s | - |",
            "failed requests meanwhile | 0.00 or less | 0.00 | met |",
        ] {
            assert!(table.contains(row), "{row} in {table}");
        }
    }
}
