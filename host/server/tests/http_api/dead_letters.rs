//! Dead letters, redrives, and the filters of the job list.

use serde_json::{Value, json};

use crate::host::{Host, command, command_with, failed};

/// A job that failed for good.
async fn dead(host: &Host, doc: &str) -> String {
    let id = host.submit(&command_with("doc_id", doc)).await;
    let directive = host.directive(&id).await;
    let answer = host
        .callback("result", &directive, failed("NON_RETRYABLE"))
        .await;
    assert_eq!(answer.json(), json!({ "applied": true }));
    let job = host.get(&format!("/v1/jobs/{id}")).await.json();
    assert_eq!(job["state"], "FAILED_FINAL", "{job}");
    id
}

async fn redrive(host: &Host, order: Value) -> Value {
    let answer = host.post("/v1/redrives", &order).await;
    let redrive = answer.json();
    assert_eq!(answer.status.as_u16(), 202, "{redrive}");
    let path = format!("/v1/redrives/{}", redrive["id"].as_str().unwrap());
    assert_eq!(answer.header("location"), path);
    assert_eq!(host.get(&path).await.json(), redrive);
    redrive
}

#[tokio::test]
async fn failed_jobs_are_one_group_a_reason_and_are_started_again() {
    let host = Host::start().await;
    let nothing = json!({ "groups": [], "queues": [] });
    assert_eq!(host.get("/v1/dead-letters").await.json(), nothing);
    let jobs = [dead(&host, "a").await, dead(&host, "b").await];
    let found = host.get("/v1/dead-letters").await.json();
    let group = &found["groups"][0];
    assert_eq!(found["groups"].as_array().unwrap().len(), 1, "{found}");
    let job = host.get(&format!("/v1/jobs/{}", jobs[1])).await.json();
    assert_eq!(group["error_code"], job["error_code"]);
    assert_eq!((&group["count"], &group["samples"][0]), (&json!(2), &job));
    assert_eq!(
        (&group["step_id"], &group["service"]),
        (&json!("ocr"), &json!("platform-ocr"))
    );
    let other = host.get("/v1/dead-letters?tenant_id=nobody").await.json();
    assert_eq!(other, nothing);

    let signature = group["signature"].as_str().unwrap();
    let order = json!({ "filter": { "signature": signature }, "rate": 500, "reason": "mended" });
    let mut dry = order.clone();
    dry["dry_run"] = true.into();
    let answer = host.post("/v1/redrives", &dry).await;
    assert_eq!(answer.status.as_u16(), 200);
    let would = answer.json();
    assert_eq!(
        (&would["state"], &would["matched"]),
        (&json!("DRY_RUN"), &json!(2))
    );
    assert_eq!(would["id"], Value::Null);
    let none = json!({ "redrives": [] });
    assert_eq!(
        host.get("/v1/redrives").await.json(),
        none,
        "a dry run leaves nothing"
    );

    let begun = redrive(&host, order).await;
    assert_eq!(
        begun["filter"],
        json!({ "source": "jobs", "signature": signature })
    );
    assert_eq!(
        (&begun["requested_by"], &begun["reason"]),
        (&json!("open"), &json!("mended"))
    );
    assert_eq!(host.engine.redrive_tick().await.unwrap(), 2);
    host.clock.advance(1_000);
    assert_eq!(host.engine.redrive_tick().await.unwrap(), 0);
    let ended = &host.get("/v1/redrives").await.json()["redrives"][0];
    assert_eq!(
        (&ended["state"], &ended["redriven"]),
        (&json!("DONE"), &json!(2))
    );
    assert_eq!(host.get("/v1/dead-letters").await.json(), nothing);
    for job in &jobs {
        let job = host.get(&format!("/v1/jobs/{job}")).await.json();
        assert_eq!(job["completed_at"], Value::Null, "{job}");
    }
    let over = format!("/v1/redrives/{}:cancel", ended["id"].as_str().unwrap());
    let answer = host.bare(axum::http::Method::POST, &over).await;
    answer.problem(409, "REDRIVE_OVER");
}

#[tokio::test]
async fn a_redrive_can_be_stopped() {
    let host = Host::start().await;
    let job = dead(&host, "a").await;
    let begun = redrive(&host, json!({ "filter": {}, "reason": "mended" })).await;
    let path = format!("/v1/redrives/{}:cancel", begun["id"].as_str().unwrap());
    let answer = host.bare(axum::http::Method::POST, &path).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["state"]),
        (202, &json!("CANCELLED"))
    );
    // Both are on record, with what was asked for and why.
    let trail = host.get("/v1/audit").await.json();
    let acts = [
        &trail["entries"][0]["action"],
        &trail["entries"][1]["action"],
    ];
    assert_eq!(
        acts,
        ["POST /v1/redrives/{redriveId}:cancel", "POST /v1/redrives"]
    );
    let detail = trail["entries"][1]["detail"].as_str().unwrap();
    let id = begun["id"].as_str().unwrap();
    for part in [
        id,
        "1 of {\"source\":\"jobs\"}",
        "10 a second, pinned, mended",
    ] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    host.clock.advance(60_000);
    assert_eq!(host.engine.redrive_tick().await.unwrap(), 0);
    let job = host.get(&format!("/v1/jobs/{job}")).await.json();
    assert_eq!(job["state"], "FAILED_FINAL");
}

#[tokio::test]
async fn an_order_that_makes_no_sense_is_refused_and_says_why() {
    let host = Host::start().await;
    for order in [
        json!({}),
        json!({ "filter": { "error": "X" } }),
        json!({ "filter": {}, "rate": 0 }),
        json!({ "filter": {}, "rate": 501 }),
        json!({ "filter": {}, "version": "newest" }),
        json!({ "filter": { "signature": "OCR" } }),
        json!({ "filter": { "from": "yesterday" } }),
        json!({ "filter": { "lane": 3 } }),
        json!({ "filter": { "source": "bus", "lane": 3 } }),
        json!({ "filter": { "source": "bus", "lane": 16, "service": "s" } }),
        json!({ "filter": { "source": "bus", "lane": 3, "service": "s", "tenant_id": "a" } }),
        json!({ "filter": {}, "reason": "x".repeat(501) }),
        json!([]),
    ] {
        let answer = host.post("/v1/redrives", &order).await;
        answer.problem(422, "INVALID_REDRIVE");
    }
    for path in [
        "/v1/redrives/x",
        "/v1/redrives/0192c0de-0000-7000-8000-000000000001",
    ] {
        host.get(path).await.problem(404, "REDRIVE_NOT_FOUND");
    }
}

#[tokio::test]
async fn jobs_are_listed_by_protocol_error_signature_and_time() {
    let host = Host::start().await;
    let failed = dead(&host, "a").await;
    let live = host.submit(&command()).await;
    let job = host.get(&format!("/v1/jobs/{failed}")).await.json();
    let found = host.get("/v1/dead-letters").await.json();
    let signature = found["groups"][0]["signature"].as_str().unwrap().to_owned();
    let code = job["error_code"].as_str().unwrap();
    let all = [live.as_str(), failed.as_str()];
    for (query, expected) in [
        ("protocol_id=ocr-embedding.v1".to_owned(), &all[..]),
        ("protocol_id=none.v1".to_owned(), &[]),
        (format!("error_code={code}"), &all[1..]),
        (format!("signature={signature}"), &all[1..]),
        (format!("signature={signature}&error_code=NONE"), &[]),
        ("from=2100-01-01T00:00:00Z".to_owned(), &[]),
        ("until=2100-01-01T00:00:00Z".to_owned(), &all[..]),
    ] {
        let page = host.get(&format!("/v1/jobs?{query}")).await.json();
        let jobs = page["jobs"].as_array().unwrap();
        let ids: Vec<&str> = jobs
            .iter()
            .map(|job| job["jobId"].as_str().unwrap())
            .collect();
        assert_eq!(ids, expected, "{query}");
    }
}

#[tokio::test]
async fn a_dead_letter_queue_is_shown_and_drained() {
    use lucius_domain::routing::Lane;
    use lucius_ports::bus::Subscription as _;
    let host = Host::start().await;
    let id = host.submit(&command()).await;
    let directive = host.directive(&id).await;
    let lane = Lane::of("acme");
    let subscription = host.bus.subscription(lane, &"platform-ocr".into());
    for _ in 0..10 {
        let held = subscription
            .peek_lock(std::time::Duration::ZERO)
            .await
            .unwrap();
        subscription.abandon(&held.unwrap()).await.unwrap();
    }
    let queue = json!({ "lane": lane.number(), "service": "platform-ocr", "messages": 1 });
    let found = host.get("/v1/dead-letters").await.json();
    assert_eq!(found["queues"], json!([queue]));
    let filter = json!({ "source": "bus", "lane": lane.number(), "service": "platform-ocr" });
    let begun = redrive(&host, json!({ "filter": filter })).await;
    assert_eq!((&begun["filter"], &begun["matched"]), (&filter, &json!(1)));
    assert_eq!(host.engine.redrive_tick().await.unwrap(), 1);
    let again = subscription
        .peek_lock(std::time::Duration::ZERO)
        .await
        .unwrap();
    let again: Value = serde_json::from_str(&again.unwrap().body).unwrap();
    assert_eq!(again, directive);
}
