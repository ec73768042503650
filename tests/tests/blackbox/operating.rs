//! What an operator relies on: metrics that the alert rules and the dashboard name, dead letters that are started again,
//! a backup that serves, and a doctor that says what is wrong.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use lucius_tests::host::Setup;
use lucius_tests::orders::order;
use lucius_tests::program::Run;
use lucius_tests::{places, wait};
use serde_json::{Value, json};

/// The metrics that a text of PromQL names.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(|word| word.starts_with("lucius_"))
        .map(str::to_owned)
        .collect()
}

/// The names of all samples that these metrics can have.
fn exposed(metrics: &str) -> BTreeSet<String> {
    let types = metrics.lines().filter_map(|line| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        Some((name.to_owned(), kind.to_owned()))
    });
    types
        .flat_map(|(name, kind)| match kind.as_str() {
            "counter" => vec![format!("{name}_total")],
            "histogram" => ["bucket", "sum", "count"]
                .map(|part| format!("{name}_{part}"))
                .to_vec(),
            _ => vec![name],
        })
        .collect()
}

#[tokio::test]
async fn every_metric_that_a_rule_or_a_panel_names_is_exposed() -> anyhow::Result<()> {
    // A bus beyond this machine is measured by those who run it.
    let host = Setup::quick().here().start().await;
    let client = host.client();
    let job = client.submit(&order("acme", "OCR")).await;
    host.worker("platform-ocr").succeed("acme").await;
    client.job_over(&job).await;
    let metrics = wait::until("the first sweep", async || {
        let metrics = client.get("/metrics").await.expect(200).text;
        let swept = metrics.contains("lucius_sweeper_last_run_timestamp_seconds{");
        swept.then_some(metrics)
    })
    .await;
    // What a plugin took is told by version.
    let memory = "lucius_plugin_memory_peak_bytes{plugin=\"ocr@1.0.0\"} ";
    let bytes = metrics.lines().find_map(|line| line.strip_prefix(memory));
    let bytes: u64 = bytes.unwrap_or_default().parse()?;
    assert!((1 << 16..1 << 30).contains(&bytes), "{bytes}");
    let exposed = exposed(&metrics);
    for file in ["alerts.yml", "grafana-dashboard.json"] {
        let path = places::workspace().join("docs/operate").join(file);
        let text = std::fs::read_to_string(&path)?;
        let named = named(&text);
        assert!(!named.is_empty(), "{file} names no metric");
        let missing: Vec<_> = named.difference(&exposed).collect();
        assert!(
            missing.is_empty(),
            "{file} names what no host exposes: {missing:?}"
        );
    }
    for line in [
        "lucius_jobs_ended_total{state=\"SUCCEEDED\"} 1",
        "lucius_attempts_total{step_type=\"OCR\"} 1",
        "lucius_plugin_calls_total{plugin=\"ocr@1.0.0\",function=\"route\",outcome=\"ok\"} 1",
        "lucius_step_duration_seconds_count{step_type=\"OCR\"} 1",
        "lucius_registry_reload_ok 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    Ok(())
}

/// `promtool` comes with Debian's `prometheus`, which the set-up installs.
#[test]
fn the_alert_rules_are_rules() -> anyhow::Result<()> {
    let rules = places::workspace().join("docs/operate/alerts.yml");
    let checked = std::process::Command::new("promtool")
        .args([OsStr::new("check"), OsStr::new("rules"), rules.as_os_str()])
        .output()
        .map_err(|error| anyhow::anyhow!("promtool: {error}; cargo xtask setup installs it"))?;
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        checked.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&checked.stderr)
    );
    Ok(())
}

/// Each alert has a section in the runbook, and each link to one leads there.
#[test]
fn every_alert_has_its_section_in_the_runbook() -> anyhow::Result<()> {
    let folder = places::workspace().join("docs/operate");
    let rules = std::fs::read_to_string(folder.join("alerts.yml"))?;
    let runbook = std::fs::read_to_string(folder.join("runbook.md"))?;
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let mut count = 0;
    for alert in alerts {
        count += 1;
        assert!(
            runbook.contains(&format!("\n### {alert}\n")),
            "no section for {alert}"
        );
        let link = format!("runbook.md#{}", alert.to_lowercase());
        assert!(rules.contains(&link), "{alert} links to no section");
    }
    assert!(count > 10, "{count} alerts");
    Ok(())
}

#[tokio::test]
async fn dead_letters_are_found_and_started_again_from_the_command_line() -> anyhow::Result<()> {
    let host = Setup::quick().start().await;
    let client = host.client();
    let job = client.submit(&order("acme", "OCR")).await;
    let worker = host.worker("platform-ocr");
    worker.fail("acme", "NON_RETRYABLE", "UNREADABLE").await;
    client.job_in(&job, "FAILED_FINAL").await;

    let run = |args: &[&str]| {
        Run::new(
            host.folder(),
            args.iter().copied().chain(["--url", host.url()]),
        )
    };
    let found = run(&["dead-letters", "--json"])
        .ended()
        .await
        .expect(0)
        .json();
    let group = &found["groups"][0];
    assert_eq!(
        (&group["count"], &group["samples"][0]["jobId"]),
        (&json!(1), &json!(job))
    );
    let signature = group["signature"].as_str().unwrap_or_default();
    let begin = [
        "redrives",
        "--url",
        host.url(),
        "--json",
        "begin",
        "--signature",
        signature,
    ];
    let begun = Run::new(host.folder(), begin)
        .ended()
        .await
        .expect(0)
        .json();
    assert_eq!(begun["matched"], 1);
    worker.succeed("acme").await;
    assert_eq!(client.job_over(&job).await["state"], "SUCCEEDED");
    let id = begun["id"].as_str().unwrap_or_default().to_owned();
    let done = wait::until("the redrive is done", async || {
        let redrive = client.get(&format!("/v1/redrives/{id}")).await.body;
        (redrive["state"] == "DONE").then_some(redrive)
    });
    assert_eq!(done.await["redriven"], 1);
    let nobody = ["redrives", "--url", host.url(), "begin"];
    Run::new(host.folder(), nobody).ended().await.expect(2);
    Ok(())
}

#[tokio::test]
async fn whatever_an_operator_does_to_the_registry_is_on_record_with_its_reason() {
    let host = Setup::quick().start().await;
    let digest = "0".repeat(64);
    let acts: [(&[&str], i32); 5] = [
        (&["plan"], 0),
        (&["reload"], 0),
        (&["rollback", "--to", "1"], 0),
        (&["approve", &digest], 1),
        (&["release", &digest], 1),
    ];
    for (act, code) in acts {
        let reason = format!("to try {}", act[0]);
        let args = [&["registry"], act, &["--reason", &reason]].concat();
        host.lucius(&args).ended().await.expect(code);
    }
    let trail = host.lucius(&["audit", "--json"]).ended().await.expect(0);
    let entries = trail.json()["entries"].as_array().cloned();
    let reasons = entries.unwrap_or_default().into_iter().rev();
    let reasons: Vec<Value> = reasons.map(|it| it["reason"].clone()).collect();
    let expected = acts.map(|(act, _)| json!(format!("to try {}", act[0])));
    assert_eq!(reasons, expected);
}

/// A copy that was made under load serves: what was answered before it is there, and what was under way goes on.
#[tokio::test]
async fn a_backup_made_while_the_host_runs_serves() -> anyhow::Result<()> {
    let mut host = Setup::quick()
        .here()
        .with("TIMING_ACK_TIMEOUT_MS", 200)
        .start()
        .await;
    let client = host.client();
    let over = client.submit(&order("acme", "OCR")).await;
    host.worker("platform-ocr").succeed("acme").await;
    client.job_over(&over).await;
    let under_way = client.submit(&order("beta", "OCR")).await;

    let folder = host.folder().to_owned();
    let copy = folder.join("copy");
    let (data, to) = (host.folder().join("data"), copy.clone());
    let backup = |to: &std::path::Path| {
        Run::new(
            &folder,
            [
                OsStr::new("backup"),
                OsStr::new("--json"),
                OsStr::new("--data-dir"),
                data.as_os_str(),
                to.as_os_str(),
            ],
        )
    };
    let copied = backup(&to).ended().await.expect(0).json();
    let files = copied["files"].as_array().cloned().unwrap_or_default();
    for file in ["ledger.db", "callback.key"] {
        assert!(files.contains(&json!(file)), "{copied}");
    }
    assert_eq!(
        copied["left_out"],
        json!(["bus.db"]),
        "the running host has it"
    );
    backup(&to).ended().await.expect(2); // never over an earlier one

    host.kill();
    std::fs::rename(&data, host.folder().join("lost"))?;
    std::fs::rename(&copy, &data)?;
    host.start_again().await;
    let client = host.client();
    assert_eq!(client.job(&over).await["state"], "SUCCEEDED");
    host.worker("platform-ocr").succeed("beta").await;
    assert_eq!(client.job_over(&under_way).await["state"], "SUCCEEDED");
    Ok(())
}

fn verdict(findings: &Value, what: &str) -> String {
    let all = findings["findings"].as_array().cloned().unwrap_or_default();
    let found = all.iter().find(|it| it["what"] == what);
    let verdict = found.and_then(|it| it["verdict"].as_str());
    verdict.unwrap_or("not looked at").to_owned()
}

#[tokio::test]
async fn the_doctor_finds_nothing_where_nothing_is_wrong_and_names_what_is() -> anyhow::Result<()> {
    let mut host = Setup::quick().here().start().await;
    let folder = host.folder().to_owned();
    let data = folder.join("data");
    let registry = places::registry();
    let examine = |url: String| {
        let args = ["doctor", "--json", "--url"].map(OsStr::new).into_iter();
        let more = [
            OsStr::new(&url).to_owned(),
            "--data-dir".into(),
            data.clone().into_os_string(),
            "--registry".into(),
            registry.clone().into_os_string(),
        ];
        Run::new(&folder, args.map(ToOwned::to_owned).chain(more))
    };
    // The sweepers of this host run every few milliseconds; the first time may not have come.
    let well = wait::until("all is well", async || {
        let ended = examine(host.url().to_owned()).ended().await;
        let findings = ended.json();
        (findings["ok"] == true).then_some(findings)
    });
    let well = well.await;
    for what in [
        "settings",
        "ledger",
        "bus",
        "clock",
        "registry",
        "host",
        "sweepers",
        "host clock",
    ] {
        assert_eq!(verdict(&well, what), "ok", "{what}: {well}");
    }
    let url = host.url().to_owned();
    host.kill();
    let gone = examine(url.clone()).ended().await.expect(1).json();
    assert_eq!(verdict(&gone, "host"), "fail", "{gone}");
    assert_eq!(verdict(&gone, "ledger"), "ok", "{gone}");
    // With its log the file would be whole again.
    std::fs::remove_file(data.join("bus.db-wal"))?;
    std::fs::write(data.join("bus.db"), vec![7; 8_192])?;
    std::fs::write(data.join("callback.key"), b"short")?;
    let broken = examine(url).ended().await.expect(1).json();
    assert_eq!(verdict(&broken, "bus"), "fail", "{broken}");
    assert_eq!(verdict(&broken, "callback key"), "fail", "{broken}");
    Ok(())
}
