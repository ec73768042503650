//! The command line: what it prints, for people and for machines, and how it ends.

use std::fs;

use lucius_tests::host::{Beside, Setup};
use lucius_tests::orders::{order, with};
use lucius_tests::places;
use lucius_tests::program::Run;
use lucius_tests::registry::Copied;
use lucius_tests::shared::host_for;
use serde_json::json;

#[tokio::test]
async fn submit_takes_a_file_or_standard_input_and_says_when_it_knew_the_command()
-> anyhow::Result<()> {
    let host = Setup::quick().start().await;
    let command = order("cli", "OCR");
    fs::write(host.folder().join("command.json"), command.to_string())?;
    let text = host
        .lucius(&["submit", "command.json"])
        .ended()
        .await
        .expect(0)
        .stdout;
    let job = text
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned();
    host.client().job(&job).await;

    let again = host
        .lucius(&["submit", "-", "--json"])
        .stdin(command.to_string())
        .ended()
        .await
        .expect(0);
    assert_eq!(
        (&again.json()["jobId"], &again.json()["duplicate"]),
        (&json!(job), &json!(true))
    );
    let other = with(
        command,
        json!({ "mode": "BURST", "idempotency_key": "another" }),
    );
    let refused = host.lucius(&["submit", "-"]).stdin(other.to_string());
    let refused = refused.ended().await.expect(1);
    assert!(
        refused.one_line().contains("DOC_ID_REQUIRED"),
        "{}",
        refused.stderr
    );
    Ok(())
}

#[tokio::test]
async fn submit_shows_every_violation_in_its_one_line() {
    let host = host_for(0).await;
    let payload = json!({ "page_range": "x", "ocr_engine": "y" });
    let command = with(order("cli", "OCR"), json!({ "payload": payload })).to_string();
    let ended = host
        .lucius(&["submit", "-"])
        .stdin(command)
        .ended()
        .await
        .expect(1);
    let line = ended.one_line();
    for part in [
        "INVALID_PAYLOAD",
        "/payload/page_range",
        "/payload/ocr_engine",
        "plugin:ocr@1.0.0",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[tokio::test]
async fn submit_follow_shows_the_way_and_ends_as_the_job_does() -> anyhow::Result<()> {
    let host = Setup::quick().start().await;
    fs::write(host.folder().join("document.pdf"), "only a name here")?;
    for (tenant, code, state) in [("good", 0, "SUCCEEDED"), ("bad", 1, "FAILED_FINAL")] {
        let args = [
            "submit",
            "--request-type",
            "OCR",
            "--input",
            "document.pdf",
            "--tenant",
            tenant,
            "--follow",
        ];
        let following = tokio::spawn(host.lucius(&args).ended());
        let worker = host.worker("platform-ocr");
        let delivery = match code {
            0 => worker.succeed(tenant).await,
            _ => worker.fail(tenant, "NON_RETRYABLE", "TORN_PAGE").await,
        };
        let input = delivery.text("input_ref");
        assert!(
            input.starts_with("file:///") && input.ends_with("/document.pdf"),
            "{input}"
        );
        let ended = following.await?.expect(code);
        for part in [
            delivery.text("jobId"),
            "acked",
            "result_received",
            state,
            "ocr",
        ] {
            assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
        }
        assert_eq!(
            ended.stdout.contains("TORN_PAGE"),
            code == 1,
            "{}",
            ended.stdout
        );
    }
    Ok(())
}

#[tokio::test]
async fn jobs_are_listed_shown_cancelled_and_redriven() {
    let host = Setup::quick().start().await;
    let client = host.client();
    let job = client.submit(&order("shown", "OCR")).await;
    // In another lane: between jobs of one there is no order.
    client.submit(&order("elsewhere", "OCR")).await;
    host.worker("platform-ocr")
        .fail("shown", "NON_RETRYABLE", "TORN_PAGE")
        .await;
    client.job_in(&job, "FAILED_FINAL").await;

    let list = host
        .lucius(&["jobs", "list", "--tenant", "shown"])
        .ended()
        .await
        .expect(0)
        .stdout;
    assert!(
        list.contains(&job) && list.contains("TORN_PAGE") && !list.contains("elsewhere"),
        "{list}"
    );
    let list = host
        .lucius(&["jobs", "list", "--json"])
        .ended()
        .await
        .expect(0)
        .json();
    assert_eq!(list["jobs"].as_array().map(Vec::len), Some(2));
    let shown = host
        .lucius(&["jobs", "show", &job])
        .ended()
        .await
        .expect(0)
        .stdout;
    for part in [&*job, "FAILED_FINAL", "TORN_PAGE", "platform-ocr", "shown"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let shown = host
        .lucius(&["jobs", "show", &job, "--json"])
        .ended()
        .await
        .expect(0)
        .json();
    assert_eq!(
        (&shown["state"], &shown["steps"][0]["step_id"]),
        (&json!("FAILED_FINAL"), &json!("ocr"))
    );
    let events = host
        .lucius(&["jobs", "events", &job])
        .ended()
        .await
        .expect(0)
        .stdout;
    assert!(
        events.contains("accepted") && events.contains("job_failed"),
        "{events}"
    );

    let again = host
        .lucius(&["jobs", "redrive", &job])
        .ended()
        .await
        .expect(0)
        .stdout;
    assert!(again.contains(&job), "{again}");
    client.step_in(&job, "ocr", "AWAITING_ACK").await;
    let cancelled = host
        .lucius(&["jobs", "cancel", &job, "--json"])
        .ended()
        .await
        .expect(0)
        .json();
    assert_eq!(cancelled["state"], "CANCELLING");
    let refused = host
        .lucius(&["jobs", "redrive", &job])
        .ended()
        .await
        .expect(1);
    assert!(
        refused.one_line().contains("JOB_NOT_FAILED"),
        "{}",
        refused.stderr
    );
    let unknown = host.lucius(&[
        "jobs",
        "show",
        "01890000-0000-7000-8000-000000000000",
        "--json",
    ]);
    let unknown = unknown.ended().await.expect(1);
    assert!(
        unknown.one_line().contains("JOB_NOT_FOUND"),
        "{}",
        unknown.stderr
    );
}

#[tokio::test]
async fn the_registry_is_checked_offline_and_shown_live() -> anyhow::Result<()> {
    let host = Setup::quick().start().await;
    let status = host
        .lucius(&["registry", "status"])
        .ended()
        .await
        .expect(0)
        .stdout;
    assert!(
        status.contains("generation 1") && status.contains("embedding"),
        "{status}"
    );
    let status = host
        .lucius(&["registry", "status", "--json"])
        .ended()
        .await
        .expect(0)
        .json();
    assert_eq!(status["generation"], 1);

    let mut registry = Copied::new()?;
    let path = registry.path().display().to_string();
    let check = ["registry", "check", "--registry", &path];
    let fine = host.lucius(&check).ended().await.expect(0).stdout;
    assert!(
        fine.contains("ocr@1.0.0") && fine.contains("sis@1.0.0"),
        "{fine}"
    );
    fs::remove_file(registry.component("ocr"))?;
    registry.replace("sis", b"junk")?;
    let wrong = host.lucius(&check).ended().await.expect(1);
    for part in ["plugin ocr@1.0.0", "plugin sis@1.0.0"] {
        assert!(
            wrong.stdout.contains(part),
            "every entry at once: {}",
            wrong.stdout
        );
    }
    wrong.one_line();
    let wrong = host
        .lucius(&["registry", "check", "--json", "--registry", &path])
        .ended()
        .await
        .expect(1);
    assert_eq!(wrong.json()["ok"], false);
    Ok(())
}

#[tokio::test]
async fn being_asked_in_the_wrong_way_is_exit_2() -> anyhow::Result<()> {
    let folder = tempfile::TempDir::new()?;
    for args in [
        &["fly"][..],
        &[],
        &["submit"],
        &["submit", "no-such-file.json"],
        &["submit", "--request-type", "OCR"],
        &["submit", "--request-type", "OCR", "--input", "no-such.pdf"],
        &["jobs"],
        &["jobs", "show"],
        &["serve", "--listen", "nowhere"],
        &["worker"],
        &["worker", "--service", "platform-unheard-of"],
    ] {
        let ended = Run::new(folder.path(), args).ended().await.expect(2);
        assert!(!ended.stderr.is_empty(), "{args:?} says nothing");
    }
    let ended = Run::new(folder.path(), ["submit", "-"])
        .stdin("not json")
        .ended()
        .await
        .expect(2);
    assert!(ended.one_line().contains("JSON"), "{}", ended.stderr);
    Ok(())
}

#[tokio::test]
async fn a_host_that_is_not_there_is_one_line_that_says_how_to_start_one() -> anyhow::Result<()> {
    let folder = tempfile::TempDir::new()?;
    let run = Run::new(folder.path(), ["jobs", "list"]).with("LUCIUS_URL", "http://127.0.0.1:9");
    let ended = run.ended().await.expect(1);
    assert!(ended.one_line().contains("lucius dev"), "{}", ended.stderr);
    Ok(())
}

#[tokio::test]
async fn any_program_is_a_worker_of_a_third_partys_step() -> anyhow::Result<()> {
    let mut registry = Copied::new()?;
    registry.add_plain_step("REDACT", "platform-redact")?;
    let host = Setup::quick().registry(registry.path()).start().await;
    let client = host.client();
    let program = places::fixture("redact.py");
    let worker = Beside::worker(&host, "platform-redact", &program).await;

    let output = format!("file://{}/data/output", host.folder().display());
    let more = json!({ "output_ref": output, "payload": { "text": "call 555-0199" } });
    let job = client.submit(&with(order("third", "REDACT"), more)).await;
    let nothing = json!({ "output_ref": output });
    let failing = client
        .submit(&with(order("third", "REDACT"), nothing))
        .await;

    let ended = client.job_over(&job).await;
    assert_eq!(
        ended["state"],
        "SUCCEEDED",
        "{:?} {}",
        client.steps(&job).await,
        host.output()
    );
    let step = client.step(&job, "redact").await;
    assert!(step["plugin"].is_null(), "{step}");
    let made = step["artifact_refs"][0]["uri"].as_str().unwrap_or_default();
    assert_eq!(
        fs::read_to_string(made.trim_start_matches("file://"))?,
        "call ###-####"
    );
    let failed = client.job_over(&failing).await;
    assert_eq!(
        (&failed["state"], &failed["error_code"]),
        (&json!("FAILED_FINAL"), &json!("NOTHING_TO_REDACT"))
    );
    assert_eq!(worker.terminate().await.code(), Some(0));
    Ok(())
}
