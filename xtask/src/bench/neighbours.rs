//! What a crowd of bad clients costs everybody else: connections that say nothing, clients that send one byte a second,
//! and a tenant that floods. The same load of other tenants is measured without the crowd and with it, on one host.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use ureq::Agent;

use super::cases;
use super::document;
use super::goals::short;
use crate::demo::host::Host;
use crate::shell;

const IDLE: usize = 10_000;
const SLOW: usize = 100;
/// Jobs that the flooding tenant may have in flight.
const TENANT_LIMIT: u32 = 100;
/// Commands a second that it submits, ten times its limit; nobody works on its jobs.
const FLOOD_A_SECOND: u32 = 1_000;
const FLOOD_CLIENTS: u32 = 16;
/// In a lane that none of the bench's tenants uses, so that its directives wait.
const FLOODER: &str = "flood";
/// Descriptors for both ends of the crowd's connections, each in its own process.
const DESCRIPTORS: usize = 16_384;
/// The others: jobs a second, and for how long.
const RATE: &str = "20";
const SECONDS: &str = "30";
const STAGES: [&str; 5] = ["accept", "dispatch", "ack", "result", "complete"];

/// Measures; what came out by name.
pub(super) fn run() -> Result<Value> {
    limit_descriptors()?;
    let folder = tempfile::tempdir()?;
    let free = TcpListener::bind("127.0.0.1:0").context("no free port on 127.0.0.1")?;
    let address = free.local_addr()?.to_string();
    drop(free);
    let host = Host::run(command(&address, folder.path()), &folder.path().join("log"))?;

    let alone = others(&address)?;
    let crowd = Crowd::gather(&address)?;
    let with_crowd = others(&address)?;
    let descriptors = fs::read_dir(format!("/proc/{}/fd", host.pid()))?.count();
    let crowd = crowd.disperse()?;
    let callbacks = callbacks(&address)?;
    Ok(json!({
        "alone": alone,
        "with_crowd": with_crowd,
        "crowd": crowd,
        "descriptors_of_the_host": descriptors,
        "callbacks": callbacks,
    }))
}

/// Puts what came out into the document.
pub(super) fn write(results: &Value) -> Result<()> {
    let part = table(results);
    println!("\n{part}");
    document::put(&[("neighbours", part)])
}

fn table(results: &Value) -> String {
    let mut lines = vec![
        "| stage | p99 alone | p99 with the crowd | ratio | p50 ratio |".to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    for stage in STAGES {
        let ms = |run: &str, at: &str| {
            results[run]["times_ms"][stage][at]
                .as_f64()
                .unwrap_or(f64::NAN)
        };
        let ratio = |at| short(ms("with_crowd", at) / ms("alone", at));
        let [alone, crowd] = ["alone", "with_crowd"].map(|run| short(ms(run, "p99")));
        lines.push(format!(
            "| {stage} | {alone} ms | {crowd} ms | {} | {} |",
            ratio("p99"),
            ratio("p50")
        ));
    }
    let (crowd, callbacks) = (&results["crowd"], &results["callbacks"]);
    lines.push(format!(
        "\nThe others: {} of {} jobs completed with the crowd, {} without. Callbacks: {} answered 200, {} anything else. The \
         flood: {} commands answered 202, {} 429, {} anything else. {} descriptors were open in the host; {} connections \
         were opened anew.",
        results["with_crowd"]["jobs"],
        results["with_crowd"]["loop"]["accepted"],
        results["alone"]["jobs"],
        callbacks["answered_200"],
        callbacks["answered_otherwise"],
        crowd["accepted"],
        crowd["refused"],
        crowd["otherwise"],
        results["descriptors_of_the_host"],
        crowd["opened_anew"],
    ));
    lines.join("\n")
}

/// Lets this process, and what it starts, have as many descriptors as the crowd takes.
fn limit_descriptors() -> Result<()> {
    let pid = std::process::id().to_string();
    let limit = format!("--nofile={DESCRIPTORS}:");
    shell::run(shell::program("prlimit").args(["--pid", &pid, &limit]))
}

fn command(address: &str, folder: &Path) -> Command {
    let mut command = shell::program(shell::lucius());
    command.args(["serve", "--listen", address, "--registry", "registry"]);
    command.arg("--data-dir").arg(folder.join("data"));
    command.env("LUCIUS_LIMITS_TENANT_INFLIGHT", TENANT_LIMIT.to_string());
    command
}

/// The load of the other tenants, with workers that do nothing.
fn others(address: &str) -> Result<Value> {
    let url = format!("http://{address}");
    cases::lucius(&[
        "--url",
        &url,
        "--rate",
        RATE,
        "--seconds",
        SECONDS,
        "--warm-up",
        "100",
        "--in-flight",
        "8",
        "--jobs",
        "100",
    ])
}

/// How callbacks were answered, as the host counts it.
fn callbacks(address: &str) -> Result<Value> {
    let metrics = Agent::new_with_defaults()
        .get(format!("http://{address}/metrics"))
        .call()?
        .body_mut()
        .read_to_string()?;
    let (mut well, mut otherwise) = (0_u64, 0_u64);
    let counted = metrics.lines().filter(|line| {
        line.starts_with("lucius_http_requests_total{") && line.contains("/v1/callbacks/")
    });
    for line in counted {
        let count: u64 = line.rsplit(' ').next().unwrap_or_default().parse()?;
        match line.contains("status=\"200\"") {
            true => well += count,
            false => otherwise += count,
        }
    }
    if well == 0 {
        bail!("the host counted no callbacks");
    }
    Ok(json!({ "answered_200": well, "answered_otherwise": otherwise }))
}

/// The bad clients. They stop when they are dispersed.
struct Crowd {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<()>>>,
}

struct Shared {
    address: String,
    over: AtomicBool,
    opened_anew: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    otherwise: AtomicU64,
}

impl Crowd {
    /// Returns when all connections are open and the flood has begun.
    fn gather(address: &str) -> Result<Self> {
        let shared = Arc::new(Shared {
            address: address.to_owned(),
            over: AtomicBool::new(false),
            opened_anew: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            otherwise: AtomicU64::new(0),
        });
        let idle: Vec<TcpStream> = (0..IDLE).map(|_| shared.idle()).collect::<Result<_>>()?;
        let slow: Vec<TcpStream> = (0..SLOW).map(|_| shared.slow()).collect::<Result<_>>()?;
        let of = |shared: &Arc<Shared>| Arc::clone(shared);
        let (keeper, dawdler) = (of(&shared), of(&shared));
        let mut threads = vec![
            thread::spawn(move || keeper.keep_idle(idle)),
            thread::spawn(move || dawdler.keep_slow(slow)),
        ];
        for client in 0..FLOOD_CLIENTS {
            let flooder = of(&shared);
            threads.push(thread::spawn(move || flooder.flood(client)));
        }
        Ok(Self { shared, threads })
    }

    fn disperse(self) -> Result<Value> {
        self.shared.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            match thread.join() {
                Ok(ended) => ended?,
                Err(_) => bail!("a thread of the crowd broke down"),
            }
        }
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Ok(json!({
            "idle": IDLE,
            "slow": SLOW,
            "opened_anew": read(&self.shared.opened_anew),
            "accepted": read(&self.shared.accepted),
            "refused": read(&self.shared.refused),
            "otherwise": read(&self.shared.otherwise),
        }))
    }
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn idle(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(&self.address).context("the host takes no connection")?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    }

    /// A command whose body has begun and comes a byte a second.
    fn slow(&self) -> Result<TcpStream> {
        let mut stream =
            TcpStream::connect(&self.address).context("the host takes no connection")?;
        let head = format!(
            "POST /v1/commands HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n",
            self.address
        );
        stream.write_all(head.as_bytes())?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    }

    /// Opens a connection anew whenever the host has closed it.
    fn keep_idle(&self, mut idle: Vec<TcpStream>) -> Result<()> {
        while self.goes_on() {
            for stream in &mut idle {
                if is_closed(stream) {
                    *stream = self.idle()?;
                    self.opened_anew.fetch_add(1, Ordering::Relaxed);
                }
            }
            thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn keep_slow(&self, mut slow: Vec<TcpStream>) -> Result<()> {
        while self.goes_on() {
            for stream in &mut slow {
                if is_closed(stream) || stream.write_all(b" ").is_err() {
                    *stream = self.slow()?;
                    self.opened_anew.fetch_add(1, Ordering::Relaxed);
                }
            }
            thread::sleep(Duration::from_secs(1));
        }
        Ok(())
    }

    /// Submits at a constant rate; what is late is sent at once.
    fn flood(&self, client: u32) -> Result<()> {
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let url = format!("http://{}/v1/commands", self.address);
        let begun = Instant::now();
        let mut number = 0;
        while self.goes_on() {
            let due = Duration::from_secs(1) * FLOOD_CLIENTS * number / FLOOD_A_SECOND;
            thread::sleep(due.saturating_sub(begun.elapsed()));
            let command = json!({
                "tenant_id": FLOODER,
                "request_type": "OCR",
                "input_ref": "file:///bench/in.pdf",
                "output_ref": "file:///bench/out",
                "payload": {},
                "idempotency_key": format!("{client}-{number}"),
                "schema_version": "v1",
            });
            let mut answer = agent.post(&url).send_json(&command)?;
            answer.body_mut().read_to_vec()?;
            let count = match answer.status().as_u16() {
                202 => &self.accepted,
                429 => &self.refused,
                _ => &self.otherwise,
            };
            count.fetch_add(1, Ordering::Relaxed);
            number += 1;
        }
        Ok(())
    }
}

fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 512]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_the_same_stage() {
        let times =
            |p99: f64| json!({ "times_ms": { "accept": { "p50": 1.0, "p99": p99 } }, "jobs": 600 });
        let table = table(&json!({ "alone": times(2.0), "with_crowd": times(3.0) }));
        assert!(
            table.contains("| accept | 2.00 ms | 3.00 ms | 1.50 | 1.00 |"),
            "{table}"
        );
    }
}
