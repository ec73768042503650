//! The host as a process of its own, that can be killed and started again on the same data.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::shell;

/// How long a start may take; the plugins are compiled within it.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Where the workers look for models, and how that is changed.
const MODELS_DEFAULT: &str = "target/models";
const MODELS_VARIABLE: &str = "LUCIUS_WORKER_MODELS_DIR";

/// What a host is started with; the same again after a crash.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    /// What it does: `dev` runs the workers as well, `serve` the host alone.
    pub(crate) verb: &'static str,
    /// The folder of the registry.
    pub(crate) registry: PathBuf,
    /// Where it listens: a free port of this machine, kept over restarts, since directives that are already out
    /// name it for their callbacks.
    pub(crate) address: String,
    /// Everything it writes.
    pub(crate) data: PathBuf,
}

impl Setting {
    /// A free port, and a fresh data folder inside the build folder; host and workers, with the registry that was built.
    pub(crate) fn fresh() -> Result<Self> {
        let free = TcpListener::bind("127.0.0.1:0").context("no free port on 127.0.0.1")?;
        let address = free.local_addr()?.to_string();
        let folder = shell::target().join("demo");
        std::fs::create_dir_all(&folder)?;
        let data = tempfile::Builder::new()
            .prefix("data-")
            .tempdir_in(&folder)?
            .keep();
        Ok(Self {
            verb: "dev",
            registry: "registry".into(),
            address,
            data,
        })
    }

    /// The command that starts it, as it is also shown.
    pub(crate) fn command(&self) -> Command {
        let mut command = shell::program(shell::lucius());
        command.args([self.verb, "--listen", &self.address]);
        command.arg("--registry").arg(&self.registry);
        command.arg("--data-dir").arg(&self.data);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LUCIUS_") {
                command.env_remove(&name);
            }
        }
        command.env(MODELS_VARIABLE, shell::target().join("models"));
        command
    }

    /// The same, as a person at the workspace's root would type it.
    pub(crate) fn typed(&self) -> String {
        let models = shell::short(&shell::target().join("models"));
        let models = match models.as_str() {
            MODELS_DEFAULT => String::new(),
            elsewhere => format!("{MODELS_VARIABLE}={elsewhere} "),
        };
        format!(
            "{models}{} {} --listen {} --registry {} --data-dir {}",
            shell::short(&shell::lucius()),
            self.verb,
            self.address,
            shell::short(&self.registry),
            shell::short(&self.data)
        )
    }

    /// Where its output is kept, over all its starts.
    pub(crate) fn log(&self) -> PathBuf {
        self.data.with_extension("log")
    }
}

/// A running host. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Host {
    child: Child,
}

impl Host {
    /// Starts the host and waits until it says that it is ready.
    pub(crate) fn start(setting: &Setting) -> Result<Self> {
        Self::run(setting.command(), &setting.log())
    }

    /// The same with any command, whose output goes to a file.
    pub(crate) fn run(mut command: Command, place: &Path) -> Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(place)?;
        command.stdout(Stdio::piped()).stderr(log.try_clone()?);
        let mut child = command
            .spawn()
            .with_context(|| format!("could not start {}", shell::lucius().display()))?;
        let output = child.stdout.take();
        let host = Self { child };
        let Some(output) = output else {
            bail!("the host's output is not connected")
        };
        wait_until_ready(output, log, place)?;
        Ok(host)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it as a power cut would: SIGKILL, with no chance to tidy up.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing left to do then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Copies the host's output to the log for as long as it runs, and returns once it has said `ready`.
fn wait_until_ready(output: ChildStdout, mut log: File, place: &Path) -> Result<()> {
    let (say_ready, ready) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if line.trim_start().starts_with("ready") {
                // Nobody waits any more after the first time.
                let _ = say_ready.send(());
            }
            if writeln!(log, "{line}").is_err() {
                return;
            }
        }
    });
    match ready.recv_timeout(READY_WITHIN) {
        Ok(()) => Ok(()),
        Err(RecvTimeoutError::Disconnected) => {
            bail!("the host ended before it was ready: {}", last_line(place))
        }
        Err(RecvTimeoutError::Timeout) => {
            bail!(
                "the host was not ready after {READY_WITHIN:?}; see {}",
                shell::short(place)
            )
        }
    }
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or("it said nothing")
        .to_owned()
}
