//! Ledgers that hosts of this and of earlier layouts have written, as they were recorded: this host serves them, and what was
//! under way goes on. A fixture is never changed; a new layout gets one of its own, recorded from a host.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use lucius_tests::host::{Beside, Setup};
use lucius_tests::{places, registry};
use serde_json::{Value, json};

/// Makes a database of what was recorded.
const MAKE: &str = "import sqlite3, sys
sqlite3.connect(sys.argv[2]).executescript(open(sys.argv[1]).read())";
/// The tenant of all jobs.
const TARGET: &str = "tenant:acme";

fn restore(fixture: &Path, ledger: &Path) -> anyhow::Result<()> {
    let mut python = Command::new("python3");
    let made = python.args(["-c", MAKE]).args([fixture, ledger]).output()?;
    ensure!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    Ok(())
}

#[tokio::test]
async fn a_ledger_of_every_layout_on_record_is_served_and_what_was_under_way_goes_on()
-> anyhow::Result<()> {
    let folder = places::fixture("ledgers/layout-4.sql");
    let folder = folder.parent().context("fixtures are in a folder")?;
    for fixture in std::fs::read_dir(folder)? {
        served(&fixture?.path()).await?;
    }
    Ok(())
}

async fn served(fixture: &Path) -> anyhow::Result<()> {
    let registry = registry::plain(&[("TWO", &["first", "second"])]);
    let mut host = Setup::quick()
        .here()
        .with("RETENTION_KEEP_MS", 0)
        .registry(registry.path())
        .start()
        .await;
    host.kill();
    for file in std::fs::read_dir(host.data())? {
        let path = file?.path();
        if path
            .extension()
            .is_some_and(|it| it.to_string_lossy().starts_with("db"))
        {
            std::fs::remove_file(path)?;
        }
    }
    restore(fixture, &host.data().join("ledger.db"))?;
    host.start_again().await;
    let client = host.client();

    let list = client.get("/v1/jobs?tenant_id=acme").await.expect(200).body;
    let jobs = list["jobs"].as_array().cloned().unwrap_or_default();
    let of = |state: &str| {
        let job = jobs.iter().find(|job| job["state"] == state);
        let id = job.and_then(|job| job["jobId"].as_str());
        id.map(str::to_owned)
            .with_context(|| format!("{}: no job {state}", fixture.display()))
    };
    let (succeeded, failed, cancelled) = (of("SUCCEEDED")?, of("FAILED_FINAL")?, of("CANCELLED")?);
    for job in &jobs {
        let id = job["jobId"].as_str().unwrap_or_default();
        let events = client.events(id).await;
        assert_eq!(events[0]["type"], "accepted", "{job}");
        assert!(!client.steps(id).await.is_empty(), "{job}");
    }
    let again = json!({
        "tenant_id": "acme", "request_type": "TWO", "schema_version": "v1", "payload": {},
        "input_ref": "https://documents.example/in.pdf", "output_ref": "https://documents.example/out/",
        "idempotency_key": "succeeded",
    });
    let known = client.post("/v1/commands", &again).await.expect(202).body;
    assert_eq!(known["jobId"], succeeded.as_str(), "keys are kept");

    let paused = client.get("/v1/pauses").await.expect(200).body;
    assert_eq!(paused["pauses"][0]["target"], TARGET, "so are pauses");
    client
        .post("/v1/pauses:resume", &json!({ "target": TARGET }))
        .await
        .expect(200);
    client.verb(&failed, "redrive").await.expect(202);
    let program = places::fixture("obedient.py");
    let _workers = [
        Beside::worker(&host, "plain-first", &program).await,
        Beside::worker(&host, "plain-second", &program).await,
    ];
    for job in jobs.iter().filter_map(|job| job["jobId"].as_str()) {
        let ended: Value = client.job_over(job).await;
        // The payload of the one that failed asks each step for three failures; the first has had them.
        let expected = match job {
            job if job == cancelled => "CANCELLED",
            job if job == failed => "FAILED_FINAL",
            _ => "SUCCEEDED",
        };
        assert_eq!(ended["state"], expected, "{ended}");
    }
    let first = client.step(&failed, "first").await;
    assert_eq!(
        (&first["state"], &first["attempt_no"]),
        (&json!("SUCCEEDED"), &json!(4))
    );
    Ok(())
}
