//! What a commit costs: commits per second with 1, 16, 64 and 256 writers, each of which waits for its answer before
//! it brings the next change, and whole three-step jobs of ten commits.
//!
//! `cargo run --release -p lucius-sqlite --example commit_cost -- [SECONDS] [DIRECTORY]`

#![allow(clippy::print_stdout, reason = "a program for a person at a terminal")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lucius_domain::id::LeaseId;
use lucius_domain::transition::Transition;
use lucius_ports::conformance::ledger::play::{Draft, Move, START, accepted, job_id, lane};
use lucius_ports::ledger::Ledger;
use lucius_sqlite::{Settings, SqliteLedger};
use uuid::Uuid;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(3);
    let parent = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    println!(
        "writers   commits/s   jobs/s   commits a sync   p50 ms   p99 ms   file MB per 1,000 jobs"
    );
    for writers in [1, 16, 64, 256] {
        let directory = tempfile::tempdir_in(&parent).expect("the directory can be written");
        measure(directory.path(), writers, Duration::from_secs(seconds)).await;
    }
}

async fn measure(directory: &Path, writers: u64, duration: Duration) {
    let ledger = SqliteLedger::open(directory, Settings::default()).expect("an empty directory");
    let begin = Instant::now();
    let mut driving = tokio::task::JoinSet::new();
    for writer in 0..writers {
        driving.spawn(drive_jobs(Arc::clone(&ledger), writer, begin + duration));
    }
    let mut latencies: Vec<Duration> = driving.join_all().await.concat();
    let seconds = begin.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let percentile = |share: usize| latencies[latencies.len() * share / 100].as_secs_f64() * 1e3;
    let stats = ledger.stats();
    ledger.close().await;
    let bytes = std::fs::metadata(directory.join("ledger.db")).map_or(0, |file| file.len());
    let commits = latencies.len() as f64;
    println!(
        "{writers:7} {:11.0} {:8.0} {:16.1} {:8.2} {:8.2} {:10.1}",
        commits / seconds,
        commits / 10.0 / seconds,
        commits / stats.transactions as f64,
        percentile(50),
        percentile(99),
        bytes as f64 / 1e6 / (commits / 10.0) * 1e3,
    );
}

/// Whole jobs, one after the other; how long each commit took.
async fn drive_jobs(ledger: Arc<SqliteLedger>, writer: u64, end: Instant) -> Vec<Duration> {
    let draft = Draft {
        lane: lane(writer),
        ..Draft::default()
    };
    let mut latencies = Vec::new();
    for number in 0.. {
        if Instant::now() >= end {
            break;
        }
        let id = job_id(START.plus_ms(number), writer << 32 | number);
        let lease = LeaseId(Uuid::from_u128(u128::from(number)));
        let change = accepted(id, &draft);
        let mut job = Arc::clone(&change.job);
        let begin = Instant::now();
        ledger
            .create(change, draft.key(id))
            .await
            .expect("the ledger works");
        latencies.push(begin.elapsed());
        let (sent, ack, result) = (Move::Sent, Move::Ack, Move::SucceedAndDispatch);
        for step in [
            Move::Dispatch,
            sent,
            ack,
            result,
            sent,
            ack,
            result,
            sent,
            Move::Succeed,
        ] {
            let mut transition = Transition::of(&job, START.plus_ms(number));
            step.apply(&mut transition, lease)
                .expect("the moves are in order");
            let change = transition.finish().expect("a move is an event");
            job = Arc::clone(&change.job);
            let begin = Instant::now();
            ledger.commit(change).await.expect("the ledger works");
            latencies.push(begin.elapsed());
        }
    }
    latencies
}
