//! The read side: lists, health, metrics, the API's own description.

use lucius_tests::host::Setup;
use lucius_tests::orders::{order, with};
use lucius_tests::shared::host_for;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

fn ids(page: &Value) -> Vec<String> {
    let jobs = page["jobs"].as_array().into_iter().flatten();
    jobs.map(|job| job["jobId"].as_str().unwrap_or_default().to_owned())
        .collect()
}

fn sorted(ids: &[String]) -> Vec<String> {
    let mut ids = ids.to_vec();
    ids.sort();
    ids
}

#[tokio::test]
async fn lists_are_newest_first_filtered_and_paged_without_gaps() -> anyhow::Result<()> {
    let host = Setup::quick().start().await;
    let client = host.client();
    let mut made = Vec::new();
    for number in 0..7 {
        let tenant = if number % 2 == 0 { "even" } else { "odd" };
        let order = with(
            order(tenant, "OCR"),
            json!({ "idempotency_key": number.to_string() }),
        );
        made.push(client.submit(&order).await);
    }
    let all = client.get("/v1/jobs").await.expect(200).body;
    let jobs = all["jobs"].as_array().into_iter().flatten();
    let times: Vec<_> = jobs
        .map(|job| OffsetDateTime::parse(job["created_at"].as_str().unwrap_or_default(), &Rfc3339))
        .collect::<Result<_, _>>()?;
    assert!(
        times.is_sorted_by(|newer, older| newer >= older),
        "{times:?}"
    );
    let listed = ids(&all);
    assert_eq!(sorted(&listed), sorted(&made));
    assert!(all["next_cursor"].is_null(), "{all}");
    let even = client.get("/v1/jobs?tenant_id=even").await.expect(200).body;
    assert_eq!(ids(&even).len(), 4);

    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = client
            .get(&format!("/v1/jobs?limit=3{cursor}"))
            .await
            .expect(200)
            .body;
        paged.extend(ids(&page));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(paged, listed);
    host.worker("platform-ocr").succeed("odd").await;
    let path = "/v1/jobs?tenant_id=odd&state=SUCCEEDED&request_type=OCR";
    lucius_tests::wait::until("one that succeeded", async || {
        let found = client.get(path).await.expect(200).body;
        (ids(&found).len() == 1).then_some(())
    })
    .await;
    assert!(
        ids(&client
            .get("/v1/jobs?request_type=SIS")
            .await
            .expect(200)
            .body)
        .is_empty()
    );
    Ok(())
}

#[tokio::test]
async fn a_filter_that_means_nothing_is_refused() {
    let host = host_for(0).await;
    let client = host.client();
    for query in [
        "limit=0",
        "limit=many",
        "state=DONE",
        "cursor=x",
        "tenant=acme",
    ] {
        let answer = client.get(&format!("/v1/jobs?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text);
    }
}

#[tokio::test]
async fn the_host_tells_of_itself() -> anyhow::Result<()> {
    let host = Setup::quick().start().await;
    let client = host.client();
    client.get("/healthz").await.expect(200);
    client.get("/readyz").await.expect(200);
    client.submit(&order("counted", "OCR")).await;
    let metrics = client.get("/metrics").await.expect(200);
    assert!(metrics.text.contains("# TYPE "), "Prometheus text");
    assert!(metrics.text.trim_end().lines().count() > 10);
    assert!(!metrics.text.contains("counted"), "no tenant is a label");

    let document = client.get("/openapi.json").await.expect(200).body;
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.1"))
    );
    let paths = document["paths"]
        .as_object()
        .map(|paths| paths.keys().cloned().collect::<Vec<_>>());
    let paths = paths.unwrap_or_default();
    for path in [
        "/v1/commands",
        "/v1/jobs",
        "/v1/jobs/{jobId}",
        "/v1/jobs/{jobId}/steps",
        "/v1/jobs/{jobId}/events",
        "/v1/jobs/{jobId}:cancel",
        "/v1/jobs/{jobId}:redrive",
        "/v1/callbacks/ack",
        "/v1/callbacks/result",
        "/v1/callbacks/heartbeat",
        "/v1/registry",
        "/v1/registry:reload",
        "/healthz",
        "/readyz",
        "/metrics",
    ] {
        assert!(
            paths.iter().any(|known| known == path),
            "{path} is not described: {paths:?}"
        );
    }
    let text = document.to_string();
    let references = text
        .split("\"$ref\":\"#")
        .skip(1)
        .filter_map(|rest| rest.split('"').next());
    for pointer in references {
        assert!(
            document.pointer(pointer).is_some(),
            "{pointer} leads nowhere"
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_registry_shows_what_is_live() {
    let host = Setup::quick().start().await;
    let live = host.client().get("/v1/registry").await.expect(200).body;
    assert_eq!(live["generation"], 1);
    assert_eq!(live["last_reload"]["ok"], true);
    assert_eq!(live["previous_generations"], json!([]));
    let plugins: Vec<_> = live["plugins"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|p| &p["id"])
        .collect();
    assert_eq!(plugins, ["ocr", "embedding", "sis"]);
    assert_eq!(live["protocols"].as_array().map(Vec::len), Some(6));
}
