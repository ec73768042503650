//! The registry over HTTP.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::host::Host;

#[tokio::test]
async fn the_live_generation_is_shown_with_plugins_and_protocols() {
    let host = Host::start().await;
    let registry = host.get("/v1/registry").await.json();
    assert_eq!(registry["generation"], 1);
    assert!(registry["activated_at"].is_string());
    let plugin = &registry["plugins"][0];
    let expected = json!({
        "id": "fake", "version": "1.0.0", "digest": plugin["digest"], "state": "active",
        "services": ["platform-ocr", "platform-embedding"],
        "limits": { "memory_bytes": 16_777_216, "deadline_ms": 250, "fuel": 200_000_000, "output_bytes": 1_048_576 },
    });
    assert_eq!(*plugin, expected);
    assert_eq!(registry["protocols"][1]["protocol_id"], "ocr-embedding.v1");
    assert_eq!(
        registry["protocols"][1]["request_types"],
        json!(["OCR->EMBEDDING"])
    );
    let step = json!({
        "step_id": "embedding", "step_type": "EMBEDDING", "service": "platform-embedding", "plugin": "fake@1.0.0",
    });
    assert_eq!(registry["protocols"][1]["steps"][1], step);
    assert_eq!(registry["protocols"][2]["steps"][0]["plugin"], Value::Null);
    let last = &registry["last_reload"];
    assert_eq!((&last["ok"], &last["errors"]), (&json!(true), &json!([])));
    assert_eq!(registry["previous_generations"], json!([]));
}

#[tokio::test]
async fn a_reload_makes_the_next_generation_live_and_keeps_the_old_on_record() {
    let host = Host::start().await;
    let before = host.get("/v1/registry").await.json();
    host.shelf
        .edit(|manifest| manifest["protocols"][2]["request_types"] = json!(["PLAIN", "PURE"]));
    let answer = host.bare(Method::POST, "/v1/registry:reload").await;
    assert_eq!(answer.status, StatusCode::OK);
    let mut after = answer.json();
    let changes = after["changes"].take();
    after.as_object_mut().unwrap().remove("changes");
    assert_eq!(changes["next_generation"], 2);
    let changed = json!([{ "protocol_id": "plain.v1", "change": "changed" }]);
    assert_eq!(changes["protocols"], changed);
    assert_eq!(
        (&after["generation"], &after["last_reload"]["ok"]),
        (&json!(2), &json!(true))
    );
    let previous = json!([{
        "generation": 1, "activated_at": before["activated_at"], "digest": before["digest"],
    }]);
    assert_eq!(after["previous_generations"], previous);
    assert_eq!(host.get("/v1/registry").await.json(), after);
}

#[tokio::test]
async fn a_reload_that_is_refused_names_every_reason_and_changes_nothing() {
    let host = Host::start().await;
    host.shelf.edit(|manifest| {
        manifest["plugins"][0]["sha256"] = json!("0".repeat(64));
        manifest["protocols"][2]["steps"][0]["plugin"] = json!("nowhere@1.0.0");
    });
    let problem = host
        .bare(Method::POST, "/v1/registry:reload")
        .await
        .problem(422, "REGISTRY_REFUSED");
    let errors = problem["errors"].as_array().unwrap();
    let entries: Vec<&str> = errors
        .iter()
        .map(|error| error["entry"].as_str().unwrap())
        .collect();
    assert!(entries.contains(&"plugin fake@1.0.0"), "{entries:?}");
    assert!(
        entries.contains(&"protocol plain.v1 step plain"),
        "{entries:?}"
    );
    assert!(errors.iter().all(|error| error["reason"].is_string()));

    let registry = host.get("/v1/registry").await.json();
    assert_eq!(
        (&registry["generation"], &registry["last_reload"]["ok"]),
        (&json!(1), &json!(false))
    );
    assert_eq!(registry["last_reload"]["errors"], problem["errors"]);
}

#[tokio::test]
async fn a_plan_says_what_a_reload_would_do_and_does_nothing() {
    let host = Host::start().await;
    host.shelf
        .edit(|manifest| manifest["plugins"][0]["config"] = json!({ "more": true }));
    let plan = host.bare(Method::POST, "/v1/registry:plan").await;
    assert_eq!(plan.status, StatusCode::OK);
    let plan = plan.json();
    assert_eq!(
        (&plan["generation"], &plan["next_generation"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(plan["plugins"][0]["change"], "changed");
    assert_eq!(plan["plugins"][0]["jobs"], 0);
    assert_eq!(
        plan["replays"][0]["summary"],
        "fake 1.0.0 -> 1.0.0: 0 replayed, 0 same, 0 differ"
    );
    assert_eq!(host.get("/v1/registry").await.json()["generation"], 1);
    host.shelf.edit(|manifest| manifest["protocols"] = json!(7));
    let refused = host.bare(Method::POST, "/v1/registry:plan").await;
    refused.problem(422, "REGISTRY_REFUSED");
}

#[tokio::test]
async fn a_rollback_makes_what_was_live_before_live_again_as_a_new_generation() {
    let host = Host::start().await;
    let first = host.get("/v1/registry").await.json();
    let refused = host.bare(Method::POST, "/v1/registry:rollback").await;
    let problem = refused.problem(422, "REGISTRY_REFUSED");
    assert_eq!(problem["errors"][0]["entry"], "rollback");
    host.shelf
        .edit(|manifest| manifest["tenants"] = json!({ "acme": {} }));
    host.bare(Method::POST, "/v1/registry:reload").await;
    let back = host
        .bare(Method::POST, "/v1/registry:rollback")
        .await
        .json();
    assert_eq!(
        (&back["generation"], &back["origin"]),
        (&json!(3), &json!("rollback"))
    );
    assert_eq!(back["digest"], first["digest"]);
    let metrics = host.get("/metrics").await.text;
    let swap = metrics
        .lines()
        .find_map(|line| line.strip_prefix("lucius_registry_swap_seconds "));
    let swap: f64 = swap.expect("it is told").parse().expect("a number");
    assert!(swap > 0.0, "a pointer was swapped");
    let named = host
        .post("/v1/registry:rollback", &json!({ "to": 2 }))
        .await
        .json();
    assert_eq!(
        (&named["generation"], &named["latest_generation"]),
        (&json!(4), &json!(4))
    );
    let refused = host
        .post("/v1/registry:rollback", &json!({ "too": 2 }))
        .await;
    refused.problem(422, "INVALID_BODY");
}

#[tokio::test]
async fn a_refused_reload_is_seen_in_status_readiness_and_metrics_and_the_host_stays_ready() {
    let host = Host::start().await;
    assert_eq!(host.get("/v1/registry").await.json()["degraded"], false);
    host.shelf
        .edit(|manifest| manifest["plugins"][0]["sha256"] = json!("0".repeat(64)));
    let refused = host.bare(Method::POST, "/v1/registry:reload").await;
    let problem = refused.problem(422, "REGISTRY_REFUSED");
    let status = host.get("/v1/registry").await.json();
    assert_eq!(status["degraded"], true);
    assert_eq!(status["last_reload"]["errors"], problem["errors"]);
    let ready = host.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::OK);
    assert_eq!(ready.json()["checks"]["registry"], "degraded");
    let metrics = host.get("/metrics").await.text;
    assert!(metrics.contains("lucius_registry_degraded 1"), "{metrics}");
}

#[tokio::test]
async fn a_component_that_is_not_there_is_neither_approved_nor_released() {
    let host = Host::start().await;
    let digest = json!({ "digest": "0".repeat(64) });
    for verb in ["approve", "release"] {
        let path = format!("/v1/registry:{verb}");
        let refused = host.post(&path, &digest).await;
        let problem = refused.problem(422, "REGISTRY_REFUSED");
        assert_eq!(problem["errors"][0]["entry"], verb);
        let refused = host.post(&path, &json!({ "digest": "short" })).await;
        refused.problem(422, "INVALID_BODY");
    }
    let live = host.get("/v1/registry").await.json();
    let own = json!({ "digest": live["plugins"][0]["digest"] });
    let approval = host.post("/v1/registry:approve", &own).await;
    assert_eq!(approval.json()["plugin"], "fake@1.0.0");
}

#[tokio::test]
async fn a_jobs_decisions_are_shown_with_cases_and_it_can_be_moved() {
    let host = Host::start().await;
    let id = host.submit(&crate::host::command()).await;
    let path = format!("/v1/jobs/{id}/decisions");
    let decisions = host.get(&path).await.json();
    let functions: Vec<_> = decisions["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            (
                it["function"].as_str().unwrap(),
                it["case"]["call"].as_str().unwrap(),
            )
        })
        .collect();
    let validate = ("validate", "validate");
    assert_eq!(functions, [validate, validate, ("route", "route")]);
    let case = decisions["decisions"][2]["case"].clone();
    let case: lucius_ports::case::Case = serde_json::from_value(case).unwrap();
    assert_eq!(case.expect, decisions["decisions"][2]["answer"]);
    host.shelf
        .edit(|manifest| manifest["plugins"][0]["config"] = json!({ "more": true }));
    host.bare(Method::POST, "/v1/registry:reload").await;
    let migrate = format!("/v1/jobs/{id}:migrate");
    let moved = host.post(&migrate, &json!({ "to": 2 })).await;
    assert_eq!(moved.status, StatusCode::ACCEPTED, "{}", moved.text);
    assert_eq!(moved.json()["registry_generation"], 2);
    let refused = host.post(&migrate, &json!({ "to": 9 })).await;
    refused.problem(422, "MIGRATION_REFUSED");
    let nobody = "/v1/jobs/00000000-0000-0000-0000-000000000000";
    host.get(&format!("{nobody}/decisions"))
        .await
        .problem(404, "JOB_NOT_FOUND");
    let refused = host
        .post(&format!("{nobody}:migrate"), &json!({ "to": 2 }))
        .await;
    refused.problem(404, "JOB_NOT_FOUND");
}

#[tokio::test]
async fn a_plan_and_the_status_name_the_trial_that_makes_no_sense_and_the_list_of_trials() {
    let host = Host::start().await;
    assert_eq!(host.get("/v1/registry").await.json()["trials"], json!([]));
    let trial = json!({ "plugin": "fake@1.0.0", "candidate": "fake@2.0.0", "mode": "canary", "percent": 10 });
    host.shelf
        .edit(|manifest| manifest["trials"] = json!([trial]));
    let refused = host.bare(Method::POST, "/v1/registry:plan").await;
    let problem = refused.problem(422, "REGISTRY_REFUSED");
    assert_eq!(
        problem["errors"][0]["entry"],
        "trial fake@1.0.0 -> fake@2.0.0"
    );
}
