//! A canary and a shadow on a host that runs, with real components.

use lucius_tests::host::{Host, Setup};
use lucius_tests::orders::{order, with};
use lucius_tests::registry::Copied;
use lucius_tests::wait;
use serde_json::{Value, json};

use crate::changes::{registry, small};

/// A host with a trial of a version that knows no engine which the one that decides knows.
async fn trying(trial: Value) -> anyhow::Result<(Copied, Host)> {
    let mut copied = small()?;
    let mut candidate = copied.as_version("ocr", "1.0.1")?;
    candidate["config"] = json!({ "engines": ["another"] });
    if let Some(plugins) = copied.manifest["plugins"].as_array_mut() {
        plugins.push(candidate);
    }
    copied.manifest["trials"] = json!([with(
        json!({ "plugin": "ocr@1.0.0", "candidate": "ocr@1.0.1" }),
        trial
    )]);
    copied.write()?;
    let host = Setup::quick().registry(copied.path()).start().await;
    Ok((copied, host))
}

fn command(tenant: &str, engine: &str) -> Value {
    with(
        order(tenant, "OCR"),
        json!({ "payload": { "ocr_engine": engine } }),
    )
}

#[tokio::test]
async fn a_canary_that_turns_work_away_ends_by_itself_and_everybody_is_served_again()
-> anyhow::Result<()> {
    let abort = json!({ "after": 6, "differ_percent": 40 });
    let trial = json!({ "mode": "canary", "percent": 50, "abort": abort });
    let (_registry, host) = trying(trial).await?;
    let client = host.client();
    let (mut inside, mut outside) = (None, None);
    for number in 0..40 {
        let tenant = format!("tenant-{number}");
        let job = client.submit(&order(&tenant, "OCR")).await;
        let step = client.step(&job, "ocr").await;
        match step["plugin"]["version"].as_str() {
            Some("1.0.1") => inside = Some((tenant, job)),
            _ => outside = Some(tenant),
        }
        if inside.is_some() && outside.is_some() {
            break;
        }
    }
    let (inside, pinned) = inside.ok_or_else(|| anyhow::anyhow!("nobody is in the share"))?;
    let outside = outside.ok_or_else(|| anyhow::anyhow!("nobody is outside"))?;
    let status = registry(&host, &["status"]).await;
    assert!(
        status.contains("canary ocr@1.0.0 -> ocr@1.0.1 for 50 % of tenants: "),
        "{status}"
    );
    let metrics = client.get("/metrics").await.text;
    let metric =
        "lucius_trial_questions{mode=\"canary\",candidate=\"ocr@1.0.1\",outcome=\"differ\"} 0";
    assert!(metrics.contains(metric), "{metrics}");

    client.submit(&command(&outside, "tesseract")).await;
    // Until it is ended, the tenant reads what the candidate says.
    let served = async || {
        let answer = client
            .post("/v1/commands", &command(&inside, "tesseract"))
            .await;
        if answer.status == 202 {
            return Some(answer.body["jobId"].clone());
        }
        let problem = answer.expect_problem(422, "INVALID_PAYLOAD");
        assert!(
            problem.text.contains("plugin:ocr@1.0.1"),
            "{}",
            problem.text
        );
        None
    };
    let job = wait::until("the end of the canary", served).await;
    let job = job.as_str().unwrap_or_default();
    assert_eq!(client.step(job, "ocr").await["plugin"]["version"], "1.0.0");
    assert_eq!(
        client.step(&pinned, "ocr").await["plugin"]["version"],
        "1.0.1",
        "it keeps its own"
    );
    let status = registry(&host, &["status"]).await;
    assert!(
        status.contains("as a canary it decided otherwise than ocr@1.0.0"),
        "{status}"
    );
    assert!(
        client
            .get("/metrics")
            .await
            .text
            .contains("lucius_plugins_quarantined 1")
    );
    assert!(
        host.output().contains("a plugin is quarantined"),
        "it is in the log"
    );
    Ok(())
}

#[tokio::test]
async fn a_shadow_is_compared_and_counted_and_nobody_notices() -> anyhow::Result<()> {
    let (mut copied, host) = trying(json!({ "mode": "shadow", "percent": 100 })).await?;
    let client = host.client();
    let job = client.submit(&command("acme", "tesseract")).await;
    assert_eq!(client.step(&job, "ocr").await["plugin"]["version"], "1.0.0");
    let counted = async || {
        let status = client.get("/v1/registry").await.expect(200).body;
        Some(status["trials"][0].clone()).filter(|trial| trial["asked"] == 2)
    };
    let trial = wait::until("two comparisons", counted).await;
    assert_eq!(
        trial["summary"], "2 asked, 1 same, 1 differ (1 accept -> reject)",
        "{trial}"
    );
    assert_eq!(trial["samples"][0]["now"]["valid"], false, "{trial}");
    let said = registry(&host, &["status"]).await;
    assert!(said.contains("validate accept -> reject"), "{said}");
    copied.manifest["trials"] = json!([]);
    copied.write()?;
    let plan = registry(&host, &["reload"]).await;
    assert!(
        plan.contains("removed  trial shadow ocr@1.0.0 -> ocr@1.0.1"),
        "{plan}"
    );
    Ok(())
}
