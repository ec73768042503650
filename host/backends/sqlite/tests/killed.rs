//! kill -9 in the middle of commits loses nothing that was answered.
//!
//! The test starts its own program again as the victim, which reports each answer it gets; the test kills it, opens
//! what it left and looks for every one. This shows that no answer comes before its COMMIT. It cannot show that the
//! COMMIT was synced, since the kernel keeps what a process wrote; that rests on the settings, read back at start.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use lucius_domain::id::{JobId, LeaseId, Version};
use lucius_domain::transition::Transition;
use lucius_ports::conformance::ledger::play::{Draft, Move, Play, START, accepted, job_id, lane};
use lucius_ports::ledger::{Committed, Created, Ledger};
use lucius_sqlite::{Settings, SqliteLedger};
use uuid::Uuid;

/// Set in the victim: the data directory, and the round.
const VICTIM: &str = "LUCIUS_TEST_VICTIM";
const NAME: &str = "nothing_that_was_answered_is_lost_by_kill_9";
const WRITERS: u64 = 24;

#[tokio::test]
async fn nothing_that_was_answered_is_lost_by_kill_9() {
    if let Ok(order) = std::env::var(VICTIM) {
        let (round, directory) = order.split_once(':').expect("the test says both");
        let round = round.parse().expect("a number");
        write_until_killed(Path::new(directory), round).await;
        return;
    }
    let directory = tempfile::tempdir().expect("there is room for a temporary directory");
    let mut answered = Vec::new();
    for round in 0..4_u64 {
        answered.extend(kill_after(directory.path(), round, 150 + 400 * round));
        let ledger = SqliteLedger::open(directory.path(), Settings::default());
        let play = Play::on(ledger.expect("what a killed process leaves can be opened"));
        for (id, version) in &answered {
            let job = play.check(*id).await;
            assert!(
                job.progress.version >= *version,
                "{id} was answered as {version:?}"
            );
        }
    }
    assert!(answered.len() > 600, "{} answers in all", answered.len());
}

/// Runs a victim, kills it after so many answers, and returns those and what it said while it died.
fn kill_after(directory: &Path, round: u64, answers: u64) -> Vec<(JobId, Version)> {
    let program = std::env::current_exe().expect("a program knows itself");
    let mut victim = Command::new(program)
        .args(["--exact", NAME, "--nocapture"])
        .env(VICTIM, format!("{round}:{}", directory.display()))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test can be started again");
    let output = BufReader::new(victim.stdout.take().expect("it is piped"));
    let mut answered = Vec::new();
    for line in output.lines().map_while(Result::ok) {
        let mut words = line
            .split(' ')
            .skip_while(|word| *word != "answered")
            .skip(1);
        let (Some(id), Some(version), Some(".")) = (words.next(), words.next(), words.next())
        else {
            continue; // what the test program says by itself, or a line cut short by the kill
        };
        let id = JobId::parse(id).expect("the victim prints ids");
        answered.push((
            id,
            Version(version.parse().expect("the victim prints versions")),
        ));
        if u64::try_from(answered.len()).ok() == Some(answers) {
            victim.kill().expect("the victim is alive"); // SIGKILL
        }
    }
    let status = victim.wait().expect("it has ended");
    assert!(!status.success(), "the victim ended by itself");
    answered
}

/// Drives jobs from many tasks and reports each answer.
async fn write_until_killed(directory: &Path, round: u64) {
    let ledger = SqliteLedger::open(directory, Settings::default()).expect("the data is free");
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(drive_jobs(Arc::clone(&ledger), round, writer));
    }
    writers.join_all().await;
}

async fn drive_jobs(ledger: Arc<SqliteLedger>, round: u64, writer: u64) {
    let draft = Draft {
        lane: lane(writer),
        ..Draft::default()
    };
    for number in 0.. {
        let id = job_id(START.plus_ms(round), writer * 1_000_000 + number);
        let change = accepted(id, &draft);
        let mut job = Arc::clone(&change.job);
        let created = ledger
            .create(change, draft.key(id))
            .await
            .expect("the ledger works");
        assert_eq!(created, Created::New);
        report(&job);
        for step in [
            Move::Dispatch,
            Move::Sent,
            Move::Ack,
            Move::SucceedAndDispatch,
        ] {
            let mut transition = Transition::of(&job, START);
            let lease = LeaseId(Uuid::from_u128(u128::from(number)));
            step.apply(&mut transition, lease)
                .expect("the moves are in order");
            let change = transition.finish().expect("a move is an event");
            job = Arc::clone(&change.job);
            let committed = ledger.commit(change).await.expect("the ledger works");
            assert_eq!(committed, Committed::Done);
            report(&job);
        }
    }
}

fn report(job: &lucius_domain::job::Job) {
    let line = format!("answered {} {} .\n", job.id, job.progress.version.0);
    std::io::stdout()
        .lock()
        .write_all(line.as_bytes())
        .expect("the test listens");
}
