//! A running program: started, killed, started again on the same data, and never left behind.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Arc, PoisonError};

use tempfile::TempDir;

use crate::azure::{Cloud, Kind};
use crate::client::Client;
use crate::disk::Disk;
use crate::process::Process;
use crate::program::Run;
use crate::worker::Worker;
use crate::{places, wait};

/// What a host is started with; the same again after it was killed.
#[derive(Clone, Debug)]
pub struct Setup {
    verb: &'static str,
    registry: PathBuf,
    settings: Vec<(String, String)>,
    disk: Option<Arc<Disk>>,
    place: Place,
}

/// Where the ledger and the bus are.
#[derive(Clone, Debug)]
enum Place {
    /// Where the surroundings say.
    AsAsked,
    /// In the data directory, since the test is about that.
    Here,
    /// Where other hosts have theirs too.
    In(Cloud),
}

impl Setup {
    /// The host alone.
    pub fn serve() -> Self {
        Self {
            verb: "serve",
            registry: places::registry(),
            settings: Vec::new(),
            disk: None,
            place: Place::AsAsked,
        }
    }

    /// The host and the platform's workers.
    pub fn dev() -> Self {
        Self {
            verb: "dev",
            ..Self::serve()
        }
    }

    /// The host alone, with waits of milliseconds where the defaults are minutes, and an ACK time-out that no
    /// worker of a test misses unless it means to.
    pub fn quick() -> Self {
        Self::serve()
            .with("TIMING_RETRY_BACKOFF_MS", "[20, 20, 20]")
            .with("TIMING_DISPATCH_BACKOFF_MS", "[20, 20, 20]")
            .with("TIMING_SWEEP_INTERVAL_MS", 10)
    }

    /// Sets `LUCIUS_<name>`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.settings
            .push((format!("LUCIUS_{name}"), value.to_string()));
        self
    }

    /// Waits so many milliseconds for an ACK; more where what is done in time here crosses to Azurite and back.
    #[must_use]
    pub fn ack_timeout_ms(self, here: u32) -> Self {
        let beyond = match Kind::asked() {
            None => 1,
            Some(_) => 20,
        };
        self.with("TIMING_ACK_TIMEOUT_MS", here * beyond)
    }

    /// Sets a variable that is not one of the program's own settings.
    #[must_use]
    pub fn with_variables(mut self, variables: Vec<(String, String)>) -> Self {
        self.settings.extend(variables);
        self
    }

    /// Keeps its data on a disk that fails when the test says so.
    #[must_use]
    pub fn disk(mut self, disk: &Arc<Disk>) -> Self {
        self.disk = Some(Arc::clone(disk));
        self.here()
    }

    /// Keeps ledger and bus in the data directory whatever the surroundings ask for: the test is about those files.
    #[must_use]
    pub fn here(mut self) -> Self {
        self.place = Place::Here;
        self
    }

    /// Shares ledger and bus with other hosts.
    #[must_use]
    pub fn sharing(mut self, cloud: &Cloud) -> Self {
        self.place = Place::In(cloud.clone());
        self
    }

    /// Takes another registry.
    #[must_use]
    pub fn registry(mut self, folder: &Path) -> Self {
        self.registry = folder.to_owned();
        self
    }

    /// Starts it on fresh data.
    ///
    /// # Panics
    /// It does not become ready.
    pub async fn start(mut self) -> Host {
        let cloud = match (&self.place, Kind::asked()) {
            (Place::Here, _) | (Place::AsAsked, None) => None,
            (Place::In(cloud), _) => Some(cloud.clone()),
            // A namespace is a host in its turn.
            (Place::AsAsked, Some(kind)) => Some(Box::pin(Cloud::new(kind, &self.settings)).await),
        };
        let namespace = cloud.and_then(|cloud| {
            self.settings.extend(cloud.settings);
            cloud.namespace
        });
        let folder = TempDir::new().unwrap_or_else(|error| panic!("no temporary folder: {error}"));
        let process = start(&self, folder.path(), "127.0.0.1:0").await;
        let process = process.unwrap_or_else(|why| panic!("the host does not start: {why}"));
        Host {
            process,
            setup: self,
            folder,
            namespace,
        }
    }

    fn command(&self, folder: &Path, listen: &str) -> Command {
        let mut command = Command::new(places::program());
        command.args([
            self.verb,
            "--listen",
            listen,
            "--data-dir",
            "data",
            "--registry",
        ]);
        command.arg(&self.registry).current_dir(folder);
        let of_surroundings = |name: &OsString| name.to_string_lossy().starts_with("LUCIUS_");
        for (name, _) in std::env::vars_os().filter(|(name, _)| of_surroundings(name)) {
            command.env_remove(name);
        }
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        if let Some(disk) = &self.disk {
            command.envs(disk.surroundings(&data(folder)));
        }
        command
    }
}

/// A running host. Dropping it kills it and removes its data.
#[derive(Debug)]
pub struct Host {
    // Before the folder, so that nothing writes there any more when that goes.
    process: Process,
    setup: Setup,
    folder: TempDir,
    namespace: Option<Arc<Host>>,
}

impl Host {
    /// The base URL.
    pub fn url(&self) -> &str {
        &self.process.url
    }

    /// The base URL of the host that serves its bus: itself, or the process that stands in for a namespace.
    pub fn namespace(&self) -> &str {
        self.namespace
            .as_ref()
            .map_or(self.url(), |host| host.url())
    }

    /// The URL of its bus.
    pub fn bus_url(&self) -> String {
        format!("{}/bus", self.namespace())
    }

    /// The folder that it runs in; its data is below.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of its data.
    pub fn data(&self) -> PathBuf {
        data(self.folder.path())
    }

    /// `lucius ARGS` against it, in its folder.
    pub fn lucius(&self, args: &[&str]) -> Run {
        Run::new(self.folder(), args).with("LUCIUS_URL", self.url())
    }

    /// A client of its own connections.
    pub fn client(&self) -> Client {
        Client::new(self.url())
    }

    /// A worker of a service.
    pub fn worker(&self, service: &str) -> Worker {
        Worker::new(&self.client(), service).on(self.namespace())
    }

    /// All it has printed and logged, over all its starts.
    pub fn output(&self) -> String {
        let log = std::fs::read_to_string(log(self.folder.path())).unwrap_or_default();
        let said = self
            .process
            .said
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        format!("{said}{log}")
    }

    /// SIGKILL, and nothing is tidied up.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same data and the same address, since directives that are out name that address.
    ///
    /// # Panics
    /// It does not become ready.
    pub async fn start_again(&mut self) {
        self.process.kill();
        let listen = self.url().trim_start_matches("http://").to_owned();
        let (setup, folder) = (&self.setup, self.folder.path());
        // Somebody's outgoing connection may sit on the port for a moment.
        let again = async || start(setup, folder, &listen).await.ok();
        let process = wait::until("the host on its old address", again).await;
        self.process = process;
    }

    /// Starts it again as [`Host::start_again`]; why not, when it does not become ready.
    ///
    /// # Errors
    /// What it said on its way out.
    pub async fn try_start_again(&mut self) -> Result<(), String> {
        self.process.kill();
        let listen = self.url().trim_start_matches("http://").to_owned();
        self.process = start(&self.setup, self.folder.path(), &listen).await?;
        Ok(())
    }

    /// Waits for its end, which something else brings about.
    pub async fn ended(&mut self) -> ExitStatus {
        self.process.ended().await
    }

    /// True while it has not ended.
    pub fn is_alive(&mut self) -> bool {
        self.process
            .child
            .try_wait()
            .is_ok_and(|ended| ended.is_none())
    }

    /// How many descriptors it has open.
    ///
    /// # Panics
    /// It has ended.
    pub fn descriptors(&self) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.process.child.id()));
        open.unwrap_or_else(|error| panic!("the host has ended: {error}"))
            .count()
    }

    /// Lets it have no more than so many descriptors.
    ///
    /// # Panics
    /// The system does not let this be set.
    pub fn limit_descriptors(&self, most: usize) {
        let pid = self.process.child.id().to_string();
        let limit = format!("--nofile={most}:{most}");
        let set = Command::new("prlimit")
            .args(["--pid", &pid, &limit])
            .status();
        assert!(set.is_ok_and(|set| set.success()), "prlimit {limit}");
    }

    /// The memory that it holds now, in KiB.
    ///
    /// # Panics
    /// It has ended.
    pub fn memory_kib(&self) -> u64 {
        let status = format!("/proc/{}/status", self.process.child.id());
        let status = std::fs::read_to_string(status).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        kib.unwrap_or_else(|| panic!("the host has ended"))
    }

    /// SIGTERM, without waiting for what it does.
    pub fn ask_to_end(&self) {
        self.process.signal("-TERM");
    }

    /// SIGSTOP: it does nothing, and does not know that time goes by.
    pub fn freeze(&self) {
        self.process.signal("-STOP");
    }

    /// SIGCONT: it goes on where it was.
    pub fn wake(&self) {
        self.process.signal("-CONT");
    }

    /// SIGHUP: read registry and limits again.
    pub fn hang_up(&self) {
        self.process.signal("-HUP");
    }

    /// SIGKILL, then a start on the same data.
    pub async fn crash(&mut self) {
        self.kill();
        self.start_again().await;
    }

    /// SIGTERM, then its end.
    ///
    /// # Panics
    /// It does not end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.process.signal("-TERM");
        self.process.ended().await
    }
}

/// A program that runs beside a host, such as a worker. Dropping it kills it.
#[derive(Debug)]
pub struct Beside {
    process: Process,
}

impl Beside {
    /// `lucius worker` of a service, which runs a Python program for each directive and shares the host's folder.
    ///
    /// # Panics
    /// It does not become ready.
    pub async fn worker(host: &Host, service: &str, program: &Path) -> Self {
        let (bus, program) = (host.bus_url(), program.display().to_string());
        let args = [
            "worker",
            "--service",
            service,
            "--bus",
            &bus,
            "--data-dir",
            "data",
            "--",
            "python3",
            &program,
        ];
        Self::start(host.folder(), &args).await
    }

    /// Starts `lucius ARGS` in a folder and waits until it says that it is ready.
    ///
    /// # Panics
    /// It does not become ready.
    pub async fn start(folder: &Path, args: &[&str]) -> Self {
        Self::start_with(folder, args, &[]).await
    }

    /// The same with variables.
    ///
    /// # Panics
    /// It does not become ready.
    pub async fn start_with(folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(places::program());
        command.args(args).current_dir(folder);
        command.envs(variables.iter().copied());
        let process = Process::run(command, &folder.join("beside.log")).await;
        Self {
            process: process.unwrap_or_else(|why| panic!("it does not start: {why}")),
        }
    }

    /// SIGTERM, then its end.
    ///
    /// # Panics
    /// It does not end.
    pub async fn terminate(mut self) -> ExitStatus {
        self.process.signal("-TERM");
        self.process.ended().await
    }
}

async fn start(setup: &Setup, folder: &Path, listen: &str) -> Result<Process, String> {
    Process::run(setup.command(folder, listen), &log(folder)).await
}

fn log(folder: &Path) -> PathBuf {
    folder.join("host.log")
}

fn data(folder: &Path) -> PathBuf {
    let folder = folder.canonicalize();
    folder
        .unwrap_or_else(|error| panic!("the host's folder is gone: {error}"))
        .join("data")
}
