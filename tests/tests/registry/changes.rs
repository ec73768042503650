//! Every way to change what is live, on a host that runs: by command, by signal, by the file alone.

use std::fs;

use lucius_tests::client::Client;
use lucius_tests::host::{Host, Setup};
use lucius_tests::orders::{order, with};
use lucius_tests::registry::Copied;
use lucius_tests::wait;
use serde_json::{Value, json};

/// A registry of the one plugin `ocr`.
pub(crate) fn small() -> anyhow::Result<Copied> {
    let mut registry = Copied::new()?;
    registry.only("ocr")?;
    Ok(registry)
}

/// What a command of the registry says, which succeeds.
pub(crate) async fn registry(host: &Host, args: &[&str]) -> String {
    let run = host.lucius(&[&["registry"], args].concat());
    run.ended().await.expect(0).stdout
}

async fn live(client: &Client) -> Value {
    client.get("/v1/registry").await.expect(200).body
}

async fn generation(client: &Client, number: u64) -> Value {
    let awaited = format!("generation {number}");
    let look = async || Some(live(client).await).filter(|it| it["generation"] == number);
    wait::until(&awaited, look).await
}

/// Ends a job of the one step `ocr`.
async fn end(host: &Host, tenant: &str, job: &str) {
    host.worker("platform-ocr").succeed(tenant).await;
    assert_eq!(host.client().job_over(job).await["state"], "SUCCEEDED");
}

#[tokio::test]
async fn a_new_version_is_planned_goes_live_and_is_rolled_back_by_commands() -> anyhow::Result<()> {
    let mut copied = small()?;
    let host = Setup::quick().registry(copied.path()).start().await;
    let client = host.client();
    let ended = client.submit(&order("ended", "OCR")).await;
    end(&host, "ended", &ended).await;
    let held = client.submit(&order("held", "OCR")).await;
    assert_eq!(
        registry(&host, &["plan"]).await,
        "generation 1 stays as it is\n"
    );

    let entry = copied.as_version("ocr", "1.0.1")?;
    copied.manifest["plugins"] = json!([entry]);
    copied.decide_by("ocr", "1.0.1")?;
    let plan = registry(&host, &["plan"]).await;
    for line in [
        "generation 1 -> 2",
        "added    plugin ocr@1.0.1",
        "removed  plugin ocr@1.0.0  (1 job holds it)",
        "changed  protocol atomic-ocr.v1",
        "ocr 1.0.0 -> 1.0.1: 5 replayed, 5 same, 0 differ",
    ] {
        assert!(plan.lines().any(|it| it == line), "{line} in {plan}");
    }
    assert_eq!(live(&client).await["generation"], 1, "nothing is done");
    let reloaded = registry(&host, &["reload"]).await;
    assert!(reloaded.contains("generation 2, live since"), "{reloaded}");
    let fresh = client.submit(&order("fresh", "OCR")).await;
    for (job, version) in [(&held, "1.0.0"), (&fresh, "1.0.1")] {
        assert_eq!(client.step(job, "ocr").await["plugin"]["version"], version);
    }

    let moved = host.lucius(&["jobs", "migrate", &held, "--to", "2"]);
    let moved = moved.ended().await.expect(0).stdout;
    assert!(moved.contains("generation 2"), "{moved}");
    assert_eq!(
        client.step(&held, "ocr").await["plugin"]["version"],
        "1.0.1"
    );
    let back = registry(&host, &["rollback"]).await;
    assert!(
        back.contains("generation 3, live since") && back.contains("by a rollback"),
        "{back}"
    );
    let again = registry(&host, &["rollback", "--to", "2", "--json"]).await;
    let again: Value = serde_json::from_str(&again)?;
    assert_eq!(
        (&again["generation"], &again["plugins"][0]["version"]),
        (&json!(4), &json!("1.0.1"))
    );
    for (tenant, job) in [("held", &held), ("fresh", &fresh)] {
        end(&host, tenant, job).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_difference_to_past_decisions_is_shown_blocks_and_can_be_allowed() -> anyhow::Result<()> {
    let mut copied = small()?;
    let host = Setup::quick().registry(copied.path()).start().await;
    let client = host.client();
    let payload = json!({ "payload": { "ocr_engine": "tesseract" } });
    let job = client.submit(&with(order("acme", "OCR"), payload)).await;

    let mut entry = copied.as_version("ocr", "1.0.1")?;
    entry["config"] = json!({ "engines": ["another"] });
    copied.manifest["plugins"] = json!([entry]);
    copied.decide_by("ocr", "1.0.1")?;
    let plan = registry(&host, &["plan"]).await;
    assert!(
        plan.contains("ocr 1.0.0 -> 1.0.1: 2 replayed, 1 same, 1 differ (1 accept -> reject)"),
        "{plan}"
    );
    assert!(
        plan.contains(&format!("job {job} step ocr accept -> reject")),
        "{plan}"
    );
    let refused = host.lucius(&["registry", "reload", "--max-diff", "0"]);
    let refused = refused.ended().await.expect(1);
    assert!(
        refused.one_line().contains("0 differences are allowed"),
        "{}",
        refused.stderr
    );
    registry(&host, &["reload", "--max-diff", "1"]).await;

    let stays = host.lucius(&["jobs", "migrate", &job, "--to", "2"]);
    let stays = stays.ended().await.expect(1);
    assert!(
        stays.one_line().contains("MIGRATION_DIFFERS"),
        "{}",
        stays.stderr
    );
    let forced = host.lucius(&["jobs", "migrate", &job, "--to", "2", "--force"]);
    let forced = forced.ended().await.expect(0).stdout;
    assert!(forced.contains("accept -> reject"), "{forced}");
    assert_eq!(client.events_of(&job, "migrated").await.len(), 1);
    Ok(())
}

#[tokio::test]
async fn what_asks_for_more_waits_for_an_admin_and_decisions_are_explained_and_exported()
-> anyhow::Result<()> {
    let mut copied = small()?;
    let host = Setup::quick().registry(copied.path()).start().await;
    let client = host.client();
    let mut entry = copied.as_version("ocr", "1.0.1")?;
    entry["services"] = json!(["platform-ocr", "platform-secret"]);
    let digest = entry["sha256"].as_str().unwrap_or_default().to_owned();
    copied.manifest["plugins"] = json!([entry]);
    copied.decide_by("ocr", "1.0.1")?;
    let waits = host.lucius(&["registry", "reload"]).ended().await.expect(1);
    let line = waits.one_line();
    let command = format!("lucius registry approve {digest}");
    assert!(
        line.contains("service platform-secret") && line.contains(&command),
        "{line}"
    );
    let approved = registry(&host, &["approve", &digest]).await;
    assert!(approved.starts_with("approved  ocr@1.0.1"), "{approved}");
    registry(&host, &["reload"]).await;
    let release = host
        .lucius(&["registry", "release", &digest])
        .ended()
        .await
        .expect(1);
    assert!(
        release.one_line().contains("is not quarantined"),
        "{}",
        release.stderr
    );

    let job = client.submit(&order("acme", "OCR")).await;
    let explained = host.lucius(&["jobs", "explain", &job]);
    let explained = explained.ended().await.expect(0).stdout;
    for part in ["validate", "route", "ocr@1.0.1", &digest[..8], "fuel"] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
    let export = ["jobs", "export", &job, "--out", "case.json"];
    let said = host.lucius(&export).ended().await.expect(0).stdout;
    assert_eq!(said, "2 cases in case.json\n");
    let cases = fs::read_to_string(host.folder().join("case.json"))?;
    assert!(!cases.contains("documents.example"), "{cases}");
    Ok(())
}

#[tokio::test]
async fn a_signal_and_a_change_of_the_file_reload_as_the_command_does() -> anyhow::Result<()> {
    let mut copied = small()?;
    let setup = Setup::quick().with("PLUGINS_WATCH_MS", 20);
    let watching = setup.registry(copied.path()).start().await;
    let host = Setup::quick().registry(copied.path()).start().await;

    copied.add_plain_step("STAMP", "acme-stamp")?;
    generation(&watching.client(), 2).await;
    assert_eq!(
        live(&host.client()).await["generation"],
        1,
        "nobody told it"
    );
    host.hang_up();
    generation(&host.client(), 2).await;

    // Refused alike, and the next good one goes live.
    let manifest = copied.manifest.take();
    fs::write(copied.path().join("registry.json"), "not yet whole")?;
    host.hang_up();
    for client in [host.client(), watching.client()] {
        let refused = async || Some(live(&client).await).filter(|it| it["degraded"] == true);
        let status = wait::until("the refusal in the status", refused).await;
        assert_eq!(status["generation"], 2);
        assert_eq!(status["last_reload"]["errors"][0]["entry"], "registry.json");
        client.submit(&order("acme", "STAMP")).await;
    }
    copied.manifest = manifest;
    copied.add_plain_step("SEAL", "acme-seal")?;
    host.hang_up();
    for client in [host.client(), watching.client()] {
        assert_eq!(generation(&client, 3).await["degraded"], false);
    }
    Ok(())
}
