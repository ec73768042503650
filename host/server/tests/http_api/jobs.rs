//! Looking at jobs, and the two verbs.

use axum::http::{Method, StatusCode};
use lucius_memory::faulty::Fault;
use serde_json::{Value, json};

use crate::host::{Host, command, command_with, failed};

fn ids(page: &Value) -> Vec<String> {
    let jobs = page["jobs"].as_array().unwrap();
    jobs.iter()
        .map(|job| job["jobId"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_job_shows_all_that_the_interface_names() {
    let host = Host::start().await;
    let id = host.submit(&command()).await;
    let job = host.get(&format!("/v1/jobs/{id}")).await.json();
    let expected = json!({
        "jobId": id, "tenant_id": "acme", "request_type": "OCR->EMBEDDING", "protocol_id": "ocr-embedding.v1",
        "mode": "DEFAULT", "decision_source": "GLOBAL_CONFIG", "decision_reason": "the host's default is DEFAULT",
        "state": "QUEUED", "current_step_id": "ocr", "current_step_index": 0, "attempts_total": 1,
        "registry_generation": 1, "doc_id": "letter", "priority": 5, "lane": job["lane"],
        "created_at": job["created_at"], "updated_at": job["updated_at"], "completed_at": null,
        "error_code": null, "error_message": null, "correlation_id": "c-1",
        "input_ref": "file:///in/letter.pdf", "output_ref": "file:///out/",
    });
    assert_eq!(job, expected);
    assert!(
        job["created_at"]
            .as_str()
            .unwrap()
            .starts_with("2023-11-14T22:13:2"),
        "{job}"
    );
    assert!(job["lane"].as_u64().unwrap() < 16);
}

#[tokio::test]
async fn a_job_that_is_over_has_no_current_step_and_says_when_it_ended() {
    let host = Host::start().await;
    let id = host.submit(&command()).await;
    host.finish(&id).await;
    let job = host.get(&format!("/v1/jobs/{id}")).await.json();
    assert_eq!(
        (&job["state"], &job["current_step_id"]),
        (&json!("SUCCEEDED"), &Value::Null)
    );
    assert_eq!(
        (&job["current_step_index"], &job["attempts_total"]),
        (&json!(2), &json!(2))
    );
    assert!(job["completed_at"].is_string());
}

#[tokio::test]
async fn steps_show_where_each_stands() {
    let host = Host::start().await;
    let id = host.submit(&command()).await;
    let path = format!("/v1/jobs/{id}/steps");
    let directive = host.directive(&id).await;
    let steps = host.get(&path).await.json();
    assert_eq!(steps["steps"][0]["state"], "AWAITING_ACK");
    assert_eq!(steps["steps"][0]["outbox_state"], "SENT");
    host.callback("ack", &directive, json!({ "status": "ACKED" }))
        .await;
    let progress = json!({ "progress": { "percent": 40, "message": "page 2" } });
    host.callback("heartbeat", &directive, progress).await;
    let steps = host.get(&path).await.json();
    let [ocr, embedding] = steps["steps"].as_array().unwrap().as_slice() else {
        panic!("two steps: {steps}");
    };
    let expected = json!({
        "step_id": "ocr", "step_type": "OCR", "service": "platform-ocr", "state": "IN_PROGRESS",
        "attempt_no": 1, "max_attempts": 3, "lease_expires_at": ocr["lease_expires_at"],
        "attempt_ends_by": ocr["attempt_ends_by"],
        "progress": { "percent": 40.0, "message": "page 2" },
        "plugin": { "id": "fake", "version": "1.0.0", "digest": ocr["plugin"]["digest"] },
        "lane": directive["lane"], "routing_key_used": "acme", "resolved_mode": "DEFAULT",
        "decision_source": "GLOBAL_CONFIG", "decision_reason": "the host's default is DEFAULT",
        "artifact_refs": [], "output_ref": null, "last_error_code": null, "last_error_message": null,
        "skip_reason": null, "next_attempt_at": null, "outbox_state": "SENT",
    });
    assert_eq!(*ocr, expected);
    assert!(ocr["lease_expires_at"].is_string() && ocr["attempt_ends_by"].is_string());
    assert_eq!(ocr["plugin"]["digest"].as_str().unwrap().len(), 64);
    assert_eq!(
        (&embedding["state"], &embedding["attempt_no"]),
        (&json!("PENDING"), &json!(0))
    );
    assert_eq!(embedding["service"], "platform-embedding");
}

#[tokio::test]
async fn a_step_that_waits_for_another_attempt_says_why_and_until_when() {
    let host = Host::start().await;
    let id = host.submit(&command()).await;
    let directive = host.directive(&id).await;
    host.callback("result", &directive, failed("RETRYABLE"))
        .await;
    let steps = host.get(&format!("/v1/jobs/{id}/steps")).await.json();
    let step = &steps["steps"][0];
    assert_eq!(step["state"], "FAILED_RETRY");
    assert_eq!(step["last_error_code"], "NO_TEXT");
    assert_eq!(step["last_error_message"], "there is no text");
    assert!(step["next_attempt_at"].is_string());
}

#[tokio::test]
async fn a_skipped_step_says_why_and_a_step_without_a_plugin_says_so() {
    let host = Host::start().await;
    let id = host
        .submit(&command_with("payload", json!({ "do": "skip" })))
        .await;
    let steps = host.get(&format!("/v1/jobs/{id}/steps")).await.json();
    assert_eq!(steps["steps"][0]["state"], "SKIPPED");
    assert_eq!(steps["steps"][0]["skip_reason"], "nothing to do");
    let id = host.submit(&command_with("request_type", "PLAIN")).await;
    let steps = host.get(&format!("/v1/jobs/{id}/steps")).await.json();
    assert_eq!(steps["steps"][0]["plugin"], Value::Null);
    assert_eq!(steps["steps"][0]["service"], "third-party");
}

#[tokio::test]
async fn a_list_goes_from_new_to_old_page_by_page() {
    let host = Host::start().await;
    let mut made = Vec::new();
    for number in 0..5 {
        made.push(
            host.submit(&command_with("doc_id", format!("d{number}")))
                .await,
        );
    }
    made.reverse();
    let first = host.get("/v1/jobs?limit=2").await.json();
    assert_eq!(ids(&first), made[..2]);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = host
        .get(&format!("/v1/jobs?limit=3&cursor={cursor}"))
        .await
        .json();
    assert_eq!(ids(&second), made[2..]);
    assert_eq!(
        second["next_cursor"],
        Value::Null,
        "the page is full, and there is nothing after it"
    );
    assert_eq!(ids(&host.get("/v1/jobs").await.json()), made);
    host.get(&format!("/v1/jobs?tenant_id=acme&cursor={cursor}"))
        .await
        .problem(400, "INVALID_CURSOR");
    host.get("/v1/jobs?cursor=nonsense")
        .await
        .problem(400, "INVALID_CURSOR");
}

#[tokio::test]
async fn a_list_shows_what_fits_the_filter_and_refuses_what_is_none() {
    let host = Host::start().await;
    let acme = host.submit(&command()).await;
    let other = host.submit(&command_with("tenant_id", "other")).await;
    let plain = host.submit(&command_with("request_type", "PLAIN")).await;
    host.bare(Method::POST, &format!("/v1/jobs/{plain}:cancel"))
        .await;
    let listed = async |query: &str| ids(&host.get(&format!("/v1/jobs?{query}")).await.json());
    assert_eq!(listed("tenant_id=other").await, [other.as_str()]);
    assert_eq!(listed("state=CANCELLED").await, [plain.as_str()]);
    assert_eq!(
        listed("request_type=OCR-%3EEMBEDDING&tenant_id=acme").await,
        [acme.as_str()]
    );
    assert_eq!(listed("state=SUCCEEDED").await, [""; 0]);
    for query in [
        "state=DONE",
        "limit=0",
        "limit=501",
        "limit=many",
        "tenant=acme",
        "state=",
        "a",
    ] {
        host.get(&format!("/v1/jobs?{query}"))
            .await
            .problem(400, "INVALID_QUERY");
    }
    host.get(&format!("/v1/jobs/{acme}?x=1"))
        .await
        .problem(400, "INVALID_QUERY");
}

#[tokio::test]
async fn a_job_that_is_not_there_is_not_found_whatever_is_asked_of_it() {
    let host = Host::start().await;
    let known = host.submit(&command()).await;
    let simple = known.replace('-', "");
    let braced = format!("%7B{known}%7D");
    let unknown = "018bcfe5-6800-7000-8000-00000000ffff".to_owned();
    for id in [
        unknown,
        "x".to_owned(),
        simple,
        braced,
        "%ff".to_owned(),
        " ".replace(' ', "%20"),
    ] {
        for path in ["", "/steps", "/events"] {
            host.get(&format!("/v1/jobs/{id}{path}"))
                .await
                .problem(404, "JOB_NOT_FOUND");
        }
    }
    for id in ["018bcfe5-6800-7000-8000-00000000ffff", "x", "x:y", ""] {
        for verb in ["cancel", "redrive"] {
            let answer = host
                .bare(Method::POST, &format!("/v1/jobs/{id}:{verb}"))
                .await;
            let code = if id.contains(':') {
                "NOT_FOUND"
            } else {
                "JOB_NOT_FOUND"
            };
            answer.problem(404, code);
        }
    }
}

#[tokio::test]
async fn cancelling_answers_with_the_job_and_not_a_second_time() {
    let host = Host::start().await;
    let id = host.submit(&command()).await;
    let path = format!("/v1/jobs/{id}:cancel");
    let answer = host.bare(Method::POST, &path).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(
        (&answer.json()["jobId"], &answer.json()["state"]),
        (&json!(id), &json!("CANCELLED"))
    );
    host.bare(Method::POST, &path)
        .await
        .problem(409, "JOB_TERMINAL");

    let id = host.submit(&command_with("doc_id", "out")).await;
    host.directive(&id).await;
    let escaped = format!("/v1/jobs/{id}%3Acancel");
    for _ in 0..2 {
        let answer = host.bare(Method::POST, &escaped).await;
        assert_eq!(
            (answer.status, &answer.json()["state"]),
            (StatusCode::ACCEPTED, &json!("CANCELLING"))
        );
    }
}

#[tokio::test]
async fn redriving_is_for_failed_jobs_alone() {
    let host = Host::start().await;
    let id = host.submit(&command()).await;
    let path = format!("/v1/jobs/{id}:redrive");
    host.bare(Method::POST, &path)
        .await
        .problem(409, "JOB_NOT_FAILED");
    let directive = host.directive(&id).await;
    host.callback("result", &directive, failed("NON_RETRYABLE"))
        .await;
    let job = host.get(&format!("/v1/jobs/{id}")).await.json();
    assert_eq!(
        (&job["state"], &job["error_code"]),
        (&json!("FAILED_FINAL"), &json!("NO_TEXT"))
    );
    assert_eq!(job["error_message"], "there is no text");

    let answer = host.bare(Method::POST, &path).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let job = answer.json();
    assert_eq!(
        (&job["error_code"], &job["completed_at"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(host.directive(&id).await["attempt_no"], 2);
}

#[tokio::test]
async fn every_read_and_verb_says_when_the_ledger_is_away() {
    let host = Host::start().await;
    let id = host.submit(&command()).await;
    host.ledger.set_outage(Some(Fault::Before));
    for path in [
        "/v1/jobs".to_owned(),
        format!("/v1/jobs/{id}"),
        format!("/v1/jobs/{id}/steps"),
        format!("/v1/jobs/{id}/events"),
        "/v1/registry".to_owned(),
    ] {
        host.get(&path).await.problem(503, "LEDGER_UNAVAILABLE");
    }
    for path in [
        format!("/v1/jobs/{id}:cancel"),
        "/v1/registry:reload".to_owned(),
    ] {
        host.bare(Method::POST, &path)
            .await
            .problem(503, "LEDGER_UNAVAILABLE");
    }
}
