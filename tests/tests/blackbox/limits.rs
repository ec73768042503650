//! When the host says no, and when it says yes again.

use lucius_tests::host::Setup;
use lucius_tests::orders::{order, with};
use lucius_tests::registry::Copied;
use serde_json::{Value, json};

fn numbered(tenant: &str, number: u32) -> Value {
    let more = json!({ "idempotency_key": number.to_string(), "doc_id": number.to_string() });
    with(order(tenant, "OCR"), more)
}

#[tokio::test]
async fn a_tenant_has_as_many_jobs_in_flight_as_it_may_and_others_do_not_feel_it()
-> anyhow::Result<()> {
    let mut registry = Copied::new()?;
    registry.manifest["tenants"] = json!({ "large": { "inflight": 3 } });
    registry.write()?;
    let host = Setup::quick()
        .registry(registry.path())
        .with("LIMITS_TENANT_INFLIGHT", 2)
        .start()
        .await;
    let client = host.client();
    for (tenant, limit) in [("small", 2), ("large", 3)] {
        for number in 0..limit {
            client.submit(&numbered(tenant, number)).await;
        }
        let refused = client.post("/v1/commands", &numbered(tenant, limit)).await;
        let refused = refused.expect_problem(429, "TENANT_LIMIT");
        assert!(
            refused
                .header("retry-after")
                .parse::<u64>()
                .is_ok_and(|seconds| seconds >= 1)
        );
        let known = client
            .post("/v1/commands", &numbered(tenant, 0))
            .await
            .expect(202);
        assert_eq!(
            known.body["duplicate"], true,
            "a command that is known is no new one"
        );
    }
    host.worker("platform-ocr").succeed("small").await;
    client.submit(&numbered("small", 9)).await;
    Ok(())
}

#[tokio::test]
async fn the_limits_of_the_host_count_all_tenants_and_those_of_a_mode_only_its_jobs() {
    let host = Setup::quick()
        .with("LIMITS_GLOBAL_INFLIGHT", 3)
        .with("LIMITS_BURST_INFLIGHT", 1)
        .start()
        .await;
    let client = host.client();
    let burst = |number| with(numbered("a", number), json!({ "mode": "BURST" }));
    client.submit(&burst(1)).await;
    client
        .post("/v1/commands", &burst(2))
        .await
        .expect_problem(429, "GLOBAL_LIMIT");
    client.submit(&numbered("b", 3)).await;
    client.submit(&numbered("c", 4)).await;
    client
        .post("/v1/commands", &numbered("d", 5))
        .await
        .expect_problem(429, "GLOBAL_LIMIT");
    assert_eq!(
        client.get("/readyz").await.status,
        200,
        "a host that is full is ready all the same"
    );
}

#[tokio::test]
async fn limits_count_what_was_accepted_before_a_crash() {
    let mut host = Setup::quick()
        .with("LIMITS_TENANT_INFLIGHT", 1)
        .start()
        .await;
    host.client().submit(&numbered("t", 1)).await;
    host.crash().await;
    host.client()
        .post("/v1/commands", &numbered("t", 2))
        .await
        .expect_problem(429, "TENANT_LIMIT");
}
