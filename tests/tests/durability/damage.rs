//! Files that something else has changed: refused in one line and left as they are, or not served where they are
//! wrong. A wrong answer and a silent repair are what must not happen.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lucius_tests::history::History;
use lucius_tests::host::Host;
use lucius_tests::wait;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::one_job::{STEPS, Visitor, command, registry, setup};

/// How many places of a file are tried.
const PLACES: usize = 24;

/// The files of a host that is down, to be put back.
struct Files(BTreeMap<PathBuf, Vec<u8>>);

impl Files {
    fn of(data: &Path) -> Self {
        let files = fs::read_dir(data).expect("the data is there").flatten();
        let files = files
            .map(|entry| entry.path())
            .filter(|path| path.is_file());
        Self(
            files
                .map(|path| (path.clone(), fs::read(path).expect("it can be read")))
                .collect(),
        )
    }

    fn put_back(&self, data: &Path) {
        for path in Self::of(data)
            .0
            .keys()
            .filter(|path| !self.0.contains_key(*path))
        {
            fs::remove_file(path).expect("nobody uses it");
        }
        for (path, bytes) in &self.0 {
            fs::write(path, bytes).expect("there is room");
        }
    }

    fn bytes(&self, data: &Path, name: &str) -> Vec<u8> {
        self.0
            .get(&data.join(name))
            .cloned()
            .unwrap_or_else(|| panic!("no {name} in {:?}", self.0.keys()))
    }
}

/// The last line that the host left, when it does not start.
async fn refusal(host: &mut Host) -> Option<String> {
    let log = host.try_start_again().await.err()?;
    Some(log.lines().last().unwrap_or_default().to_owned())
}

/// What the host says of these jobs: each as it was, or an error that names what is wrong.
async fn serves_only_what_is_true(host: &Host, jobs: &BTreeMap<String, Value>, place: &str) {
    let client = host.client();
    for (job, before) in jobs {
        let now = client.get(&format!("/v1/jobs/{job}")).await;
        let is_damage = now.status == 500 && now.body["code"] == "LEDGER_CORRUPT";
        let is_true = now.status == 200 && now.body == *before;
        assert!(is_true || is_damage, "{place}: {} {}", now.status, now.text);
    }
}

/// A host with jobs that are over, and what it says of them.
async fn used(host: &Host) -> BTreeMap<String, Value> {
    let history = History::default();
    let visitor = Visitor::of(host, &history);
    let mut jobs = BTreeMap::new();
    for number in 0..12 {
        let job = visitor
            .live(&format!("damage {number}"))
            .await
            .expect("the host is there");
        jobs.insert(job.clone(), host.client().job(&job).await);
    }
    jobs
}

#[tokio::test]
async fn f7_a_flipped_bit_in_a_database_file_is_refused_or_not_served() {
    let registry = registry();
    let mut host = setup(&registry).start().await;
    let jobs = used(&host).await;
    host.client().submit(&command("waits in the bus")).await;
    assert_eq!(host.terminate().await.code(), Some(0));
    let (data, mut refused) = (host.data(), 0);
    let files = Files::of(&data);
    for name in ["ledger.db", "bus.db"] {
        let whole = files.bytes(&data, name);
        for number in 0..PLACES {
            // From the header, which every page hangs on, to the last page.
            let at = number * (whole.len() - 1) / (PLACES - 1);
            files.put_back(&data);
            let mut bytes = whole.clone();
            bytes[at] ^= 0x04;
            fs::write(data.join(name), &bytes).expect("there is room");
            let place = format!("byte {at} of {name}");
            match refusal(&mut host).await {
                Some(line) => {
                    refused += 1;
                    assert!(line.contains(name), "{place}: {line}");
                    assert!(line.contains(": ") && line.len() < 500, "{place}: {line}");
                    let left = fs::read(data.join(name)).expect("it is there");
                    // The bus counts its starts in its file before it reads the messages.
                    if name == "ledger.db" {
                        assert!(left == bytes, "{place}: the file was changed");
                    }
                    let again = refusal(&mut host).await;
                    assert!(again.is_some(), "{place}: it was repaired in silence");
                }
                None => serves_only_what_is_true(&host, &jobs, &place).await,
            }
            host.kill();
        }
    }
    assert!(refused > 0, "no flipped bit was noticed at the start");
}

#[tokio::test]
async fn f6_f7_a_wal_that_lost_commits_is_refused_and_left_alone() {
    let registry = registry();
    let mut host = setup(&registry).start().await;
    let jobs = used(&host).await;
    host.kill();
    let data = host.data();
    let files = Files::of(&data);
    let whole = files.bytes(&data, "ledger.db-wal");
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x04;
        bytes
    };
    let damaged = [
        whole[..whole.len() / 2].to_vec(),
        whole[..40].to_vec(),
        Vec::new(),
        flipped(whole.len() / 3),
        flipped(100),
    ];
    for (number, bytes) in damaged.iter().enumerate() {
        files.put_back(&data);
        fs::write(data.join("ledger.db-wal"), bytes).expect("there is room");
        let line = refusal(&mut host).await;
        let line = line.unwrap_or_else(|| panic!("damage {number} is not noticed"));
        assert!(line.contains("-wal") && line.contains("backup"), "{line}");
        let left = fs::read(data.join("ledger.db-wal")).expect("it is there");
        assert!(left == *bytes, "damage {number}: the file was changed");
    }
    files.put_back(&data);
    host.start_again().await;
    serves_only_what_is_true(&host, &jobs, "what the kill left").await;
    for job in jobs.keys() {
        assert_eq!(host.client().job(job).await["state"], "SUCCEEDED");
    }
}

#[tokio::test]
async fn f41_a_ledger_of_a_newer_version_is_refused_and_left_alone() {
    let registry = registry();
    let mut host = setup(&registry).start().await;
    assert_eq!(host.terminate().await.code(), Some(0));
    let path = host.data().join("ledger.db");
    let mut bytes = fs::read(&path).expect("it is there");
    bytes[60..64].copy_from_slice(&99_u32.to_be_bytes()); // PRAGMA user_version
    fs::write(&path, &bytes).expect("there is room");
    let line = refusal(&mut host).await.expect("it must not open");
    assert!(
        line.contains("newer") && line.contains("start that version"),
        "{line}"
    );
    assert!(
        fs::read(&path).expect("it is there") == bytes,
        "the file was changed"
    );
}

/// A bus that lost its messages is no ledger that lost its jobs: the ACK timeout brings another attempt.
#[tokio::test]
async fn f6_a_bus_that_lost_its_messages_costs_an_attempt_and_no_job() {
    let (registry, history) = (registry(), History::default());
    let mut host = setup(&registry)
        .with("TIMING_ACK_TIMEOUT_MS", 2_000)
        .start()
        .await;
    let visitor = Visitor::of(&host, &history);
    let job = visitor.submit("lost").await.expect("the host is there");
    host.client().step_in(&job, STEPS[0], "AWAITING_ACK").await;
    host.kill();
    let wal = host.data().join("bus.db-wal");
    let whole = fs::metadata(&wal).expect("the message is in it").len();
    fs::File::options()
        .write(true)
        .open(&wal)
        .and_then(|file| file.set_len(whole / 2))
        .expect("it can be cut");
    host.start_again().await;
    let visitor = Visitor::of(&host, &history);
    visitor.live("lost").await.expect("the host is there");
    let ended = host.client().job_in(&job, "SUCCEEDED").await;
    let attempts = ended["attempts_total"].as_u64();
    assert!(attempts > Some(2), "the message was not lost: {ended}");
}

/// What the ledger stores of a job.
fn stored(data: &Path, job: &str) -> String {
    let ledger = Connection::open(data.join("ledger.db")).expect("nobody has it");
    let id = job.replace('-', "");
    let stored = ledger.query_row(
        "SELECT progress FROM jobs WHERE hex(id) = upper(?1)",
        [id],
        |row| row.get(0),
    );
    stored.expect("the job has a row")
}

/// Stores a job as a later version may, in which the step whose turn it is stands where this one knows no place.
fn store_as_a_later_version_does(data: &Path, job: &str) {
    let known = stored(data, job);
    let (text, _sum) = known.rsplit_once("\n#").expect("it has a sum");
    let mut progress: Value = serde_json::from_str(text).expect("it is JSON");
    progress["steps"][0]["phase"] = json!({ "phase": "in_a_place_of_a_later_version" });
    let ledger = Connection::open(data.join("ledger.db")).expect("nobody has it");
    let changed = ledger.execute(
        "UPDATE jobs SET progress = ?1 WHERE hex(id) = upper(?2)",
        [progress.to_string(), job.replace('-', "")],
    );
    assert_eq!(changed, Ok(1));
}

#[tokio::test]
async fn f41_a_row_of_a_later_version_is_left_alone_and_reported_and_stops_no_other_job() {
    let (registry, history) = (registry(), History::default());
    let mut host = setup(&registry).start().await;
    let visitor = Visitor::of(&host, &history);
    let mut later = Vec::new();
    // One that a worker is about to call back about, and one that is due at once after the start.
    for key in ["a later version's", "a later version's too"] {
        let job = visitor.submit(key).await.expect("the host is there");
        host.client().step_in(&job, STEPS[0], "AWAITING_ACK").await;
        later.push(job);
    }
    let open = visitor.submit("open").await.expect("the host is there");
    let worker = host.worker("plain-first");
    let delivery = worker.next("a later version's").await;
    assert_eq!(host.terminate().await.code(), Some(0));
    let data = host.data();
    for job in &later {
        store_as_a_later_version_does(&data, job);
    }
    let overdue = Connection::open(data.join("ledger.db")).expect("nobody has it");
    let overdue = overdue.execute(
        "UPDATE jobs SET due_at = 1 WHERE hex(id) = upper(?1)",
        [later[1].replace('-', "")],
    );
    assert_eq!(overdue, Ok(1));
    let before: Vec<String> = later.iter().map(|job| stored(&data, job)).collect();

    host.start_again().await;
    let (client, visitor) = (host.client(), Visitor::of(&host, &history));
    for job in &later {
        client
            .get(&format!("/v1/jobs/{job}"))
            .await
            .expect_problem(500, "LEDGER_CORRUPT");
        for verb in ["cancel", "redrive"] {
            client
                .verb(job, verb)
                .await
                .expect_problem(500, "LEDGER_CORRUPT");
        }
        let named = format!("the log to name {job}");
        wait::until(&named, async || host.output().contains(job).then_some(())).await;
    }
    worker
        .ack(&delivery)
        .await
        .expect_problem(500, "LEDGER_CORRUPT");
    let listed = client.get("/v1/jobs").await.expect(200).body;
    let listed: Vec<_> = listed["jobs"].as_array().cloned().unwrap_or_default();
    let listed: Vec<_> = listed.iter().map(|job| &job["jobId"]).collect();
    assert_eq!(listed, [&json!(open)], "one row hides no other");
    visitor.live("open").await.expect("the host is there");
    visitor.live("after").await.expect("the host is there");
    assert_eq!(host.terminate().await.code(), Some(0));
    let after: Vec<String> = later.iter().map(|job| stored(&data, job)).collect();
    assert_eq!(after, before, "they are left alone");
}
