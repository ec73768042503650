//! Files that something else has changed: refused in one line and left as they are, or not served where they are
//! wrong. A wrong answer and a silent repair are what must not happen.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lucius_tests::history::History;
use lucius_tests::host::Host;
use serde_json::Value;

use crate::one_job::{Visitor, registry, setup};

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
    host.client()
        .submit(&crate::one_job::command("waits in the bus"))
        .await;
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
