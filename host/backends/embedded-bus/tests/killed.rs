//! A host killed in the middle of its sends: whatever it answered with 201 is there when it comes back.
//!
//! The child is this program again. It serves the bus over HTTP, as the host does; the parent sends from many
//! connections, kills it with SIGKILL while they are at it, and opens the file itself.

#![allow(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is the point"
)]

use std::collections::HashSet;
use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lucius_domain::id::ServiceName;
use lucius_domain::routing::Lane;
use lucius_embedded_bus::{EmbeddedBus, Error, Settings};
use lucius_ports::bus::Subscription as _;
use reqwest::{Client, StatusCode};

use crate::support::bus::{StoppedClock, open};
use crate::support::server::Server;

mod support {
    pub(crate) mod bus;
    pub(crate) mod server;
}

const TOPIC: &str = "global-bus-p0";
const SERVICE: &str = "platform-ocr";
/// Set for the child: where its data is.
const DIRECTORY: &str = "LUCIUS_TEST_BUS_DIRECTORY";
const CONNECTIONS: usize = 16;
const ROUNDS: usize = 3;
const ANSWERS_PER_ROUND: usize = 400;

#[tokio::main]
async fn main() {
    match env::var_os(DIRECTORY) {
        Some(directory) => serve_until_killed(Path::new(&directory)).await,
        None => a_killed_host_loses_nothing_it_answered().await,
    }
}

async fn serve_until_killed(directory: &Path) {
    let bus = open(directory, Settings::default());
    let server = Server::start(&bus).await;
    announce(&server.url);
    std::future::pending::<()>().await;
}

#[expect(clippy::print_stdout, reason = "the parent reads the address there")]
fn announce(url: &str) {
    println!("{url}");
}

async fn a_killed_host_loses_nothing_it_answered() {
    let directory = tempfile::tempdir().unwrap();
    let mut answered = HashSet::new();
    let mut locked = None;
    for round in 0..ROUNDS {
        let host = Host::start(directory.path());
        let client = Client::new();
        let second = EmbeddedBus::open(
            &directory.path().join("bus.db"),
            Settings::default(),
            Arc::new(StoppedClock),
        );
        assert!(matches!(second, Err(Error::InUse { .. })), "{second:?}");
        let first = peek_lock(&client, &host.url).await;
        assert_eq!(
            first.is_some(),
            round > 0,
            "the oldest message is there at once"
        );
        if locked.is_some() {
            assert_eq!(first, locked, "also when a dead process had it locked");
        }
        locked = first;
        answered.extend(send_and_kill(host, round).await);
    }
    let found = drain(directory.path()).await;
    let lost: Vec<_> = answered.difference(&found).collect();
    assert!(lost.is_empty(), "answered and lost: {lost:?}");
    assert!(answered.len() >= ROUNDS * ANSWERS_PER_ROUND);
}

/// The child; it dies with its handle.
struct Host {
    child: Child,
    url: String,
}

impl Host {
    fn start(directory: &Path) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .env(DIRECTORY, directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut host = Self {
            child,
            url: String::new(),
        };
        output.read_line(&mut host.url).unwrap();
        assert!(
            host.url.starts_with("http://"),
            "it says where it serves: {:?}",
            host.url
        );
        host.url.truncate(host.url.trim_end().len());
        host
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

async fn peek_lock(client: &Client, url: &str) -> Option<String> {
    let url = format!("{url}/{TOPIC}/subscriptions/{SERVICE}/messages/head?timeout=0");
    let answer = client.post(url).send().await.unwrap();
    (answer.status() == StatusCode::CREATED).then_some(())?;
    Some(answer.text().await.unwrap())
}

/// Sends from many connections, kills the child once enough are answered, and returns the bodies answered with 201.
async fn send_and_kill(host: Host, round: usize) -> HashSet<String> {
    let count = Arc::new(AtomicUsize::new(0));
    let (enough, killed) = tokio::sync::oneshot::channel();
    let enough = Arc::new(std::sync::Mutex::new(Some(enough)));
    let senders: Vec<_> = (0..CONNECTIONS)
        .map(|connection| {
            let (count, enough) = (Arc::clone(&count), Arc::clone(&enough));
            let url = format!("{}/{TOPIC}/messages", host.url);
            tokio::spawn(async move {
                let client = Client::new();
                let mut answered = Vec::new();
                for n in 0.. {
                    let body = format!("{round}-{connection}-{n}");
                    let send = client.post(&url).header("service", SERVICE);
                    match send.body(body.clone()).send().await {
                        Ok(answer) if answer.status() == StatusCode::CREATED => answered.push(body),
                        Ok(answer) => panic!("refused: {}", answer.status()),
                        // The child is dead: nobody knows about this one.
                        Err(_) => break,
                    }
                    if count.fetch_add(1, Ordering::Relaxed) + 1 == ANSWERS_PER_ROUND
                        && let Some(enough) = enough.lock().unwrap().take()
                    {
                        enough.send(()).unwrap();
                    }
                }
                answered
            })
        })
        .collect();
    killed.await.unwrap();
    drop(host);
    let mut answered = HashSet::new();
    for sender in senders {
        answered.extend(sender.await.unwrap());
    }
    answered
}

async fn drain(directory: &Path) -> HashSet<String> {
    let bus = open(directory, Settings::default());
    let subscription = bus
        .subscription(Lane::new(0).unwrap(), &ServiceName::new(SERVICE))
        .unwrap();
    let mut found = HashSet::new();
    while let Some(received) = subscription.peek_lock(Duration::ZERO).await.unwrap() {
        found.insert(received.body);
    }
    found
}
