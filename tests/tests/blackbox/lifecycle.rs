//! A job from its command to its end, with hand-made workers.

use lucius_tests::host::{Host, Setup};
use lucius_tests::orders::{empty_text, order, with};
use lucius_tests::places;
use lucius_tests::shared::host_for;
use lucius_tests::worker::Delivery;
use serde_json::{Value, json};

/// Request type, protocol, steps.
const SHIPPED: [(&str, &str, &[&str]); 6] = [
    ("OCR", "atomic-ocr.v1", &["ocr"]),
    ("EMBEDDING", "atomic-embedding.v1", &["embedding"]),
    ("SIS", "atomic-sis.v1", &["sis"]),
    ("OCR->EMBEDDING", "ocr-embedding.v1", &["ocr", "embedding"]),
    ("EMBEDDING->SIS", "embedding-sis.v1", &["embedding", "sis"]),
    (
        "OCR->EMBEDDING->SIS",
        "ocr-embedding-sis.v1",
        &["ocr", "embedding", "sis"],
    ),
];

fn service(step_id: &str) -> String {
    format!("platform-{step_id}")
}

fn directive_contract() -> anyhow::Result<jsonschema::Validator> {
    let path = places::workspace().join("docs/contracts/directive.v1.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let options = jsonschema::draft202012::options().should_validate_formats(true);
    options
        .build(&schema)
        .map_err(|error| anyhow::anyhow!("{error}"))
}

async fn do_step(host: &Host, tenant: &str, step_id: &str) -> Delivery {
    host.worker(&service(step_id)).succeed(tenant).await
}

#[tokio::test]
async fn every_shipped_request_type_runs_to_its_end() -> anyhow::Result<()> {
    let mut host = host_for(1).await;
    let client = host.client();
    let contract = directive_contract()?;
    let tenant = host.tenant("everything");
    for (request_type, protocol_id, steps) in SHIPPED {
        let job = client.submit(&order(&tenant, request_type)).await;
        let mut leases = Vec::new();
        for (done, step_id) in steps.iter().enumerate() {
            let delivery = do_step(&host, &tenant, step_id).await;
            let directive = &delivery.directive;
            let wrong: Vec<String> = contract
                .iter_errors(directive)
                .map(|e| e.to_string())
                .collect();
            assert!(wrong.is_empty(), "{wrong:?}: {directive}");
            assert_eq!(directive["jobId"], job.as_str());
            assert_eq!(directive["tenant_id"], tenant.as_str());
            assert_eq!(directive["stepId"], *step_id);
            assert_eq!(directive["step_type"], step_id.to_uppercase());
            assert_eq!(directive["protocol_id"], protocol_id);
            assert_eq!(
                directive["input_ref"],
                "https://documents.example/in/invoice.pdf"
            );
            let earlier = directive["inputs"].as_array().map_or(0, Vec::len);
            assert_eq!(
                earlier, done,
                "a directive brings what earlier steps made: {directive}"
            );
            leases.push(delivery.lease_id().to_owned());
        }
        leases.sort();
        leases.dedup();
        assert_eq!(
            leases.len(),
            steps.len(),
            "each attempt has a lease of its own"
        );

        let ended = client.job_in(&job, "SUCCEEDED").await;
        assert_eq!(ended["protocol_id"], protocol_id);
        assert_eq!(ended["request_type"], request_type);
        assert_eq!(ended["attempts_total"], steps.len());
        assert!(
            ended["completed_at"].is_string() && ended["error_code"].is_null(),
            "{ended}"
        );
        let shown = client.steps(&job).await;
        let states: Vec<_> = shown
            .iter()
            .map(|step| (&step["step_id"], &step["state"]))
            .collect();
        let expected: Vec<_> = steps
            .iter()
            .map(|step| (json!(step), json!("SUCCEEDED")))
            .collect();
        assert_eq!(
            states,
            expected
                .iter()
                .map(|(id, state)| (id, state))
                .collect::<Vec<_>>()
        );
        for step in &shown {
            assert_eq!(
                step["artifact_refs"].as_array().map(Vec::len),
                Some(1),
                "{step}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_message_carries_its_names_in_its_properties() {
    let mut host = host_for(1).await;
    let tenant = host.tenant("ACME");
    let job = host.client().submit(&order(&tenant, "OCR")).await;
    let delivery = host.worker("platform-ocr").next(&tenant).await;

    assert_eq!(delivery.broker["MessageId"], format!("{job}:ocr:1"));
    assert_eq!(delivery.broker["DeliveryCount"], 1);
    for name in ["LockToken", "SequenceNumber", "LockedUntilUtc"] {
        assert!(
            !delivery.broker[name].is_null(),
            "{name}: {}",
            delivery.broker
        );
    }
    for (name, value) in [
        ("service", json!("platform-ocr")),
        ("mode", json!("DEFAULT")),
        ("tenant_id", json!(&tenant)),
        ("jobId", json!(job)),
        ("stepId", json!("ocr")),
    ] {
        assert_eq!(delivery.property(name), value, "{name}");
    }
    for name in ["lane", "attempt_no"] {
        // A number may come as one or as its text.
        let shown = delivery.property(name).to_string();
        assert_eq!(
            shown.trim_matches('"'),
            delivery.directive[name].to_string(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn job_and_steps_show_where_the_work_stands() {
    let host = Setup::quick().start().await;
    let client = host.client();
    let tenant = "views";
    let job = client
        .submit(&with(
            order(tenant, "OCR->EMBEDDING"),
            json!({ "correlation_id": "c-1" }),
        ))
        .await;
    let ocr = host.worker("platform-ocr");
    let delivery = ocr.next(tenant).await;
    client.step_in(&job, "ocr", "AWAITING_ACK").await;
    ocr.ack(&delivery).await.expect(200);
    ocr.heartbeat(&delivery, 40).await.expect(200);

    let shown = client.job(&job).await;
    assert_eq!(shown["state"], "IN_PROGRESS");
    assert_eq!(shown["current_step_id"], "ocr");
    assert_eq!(shown["current_step_index"], 0);
    assert_eq!(shown["correlation_id"], "c-1");
    assert_eq!(shown["registry_generation"], 1);
    assert!(shown["completed_at"].is_null(), "{shown}");
    let step = client.step(&job, "ocr").await;
    assert_eq!(step["state"], "IN_PROGRESS");
    assert_eq!(step["service"], "platform-ocr");
    assert_eq!(step["attempt_no"], 1);
    assert_eq!(step["progress"]["percent"].as_f64(), Some(40.0));
    assert_eq!(step["progress"]["message"], "at work");
    assert!(step["lease_expires_at"].is_string(), "{step}");
    let plugin = &step["plugin"];
    assert_eq!(
        (&plugin["id"], &plugin["version"]),
        (&json!("ocr"), &json!("1.0.0"))
    );
    assert_eq!(plugin["digest"].as_str().map(str::len), Some(64));
    assert_eq!(client.step(&job, "embedding").await["state"], "PENDING");

    let made = delivery.success(&[lucius_tests::orders::artifact("ocr")]);
    ocr.result(&delivery, &made).await.expect(200);
    let next = client.job(&job).await;
    assert_eq!(
        (&next["current_step_id"], &next["current_step_index"]),
        (&json!("embedding"), &json!(1))
    );

    let events = client.events(&job).await;
    let numbers: Vec<u64> = events
        .iter()
        .filter_map(|event| event["seq"].as_u64())
        .collect();
    assert_eq!(
        numbers,
        (1..=events.len() as u64).collect::<Vec<_>>(),
        "no gaps"
    );
    let types: Vec<_> = events
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    for kind in [
        "accepted",
        "decided",
        "attempt_created",
        "acked",
        "lease_renewed",
        "result_received",
    ] {
        assert!(types.contains(&kind), "{kind}: {types:?}");
    }
}

#[tokio::test]
async fn an_event_stream_shows_all_events_and_ends_with_the_job() -> anyhow::Result<()> {
    let mut host = host_for(1).await;
    let tenant = host.tenant("watched");
    let client = host.client();
    let job = client.submit(&order(&tenant, "OCR")).await;
    let path = format!("/v1/jobs/{job}/events");
    let request = client
        .request(reqwest::Method::GET, &path)
        .header("accept", "text/event-stream");
    let mut stream = request.send().await?;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    // Something arrives while the job is still open.
    let first = stream.chunk().await?;
    assert!(
        first
            .as_ref()
            .is_some_and(|bytes| bytes.starts_with(b"id:") || bytes.starts_with(b"event:"))
    );

    do_step(&host, &tenant, "ocr").await;
    let mut text = first.map(|bytes| bytes.to_vec()).unwrap_or_default();
    while let Some(chunk) = stream.chunk().await? {
        text.extend_from_slice(&chunk);
    }
    let text = String::from_utf8(text)?;
    let streamed: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .map(|data| serde_json::from_str(data.trim()))
        .collect::<Result<_, _>>()?;
    assert_eq!(streamed, client.events(&job).await);
    assert_eq!(
        streamed.last().map(|event| &event["type"]),
        Some(&json!("job_succeeded"))
    );
    Ok(())
}

#[tokio::test]
async fn an_empty_text_is_not_embedded_and_the_job_says_why() {
    let mut host = host_for(1).await;
    let tenant = host.tenant("blank");
    let client = host.client();
    let job = client.submit(&order(&tenant, "OCR->EMBEDDING->SIS")).await;
    let ocr = host.worker("platform-ocr");
    let delivery = ocr.next(&tenant).await;
    ocr.finish(&delivery, &delivery.success(&[empty_text()]))
        .await;

    client.job_in(&job, "SUCCEEDED").await;
    let step = client.step(&job, "embedding").await;
    assert_eq!(step["state"], "SKIPPED");
    assert_eq!(step["attempt_no"], 0);
    assert!(
        step["skip_reason"]
            .as_str()
            .is_some_and(|why| why.contains("no text")),
        "{step}"
    );
    assert_eq!(client.step(&job, "sis").await["state"], "SKIPPED");
    assert!(
        host.worker("platform-embedding")
            .now(&tenant)
            .await
            .is_none()
    );
}

#[tokio::test]
async fn a_success_without_artifacts_is_not_believed() {
    let mut host = host_for(1).await;
    let tenant = host.tenant("liar");
    let client = host.client();
    let job = client.submit(&order(&tenant, "OCR")).await;
    let ocr = host.worker("platform-ocr");
    let delivery = ocr.next(&tenant).await;
    ocr.finish(&delivery, &delivery.success(&[])).await;
    let ended = client.job_in(&job, "FAILED_FINAL").await;
    assert_eq!(ended["error_code"], "ARTIFACTS_MISSING");
    assert_eq!(
        client.step(&job, "ocr").await["last_error_code"],
        "ARTIFACTS_MISSING"
    );
}

#[tokio::test]
async fn each_step_gets_its_own_payload_normalized_by_its_plugin() {
    let mut host = host_for(1).await;
    let tenant = host.tenant("payloads");
    let client = host.client();
    let payload = json!({ "steps": {
        "ocr": { "page_range": " 1 - 3, 5 ", "language_hint": "deu" },
        "embedding": { "chunking": { "max_tokens": 64, "overlap_tokens": 8 }, "an_unknown_member": [1] },
    }});
    client
        .submit(&with(
            order(&tenant, "OCR->EMBEDDING"),
            json!({ "payload": payload }),
        ))
        .await;
    let ocr = do_step(&host, &tenant, "ocr").await.directive;
    assert_eq!(ocr["payload"]["page_range"], "1-3,5");
    assert_eq!(ocr["payload"]["language_hint"], "deu");
    let embedding = do_step(&host, &tenant, "embedding").await.directive;
    assert_eq!(embedding["payload"]["chunking"]["max_tokens"], 64);
    assert_eq!(embedding["payload"]["an_unknown_member"], json!([1]));
    assert_eq!(
        embedding["payload"]["model"], "all-MiniLM-L6-v2",
        "defaults are written down"
    );
}
