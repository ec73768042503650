//! How the gates stand, and pauses.

use axum::http::Method;
use lucius_engine::settings::Limits;
use lucius_memory::faulty::Fault;
use lucius_server::http::Settings;
use serde_json::{Value, json};

use crate::host::{Host, command, command_with, limits};

#[tokio::test]
async fn a_gate_that_refuses_shows_who_fills_it_and_how_often_it_refused() {
    let limits = Limits {
        tenant_inflight: 1,
        ..limits()
    };
    let host = Host::with(limits, Settings::default()).await;
    let job = host.submit(&command()).await;
    let more = command_with("doc_id", "another");
    let refused = host.post("/v1/commands", &more).await;
    refused.problem(429, "TENANT_LIMIT");

    let gates = host.get("/v1/gates").await.json();
    let tenant = &gates["gates"][0];
    assert_eq!(tenant["gate"], "tenant_inflight");
    assert_eq!(tenant["fullest"], "acme");
    assert_eq!(
        [&tenant["used"], &tenant["limit"], &tenant["refused"]],
        [1, 1, 1]
    );
    assert_eq!(gates["gates"][3]["freed_per_second"], 0.0);
    let names: Vec<&Value> = gates["gates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|gate| &gate["gate"])
        .collect();
    assert_eq!(
        names,
        [
            "tenant_inflight",
            "outbox_backlog",
            "burst_inflight",
            "global_inflight",
            "client_requests"
        ]
    );
    let metrics = host.get("/metrics").await.text;
    for line in [
        "lucius_jobs_refused_total{code=\"TENANT_LIMIT\"} 1",
        "lucius_gate_limit{gate=\"tenant_inflight\"} 1",
        "lucius_pauses 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }

    host.finish(&job).await;
    let gates = host.get("/v1/gates").await.json();
    assert!(
        gates["gates"][3]["freed_per_second"].as_f64().unwrap() > 0.0,
        "{gates}"
    );
    host.submit(&more).await;
}

#[tokio::test]
async fn an_operator_pauses_and_resumes_and_clients_are_told() {
    let host = Host::start().await;
    let pause = json!({ "target": "tenant:acme", "manner": "refuse", "reason": "cleaning up" });
    let pauses = host.post("/v1/pauses", &pause).await.json();
    assert_eq!(pauses["pauses"][0]["target"], "tenant:acme");
    assert_eq!(pauses["pauses"][0]["by"], "open");
    let refused = host.post("/v1/commands", &command()).await;
    let problem = refused.problem(503, "PAUSED");
    assert!(problem["detail"].as_str().unwrap().contains("cleaning up"));
    assert_eq!(refused.header("retry-after"), "30");
    assert_eq!(
        host.get("/v1/gates").await.json()["pauses"],
        pauses["pauses"]
    );

    let left = host
        .post("/v1/pauses:resume", &json!({ "target": "tenant:acme" }))
        .await;
    assert_eq!(left.json(), json!({ "pauses": [] }));
    host.submit(&command()).await;
    let trail = host.get("/v1/audit").await.json();
    let details: Vec<&Value> = trail["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["detail"])
        .collect();
    assert_eq!(details, ["tenant:acme", "tenant:acme, refuse"]);

    for wrong in [
        json!({ "target": "acme" }),
        json!({ "target": "lane:16" }),
        json!({ "target": "everything", "manner": "stop" }),
        json!({ "target": "everything", "why": "" }),
        json!({}),
    ] {
        host.post("/v1/pauses", &wrong)
            .await
            .problem(422, "INVALID_PAUSE");
    }
    host.bare(Method::DELETE, "/v1/pauses")
        .await
        .problem(405, "METHOD_NOT_ALLOWED");
}

#[tokio::test]
async fn a_sick_ledger_is_said_at_once_and_shown_until_it_is_well() {
    let host = Host::start().await;
    host.ledger.set_outage(Some(Fault::Before));
    for _ in 0..9 {
        let refused = host.post("/v1/commands", &command()).await;
        refused.problem(503, "LEDGER_UNAVAILABLE");
        host.clock.advance(300);
    }
    let refused = host.post("/v1/commands", &command()).await;
    let problem = refused.problem(503, "LEDGER_UNAVAILABLE");
    let line = "the ledger takes nothing just now, so nothing was tried: try again later";
    assert_eq!(problem["detail"], line);
    let health = host.get("/v1/gates").await.json()["health"].clone();
    assert_eq!(
        (&health[0]["store"], &health[0]["ok"]),
        (&json!("ledger"), &json!(false))
    );
    assert!(health[0]["failing_since"].is_string(), "{health}");
    assert_eq!(health[1]["ok"], true);
    // Here the ledger does not even answer; one that only takes no writes is "degraded".
    let ready = host.get("/readyz").await.problem(503, "NOT_READY");
    assert_eq!(ready["checks"]["ledger"], "unavailable");
    host.ledger.set_outage(None);
    let ready = host.get("/readyz").await.json();
    assert_eq!(ready["checks"]["ledger"], "degraded");
    host.ledger.set_outage(Some(Fault::Before));
    host.ledger.set_outage(None);
    host.clock.advance(1_000);
    host.submit(&command()).await;
    assert_eq!(host.get("/v1/gates").await.json()["health"][0]["ok"], true);
}
