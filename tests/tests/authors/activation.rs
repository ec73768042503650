//! A third party's plugin goes live on a running host, while jobs of others flow, and is taken back.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use lucius_tests::author;
use lucius_tests::host::{Beside, Host, Setup};
use lucius_tests::orders::{order, with};
use lucius_tests::registry::Copied;
use serde_json::{Value, json};

const LETTER: &str = "Dear Ada, write to ada@example.org or call +44 20 7946 0958. Yours, Charles";

#[tokio::test]
async fn a_new_step_type_goes_live_while_jobs_flow_is_worked_on_by_a_small_program_and_taken_back()
-> anyhow::Result<()> {
    let plugin = author::redact().await;
    let registry = Copied::new()?;
    let host = Setup::quick().registry(registry.path()).start().await;
    let client = host.client();
    let letter = host.folder().join("letter.txt");
    fs::write(&letter, LETTER)?;
    let redact = with(
        order("ada", "REDACT"),
        json!({
            "input_ref": format!("file://{}", letter.display()),
            "output_ref": format!("file://{}/output", host.folder().display()),
            "payload": { "categories": [" email", "PHONE"] },
        }),
    );
    client
        .post("/v1/commands", &redact)
        .await
        .expect_problem(400, "UNSUPPORTED_REQUEST_TYPE");

    // Jobs of another tenant flow from before the reload until after it.
    let over = Cell::new(false);
    let live = async {
        let done = go_live(&host, &plugin, &registry, &redact).await;
        over.set(true);
        done
    };
    let (flowed, done) = tokio::join!(flow(&host, &over), live);
    done?;
    assert!(!flowed.is_empty(), "no job has flowed");
    for job in &flowed {
        assert_eq!(job["state"], "SUCCEEDED", "{job}");
    }
    Ok(())
}

/// Runs one job after the other until it is over; the jobs as they ended.
async fn flow(host: &Host, over: &Cell<bool>) -> Vec<Value> {
    let (client, worker) = (host.client(), host.worker("platform-ocr"));
    let mut ended = Vec::new();
    while !over.get() {
        let more = json!({ "idempotency_key": format!("flow-{}", ended.len()) });
        let job = client.submit(&with(order("flow", "OCR"), more)).await;
        worker.succeed("flow").await;
        ended.push(client.job_over(&job).await);
    }
    ended
}

/// Adds the plugin, reloads, and has a program do the work of a job.
async fn go_live(
    host: &Host,
    plugin: &Path,
    registry: &Copied,
    redact: &Value,
) -> anyhow::Result<()> {
    let client = host.client();
    let path = registry.path().display().to_string();
    author::plugin(plugin, &["add", "--registry", &path])
        .ended()
        .await
        .expect(0);
    let live = host.lucius(&["registry", "reload", "--json"]);
    let live = live.ended().await.expect(0).json();
    assert_eq!(live["generation"], 2, "{live}");

    let wrong = with(
        redact.clone(),
        json!({ "payload": { "categories": ["HATS"] } }),
    );
    let refused = client.post("/v1/commands", &wrong).await;
    let refused = refused.expect_problem(422, "INVALID_PAYLOAD");
    assert_eq!(
        refused.violations(),
        ["/payload/categories/0 CATEGORY_UNKNOWN plugin:redact@1.0.0"]
    );

    let job = client.submit(redact).await;
    let program = plugin.join("../worker.py").canonicalize()?;
    let worker = Beside::worker(host, "platform-redact", &program).await;
    let ended = client.job_over(&job).await;
    let step = client.step(&job, "redact").await;
    assert_eq!(ended["state"], "SUCCEEDED", "{step} {}", host.output());
    assert_eq!(
        (&step["plugin"]["id"], &step["plugin"]["version"]),
        (&json!("redact"), &json!("1.0.0"))
    );
    let output = step["output_ref"].as_str().unwrap_or_default();
    assert_eq!(
        fs::read_to_string(output.trim_start_matches("file://"))?,
        "Dear Ada, write to [redacted] or call [redacted]. Yours, Charles"
    );
    assert_eq!(worker.terminate().await.code(), Some(0));
    roll_back(host, redact, &program).await
}

/// Takes the step type back; the job that was accepted while it was there is done all the same.
async fn roll_back(host: &Host, redact: &Value, program: &Path) -> anyhow::Result<()> {
    let client = host.client();
    let another = with(redact.clone(), json!({ "idempotency_key": "another" }));
    let held = client.submit(&another).await;
    let back = host.lucius(&["registry", "rollback", "--json"]);
    let back = back.ended().await.expect(0).json();
    assert_eq!(
        (&back["generation"], &back["origin"]),
        (&json!(3), &json!("rollback"))
    );
    let removed = &back["changes"]["plugins"][0];
    assert_eq!(
        (&removed["plugin"], &removed["change"], &removed["jobs"]),
        (&json!("redact@1.0.0"), &json!("removed"), &json!(1))
    );
    let third = with(redact.clone(), json!({ "idempotency_key": "third" }));
    let refused = client.post("/v1/commands", &third).await;
    refused.expect_problem(400, "UNSUPPORTED_REQUEST_TYPE");
    let worker = Beside::worker(host, "platform-redact", program).await;
    assert_eq!(client.job_over(&held).await["state"], "SUCCEEDED");
    assert_eq!(worker.terminate().await.code(), Some(0));
    Ok(())
}
