//! Health and metrics.

use axum::http::{Method, StatusCode};
use lucius_memory::faulty::Fault;
use serde_json::json;

use crate::host::{Host, callback_request, command, command_with};

#[tokio::test]
async fn a_host_is_alive_whatever_is_broken_and_ready_when_nothing_is() {
    let host = Host::start().await;
    let ready = host.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::OK);
    let checks = json!({ "ledger": "ok", "bus": "ok", "registry": "ok", "draining": "ok" });
    assert_eq!(ready.json(), json!({ "status": "ready", "checks": checks }));

    host.bus.set_down(true);
    host.ledger.set_outage(Some(Fault::Before));
    host.engine.drain();
    let problem = host.get("/readyz").await.problem(503, "NOT_READY");
    let checks = json!({
        "ledger": "unavailable", "bus": "unavailable", "registry": "ok", "draining": "draining",
    });
    assert_eq!(problem["checks"], checks);
    let alive = host.get("/healthz").await;
    assert_eq!(
        (alive.status, alive.json()),
        (StatusCode::OK, json!({ "status": "ok" }))
    );
}

#[tokio::test]
async fn metrics_count_what_happened_with_bounded_labels() {
    let host = Host::start().await;
    let id = host.submit(&command()).await;
    host.submit(&command()).await;
    host.post("/v1/commands", &command_with("request_type", "XYZ"))
        .await;
    let directive = host.directive(&id).await;
    host.callback("ack", &directive, json!({ "status": "ACKED" }))
        .await;
    host.callback("ack", &directive, json!({ "status": "ACKED" }))
        .await;
    host.send(callback_request(
        "ack",
        &directive,
        json!({ "status": "ACKED" }),
        None,
    ))
    .await;
    host.get(&format!("/v1/jobs/{id}")).await;
    host.get("/made/up/path").await;
    host.bare(Method::from_bytes(b"MADEUP").unwrap(), "/v1/jobs")
        .await;
    host.bare(Method::POST, &format!("/v1/jobs/{id}:cancel"))
        .await;
    let mut burst = command_with("mode", "BURST");
    burst["doc_id"] = json!("other");
    host.submit(&burst).await;

    let answer = host.get("/metrics").await;
    assert!(
        answer
            .header("content-type")
            .starts_with("application/openmetrics-text; version=1.0.0")
    );
    let text = &answer.text;
    let expected = [
        r#"lucius_jobs_accepted_total{duplicate="false"} 2"#,
        r#"lucius_jobs_accepted_total{duplicate="true"} 1"#,
        r#"lucius_jobs_refused_total{code="UNSUPPORTED_REQUEST_TYPE"} 1"#,
        r#"lucius_callbacks_total{kind="ack",outcome="applied"} 2"#,
        r#"lucius_callbacks_total{kind="ack",outcome="TOKEN_MISSING"} 1"#,
        r#"lucius_http_requests_total{method="GET",route="/v1/jobs/{jobId}",status="200"} 1"#,
        r#"lucius_http_requests_total{method="GET",route="none",status="404"} 1"#,
        r#"lucius_http_requests_total{method="OTHER",route="/v1/jobs",status="405"} 1"#,
        r#"lucius_http_requests_total{method="POST",route="/v1/jobs/{jobId}:cancel",status="202"} 1"#,
        r#"lucius_http_request_duration_seconds_count{method="POST",route="/v1/commands"} 4"#,
        r#"lucius_jobs_in_flight{mode="DEFAULT"} 1"#,
        r#"lucius_jobs_in_flight{mode="BURST"} 1"#,
        "lucius_tenants_in_flight 1",
        "lucius_registry_generation 1",
        r#"lucius_build_info{version=""#,
        "# EOF",
    ];
    for line in expected {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let lanes = text
        .lines()
        .filter(|line| line.starts_with("lucius_outbox_pending{"));
    assert_eq!(lanes.clone().count(), 16);
    assert_eq!(
        lanes.filter(|line| line.ends_with(" 1")).count(),
        1,
        "one directive waits"
    );
    for unbounded in [id.as_str(), "acme", "made"] {
        assert!(!text.contains(unbounded), "{unbounded}");
    }
}

#[tokio::test]
async fn another_part_of_the_host_can_add_its_own_metrics() {
    let host = Host::start().await;
    let extra: prometheus_client::metrics::counter::Counter = Default::default();
    host.api
        .metrics()
        .register(|registry| registry.register("extra", "More", extra.clone()));
    extra.inc();
    assert!(
        host.get("/metrics")
            .await
            .text
            .contains("lucius_extra_total 1")
    );
}
