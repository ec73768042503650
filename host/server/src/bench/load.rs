//! The clients: what is submitted, and when.
//!
//! Closed loop: a fixed number of jobs is in flight, and each that ends makes room for the next. Open loop: commands
//! are due at a constant rate, whatever becomes of those before, and every time is counted from when a command was
//! due; a host that stalls therefore shows in all the commands that it kept waiting.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::jobs::{Jobs, over};
use super::times::Stage;
use super::wire::{Address, Connection, Request};

/// Connections that an open loop submits over.
const OPEN_CONNECTIONS: usize = 128;
/// What is not sent so long after the last command was due is given up: a host that answers more slowly than commands
/// are due would be asked long after the load is over.
const GRACE: Duration = Duration::from_secs(1);

/// What is submitted.
pub(super) struct Commands {
    pub(super) request_type: String,
    pub(super) tenants: Vec<String>,
    /// A payload of about this many bytes, the same for every step.
    pub(super) payload_bytes: usize,
}

/// When it is submitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pace {
    /// This many in flight.
    Closed { jobs: u64, in_flight: usize },
    /// This many a second.
    Open { rate: f64, duration: Duration },
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) accepted: u64,
    /// How often each other status was answered.
    pub(super) refused: BTreeMap<u16, u64>,
    /// Commands that were due and given up, since all connections waited for answers.
    pub(super) unsent: u64,
    pub(super) elapsed: Duration,
}

/// Submits commands; all clients share it, on one thread.
#[derive(Clone)]
pub(super) struct Load(Rc<Shared>);

struct Shared {
    address: Address,
    commands: Commands,
    jobs: Jobs,
    /// Keeps the keys of this run apart from those of another one on the same host.
    run: String,
    filler: String,
    next: Cell<usize>,
    refused: RefCell<BTreeMap<u16, u64>>,
}

#[derive(Deserialize)]
struct Accepted {
    #[serde(rename = "jobId")]
    job_id: Uuid,
}

impl Load {
    pub(super) fn new(address: &Address, commands: Commands, jobs: &Jobs, run: String) -> Self {
        let filler = "x".repeat(commands.payload_bytes);
        Self(Rc::new(Shared {
            address: address.clone(),
            commands,
            jobs: jobs.clone(),
            run,
            filler,
            next: Cell::new(0),
            refused: RefCell::default(),
        }))
    }

    /// Submits at this pace. With `to_the_end`, returns when all that was accepted is over.
    pub(super) async fn run(&self, pace: Pace, to_the_end: bool) -> anyhow::Result<Done> {
        let begun = Instant::now();
        let (accepted, unsent) = match pace {
            Pace::Closed { jobs, in_flight } => {
                (self.closed(jobs, in_flight, to_the_end).await?, 0)
            }
            Pace::Open { rate, duration } => self.open(rate, duration).await?,
        };
        if to_the_end {
            self.0.jobs.all_over().await?;
        }
        Ok(Done {
            accepted,
            unsent,
            refused: self.0.refused.take(),
            elapsed: begun.elapsed(),
        })
    }

    async fn closed(&self, jobs: u64, in_flight: usize, to_the_end: bool) -> anyhow::Result<u64> {
        let left = Rc::new(Cell::new(jobs));
        let clients = (0..in_flight).map(|_| {
            let (load, left) = (self.clone(), Rc::clone(&left));
            async move {
                let mut host = Connection::new(&load.0.address);
                let mut accepted = 0;
                while let Some(fewer) = left.get().checked_sub(1) {
                    left.set(fewer);
                    let job = load.submit(&mut host, Instant::now()).await?;
                    let job = job.context("the host refused a job of a closed loop")?;
                    accepted += 1;
                    if to_the_end {
                        over(job).await?;
                    }
                }
                Ok(accepted)
            }
        });
        sum(clients).await
    }

    /// How many were accepted, and how many were never sent.
    async fn open(&self, rate: f64, duration: Duration) -> anyhow::Result<(u64, u64)> {
        let begin = Instant::now();
        let all = (rate * duration.as_secs_f64()) as u64;
        let next = Rc::new(Cell::new(0_u64));
        let sent = Rc::new(Cell::new(0_u64));
        let clients = (0..OPEN_CONNECTIONS).map(|_| {
            let (load, next, sent) = (self.clone(), Rc::clone(&next), Rc::clone(&sent));
            async move {
                let mut host = Connection::new(&load.0.address);
                let mut accepted = 0;
                loop {
                    let number = next.replace(next.get() + 1);
                    if number >= all || begin.elapsed() > duration + GRACE {
                        return Ok(accepted);
                    }
                    let due = begin + Duration::from_secs_f64(number as f64 / rate);
                    tokio::time::sleep_until(due.into()).await;
                    sent.set(sent.get() + 1);
                    accepted += u64::from(load.submit(&mut host, due).await?.is_some());
                }
            }
        });
        Ok((sum(clients).await?, all - sent.get()))
    }

    /// Submits one command that was due at `due`; nothing when it is refused.
    async fn submit(
        &self,
        host: &mut Connection,
        due: Instant,
    ) -> anyhow::Result<Option<tokio::sync::oneshot::Receiver<()>>> {
        let shared = &self.0;
        let number = shared.next.replace(shared.next.get() + 1);
        let body = self.command(number).to_string();
        let answer = host
            .call(Request {
                method: "POST",
                path: "/v1/commands",
                bearer: None,
                body: body.as_bytes(),
            })
            .await?;
        if answer.status == 202 {
            let accepted: Accepted = serde_json::from_slice(&answer.body)?;
            shared.jobs.record(Stage::Accept, due.elapsed());
            return Ok(Some(shared.jobs.accepted(accepted.job_id, due)));
        }
        ensure!(
            matches!(answer.status, 429 | 503),
            "a command was answered {}: {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        shared.jobs.record(Stage::Refuse, due.elapsed());
        let mut refused = shared.refused.borrow_mut();
        *refused.entry(answer.status).or_default() += 1;
        Ok(None)
    }

    fn command(&self, number: usize) -> Value {
        let Commands {
            request_type,
            tenants,
            payload_bytes,
        } = &self.0.commands;
        let payload = match payload_bytes {
            0 => json!({}),
            _ => json!({ "filler": self.0.filler }),
        };
        json!({
            "tenant_id": tenants[number % tenants.len()],
            "request_type": request_type,
            "input_ref": "file:///bench/in.pdf",
            "output_ref": "file:///bench/out",
            "payload": payload,
            "idempotency_key": format!("{}-{number}", self.0.run),
            "schema_version": "v1",
        })
    }
}

/// Runs clients on this thread until all are done.
async fn sum(
    clients: impl Iterator<Item = impl Future<Output = anyhow::Result<u64>> + 'static>,
) -> anyhow::Result<u64> {
    let mut running = JoinSet::new();
    clients.for_each(|client| drop(running.spawn_local(client)));
    let mut all = 0;
    while let Some(ended) = running.join_next().await {
        all += ended??;
    }
    Ok(all)
}
