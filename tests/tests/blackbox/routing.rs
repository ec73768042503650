//! Lanes, topics and modes.

use lucius_tests::client::Client;
use lucius_tests::host::{Host, Setup};
use lucius_tests::lane;
use lucius_tests::orders::{order, with};
use lucius_tests::registry::Copied;
use serde_json::{Value, json};

async fn found_in(host: &Host, client: &Client, order: &Value, key: &str) -> Value {
    let job = client.submit(order).await;
    let delivery = host.worker("platform-ocr").next_in(&lane::topic(key)).await;
    assert_eq!(
        delivery.directive["jobId"],
        job.as_str(),
        "alone in its lane"
    );
    assert_eq!(delivery.directive["routing_key_used"], key);
    assert_eq!(delivery.directive["lane"], lane::of_key(key));
    let step = client.step(&job, "ocr").await;
    assert_eq!(step["lane"], lane::of_key(key));
    assert_eq!(step["routing_key_used"], key);
    host.worker("platform-ocr")
        .complete(&delivery)
        .await
        .expect(200);
    step
}

#[tokio::test]
async fn a_tenants_lane_is_the_crc_32_of_its_normalized_name() {
    let host = Setup::quick().start().await;
    let client = host.client();
    let tenants = [
        "acme",
        "ACME",
        "  Acme ",
        "Müller & Söhne",
        "a/b#c?d\\e",
        "東京",
        "x",
        "Ünïcödé-42",
    ];
    for tenant in tenants {
        found_in(&host, &client, &order(tenant, "OCR"), &lane::norm(tenant)).await;
    }
}

#[tokio::test]
async fn burst_spreads_a_tenant_by_document_and_needs_one() {
    let host = Setup::quick().start().await;
    let client = host.client();
    for number in 0..8 {
        let document = format!(" Doc-{number} ");
        let order = with(
            order("Burst Co", "OCR"),
            json!({ "mode": "BURST", "doc_id": document }),
        );
        let step = found_in(&host, &client, &order, &format!("burst codoc-{number}")).await;
        assert_eq!(step["resolved_mode"], "BURST");
        assert_eq!(step["decision_source"], "REQUEST");
    }
    let without = with(order("Burst Co", "OCR"), json!({ "mode": "BURST" }));
    client
        .post("/v1/commands", &without)
        .await
        .expect_problem(400, "DOC_ID_REQUIRED");
    let blank = with(without, json!({ "doc_id": "  " }));
    client
        .post("/v1/commands", &blank)
        .await
        .expect_problem(400, "DOC_ID_REQUIRED");
}

#[tokio::test]
async fn the_request_decides_the_mode_before_the_tenant_and_the_tenant_before_the_host()
-> anyhow::Result<()> {
    let mut registry = Copied::new()?;
    registry.manifest["tenants"] =
        json!({ "plain": { "mode": "DEFAULT" }, "eager": { "mode": "BURST" } });
    registry.write()?;
    let host = Setup::quick()
        .registry(registry.path())
        .with("ROUTING_DEFAULT_MODE", "BURST")
        .start()
        .await;
    let client = host.client();
    let document = json!({ "doc_id": "D" });
    for (tenant, asked, mode, source) in [
        ("plain", json!("BURST"), "BURST", "REQUEST"),
        ("plain", Value::Null, "DEFAULT", "TENANT_CONFIG"),
        ("eager", json!("DEFAULT"), "DEFAULT", "REQUEST"),
        ("eager", Value::Null, "BURST", "TENANT_CONFIG"),
        ("other", json!("DEFAULT"), "DEFAULT", "REQUEST"),
        ("other", Value::Null, "BURST", "GLOBAL_CONFIG"),
    ] {
        let more = json!({ "mode": asked, "idempotency_key": format!("{tenant} {asked}") });
        let order = with(with(order(tenant, "OCR"), document.clone()), more);
        let job = client.job(&client.submit(&order).await).await;
        let step = client
            .step(job["jobId"].as_str().unwrap_or_default(), "ocr")
            .await;
        assert_eq!(
            (&job["mode"], &step["decision_source"]),
            (&json!(mode), &json!(source)),
            "{tenant} {asked}"
        );
        assert!(
            step["decision_reason"]
                .as_str()
                .is_some_and(|why| why.contains(mode)),
            "{step}"
        );
        let key = if mode == "BURST" {
            format!("{tenant}d")
        } else {
            tenant.to_owned()
        };
        assert_eq!(step["routing_key_used"], key);
    }
    Ok(())
}
