//! Cancellation, retry and drift repair, end to end: the built host, workers that are processes of their own, and a ledger
//! in SQLite or in tables on Azurite. Each story is told once and runs on both.

use std::path::PathBuf;

use lucius_tests::azure::{Cloud, Kind};
use lucius_tests::host::{Beside, Host, Setup};
use lucius_tests::orders::{order, with};
use lucius_tests::{lane, places, registry};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

const TYPE: &str = "TWO";
const TENANT: &str = "phase-6";

/// A host on one of the ledgers, with a protocol of two steps that no plugin decides about.
struct Stage {
    host: Host,
    /// Kept while the host may read it.
    _registry: TempDir,
}

#[derive(Clone, Copy)]
enum Ledger {
    Sqlite,
    Azurite,
}

impl Stage {
    async fn on(ledger: Ledger, settings: &[(&str, u64)]) -> Self {
        let registry = registry::plain(&[(TYPE, &["first", "second"])]);
        let setup = settings
            .iter()
            .fold(Setup::quick(), |setup, (name, value)| {
                setup.with(name, value)
            });
        let setup = match ledger {
            Ledger::Sqlite => setup.here(),
            Ledger::Azurite => {
                let tables = Kind {
                    bus: false,
                    fail_one_in: 0,
                };
                setup.sharing(&Cloud::new(tables, &[]).await)
            }
        };
        Self {
            host: setup.registry(registry.path()).start().await,
            _registry: registry,
        }
    }

    /// A worker of one of the steps, in a process of its own.
    async fn worker(&self, step: &str) -> Beside {
        let program = places::fixture("obedient.py");
        Beside::worker(&self.host, &format!("plain-{step}"), &program).await
    }

    /// Submits a job whose first step goes as it is wished.
    async fn submit(&self, name: &str, wishes: Value) -> String {
        let payload = json!({ "steps": { "first": wishes, "second": {} } });
        let more = json!({ "idempotency_key": name, "payload": payload });
        self.host
            .client()
            .submit(&with(order(TENANT, TYPE), more))
            .await
    }

    /// A file that a worker waits for.
    fn signal(&self, name: &str) -> PathBuf {
        self.host.folder().join(name)
    }

    async fn errors_of_attempts(&self, job: &str) -> Vec<Value> {
        let retries = self.host.client().events_of(job, "retry_scheduled").await;
        let code = |event: &Value| event["error"]["code"].clone();
        retries.iter().map(code).collect()
    }

    /// What a step's worker made is there.
    async fn made(&self, job: &str, step: &str) {
        let now = self.host.client().step(job, step).await;
        let uri = now["artifact_refs"][0].as_str().unwrap_or_default();
        let text = std::fs::read_to_string(uri.trim_start_matches("file://"));
        let text = text.unwrap_or_else(|error| panic!("{error}: {now}"));
        assert_eq!(text, step, "{now}");
    }
}

async fn cancellation(ledger: Ledger) -> std::io::Result<()> {
    let stage = Stage::on(ledger, &[]).await;
    let client = stage.host.client();
    let _workers = [stage.worker("first").await, stage.worker("second").await];

    let go_on = stage.signal("go-on");
    let at_work = stage.submit("at work", json!({ "until": go_on })).await;
    client.step_in(&at_work, "first", "IN_PROGRESS").await;
    let asked = client.verb(&at_work, "cancel").await.expect(202).body;
    assert_eq!(
        asked["state"], "CANCELLING",
        "its worker is not interrupted"
    );
    std::fs::write(&go_on, "")?;
    let ended = client.job_in(&at_work, "CANCELLED").await;
    assert_eq!(ended["attempts_total"], 1, "nothing is tried again");
    let second = client.step(&at_work, "second").await;
    assert_eq!(
        (&second["state"], &second["attempt_no"]),
        (&json!("CANCELLED"), &json!(0))
    );
    client
        .verb(&at_work, "cancel")
        .await
        .expect_problem(409, "JOB_TERMINAL");
    client
        .verb(&at_work, "redrive")
        .await
        .expect_problem(409, "JOB_NOT_FAILED");

    let next = stage.submit("next", json!({})).await;
    client.job_in(&next, "SUCCEEDED").await;
    assert_eq!(
        client.job(&at_work).await["state"],
        "CANCELLED",
        "it stays so"
    );
    Ok(())
}

async fn retry(ledger: Ledger) {
    let stage = Stage::on(ledger, &[]).await;
    let client = stage.host.client();
    let _workers = [stage.worker("first").await, stage.worker("second").await];

    let once = stage.submit("once", json!({ "failures": 1 })).await;
    let ended = client.job_in(&once, "SUCCEEDED").await;
    assert_eq!(
        ended["attempts_total"], 3,
        "two of the first step, one of the second"
    );
    assert_eq!(stage.errors_of_attempts(&once).await, ["NOT_TODAY"]);
    stage.made(&once, "first").await;
    stage.made(&once, "second").await;

    let often = stage.submit("often", json!({ "failures": 4 })).await;
    let ended = client.job_in(&often, "FAILED_FINAL").await;
    assert_eq!(
        (&ended["attempts_total"], &ended["error_code"]),
        (&json!(3), &json!("NOT_TODAY"))
    );
    assert_eq!(client.step(&often, "second").await["attempt_no"], 0);
    client.verb(&often, "redrive").await.expect(202);
    let ended = client.job_in(&often, "SUCCEEDED").await;
    assert_eq!(
        ended["attempts_total"], 6,
        "numbers go on: the fifth is the first to succeed"
    );
    stage.made(&often, "second").await;
}

/// The ledger says that something is on its way, and nothing is: a directive that was never published, a message that
/// the bus lost, a worker that died. Each time the job goes on by itself.
async fn drift_repair(ledger: Ledger) -> std::io::Result<()> {
    let settings = [
        ("TIMING_ACK_TIMEOUT_MS", 2_000),
        ("TIMING_LEASE_MS", 3_000),
        ("TIMING_MAX_ATTEMPTS", 20),
    ];
    let mut stage = Stage::on(ledger, &settings).await;
    let client = stage.host.client();

    let target = json!({ "target": format!("tenant:{TENANT}") });
    client.post("/v1/pauses", &target).await.expect(200);
    let unpublished = stage.submit("unpublished", json!({})).await;
    stage.host.crash().await;
    assert_eq!(client.job(&unpublished).await["state"], "QUEUED");
    client.post("/v1/pauses:resume", &target).await.expect(200);
    let first = stage.worker("first").await;
    let _second = stage.worker("second").await;
    client.job_in(&unpublished, "SUCCEEDED").await;
    assert_eq!(first.terminate().await.code(), Some(0));

    let lost = stage.submit("lost", json!({})).await;
    let topic = lane::topic(&lane::norm(TENANT));
    let head = format!("/bus/{topic}/subscriptions/plain-first/messages/head?timeout=30");
    let taken = client
        .send(client.request(Method::DELETE, &head))
        .await
        .expect(200);
    assert_eq!(taken.body["jobId"], lost.as_str(), "{}", taken.text);
    let first = stage.worker("first").await;
    client.job_in(&lost, "SUCCEEDED").await;
    assert_eq!(stage.errors_of_attempts(&lost).await[0], "ACK_TIMEOUT");

    let go_on = stage.signal("go-on");
    let orphaned = stage.submit("orphaned", json!({ "until": go_on })).await;
    client.step_in(&orphaned, "first", "IN_PROGRESS").await;
    drop(first); // SIGKILL
    std::fs::write(&go_on, "")?;
    let _first = stage.worker("first").await;
    client.job_in(&orphaned, "SUCCEEDED").await;
    assert_eq!(
        stage.errors_of_attempts(&orphaned).await[0],
        "LEASE_EXPIRED"
    );
    for job in [&unpublished, &lost, &orphaned] {
        stage.made(job, "first").await;
        stage.made(job, "second").await;
    }
    Ok(())
}

#[tokio::test]
async fn cancellation_on_sqlite() -> std::io::Result<()> {
    cancellation(Ledger::Sqlite).await
}

#[tokio::test]
async fn cancellation_on_azurite() -> std::io::Result<()> {
    cancellation(Ledger::Azurite).await
}

#[tokio::test]
async fn retry_on_sqlite() {
    retry(Ledger::Sqlite).await;
}

#[tokio::test]
async fn retry_on_azurite() {
    retry(Ledger::Azurite).await;
}

#[tokio::test]
async fn drift_repair_on_sqlite() -> std::io::Result<()> {
    drift_repair(Ledger::Sqlite).await
}

#[tokio::test]
async fn drift_repair_on_azurite() -> std::io::Result<()> {
    drift_repair(Ledger::Azurite).await
}
