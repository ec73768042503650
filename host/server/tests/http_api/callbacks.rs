//! What services say back, and that their secrets stay with them.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::host::{Answer, Host, callback_request, command, failed, succeeded};

fn acked() -> Value {
    json!({ "status": "ACKED" })
}

fn applied(answer: &Answer) -> bool {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.json().as_object().unwrap().len(), 1, "{answer:?}");
    answer.json()["applied"].as_bool().unwrap()
}

#[tokio::test]
async fn an_attempt_goes_from_ack_to_result_and_repetitions_change_nothing() {
    let host = Host::start().await;
    let id = host.submit(&command()).await;
    let directive = host.directive(&id).await;
    let calls = [
        ("ack", acked()),
        ("heartbeat", json!({})),
        ("result", succeeded()),
    ];
    for (verb, body) in calls {
        let path = format!("/v1/jobs/{id}/steps");
        assert!(
            applied(&host.callback(verb, &directive, body.clone()).await),
            "{verb}"
        );
        let steps = host.get(&path).await.json();
        if verb != "heartbeat" {
            // A repetition gets the answer of the first; a heartbeat is never one.
            assert!(
                applied(&host.callback(verb, &directive, body).await),
                "{verb}"
            );
            assert_eq!(host.get(&path).await.json(), steps, "{verb}");
        }
    }
    assert_eq!(host.directive(&id).await["stepId"], "embedding");
}

#[tokio::test]
async fn a_contradiction_is_a_conflict_and_what_comes_late_is_not_applied() {
    let host = Host::start().await;
    let id = host.submit(&command()).await;
    let directive = host.directive(&id).await;
    host.callback("result", &directive, succeeded()).await;
    host.callback("result", &directive, failed("RETRYABLE"))
        .await
        .problem(409, "CALLBACK_CONFLICT");
    assert!(
        !applied(&host.callback("heartbeat", &directive, json!({})).await),
        "it is decided"
    );
    host.finish(&id).await;
    assert!(
        !applied(&host.callback("heartbeat", &directive, json!({})).await),
        "the job is over"
    );
}

#[tokio::test]
async fn an_attempt_that_was_given_up_is_stale() {
    let host = Host::start().await;
    let id = host.submit(&command()).await;
    let first = host.directive(&id).await;
    host.pass_time().await;
    host.callback("ack", &first, acked())
        .await
        .problem(409, "STALE_ATTEMPT");
    host.pass_time().await;
    let second = host.directive(&id).await;
    assert_eq!(second["attempt_no"], 2);
    host.callback("result", &first, succeeded())
        .await
        .problem(409, "STALE_ATTEMPT");
    assert!(applied(
        &host.callback("result", &second, succeeded()).await
    ));
}

#[tokio::test]
async fn a_callback_without_its_token_is_refused() {
    let host = Host::start().await;
    let id = host.submit(&command()).await;
    let directive = host.directive(&id).await;
    let token = directive["callback_token"].as_str().unwrap().to_owned();
    for verb in ["ack", "heartbeat", "result"] {
        let body = if verb == "result" {
            succeeded()
        } else {
            acked()
        };
        for authorization in [
            None,
            Some("Basic YTpi"),
            Some("Bearer"),
            Some("Bearer "),
            Some(token.as_str()),
        ] {
            let request = callback_request(verb, &directive, body.clone(), authorization);
            let answer = host.send(request).await;
            answer.problem(401, "TOKEN_MISSING");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
    }
    let steps = host.get(&format!("/v1/jobs/{id}/steps")).await.json();
    assert_eq!(steps["steps"][0]["state"], "AWAITING_ACK");
    let request = callback_request(
        "ack",
        &directive,
        acked(),
        Some(&format!("bearer  {token}")),
    );
    assert!(applied(&host.send(request).await), "the scheme has no case");
}

#[tokio::test]
async fn the_token_of_another_attempt_is_refused() {
    let host = Host::start().await;
    let id = host.submit(&command()).await;
    let directive = host.directive(&id).await;
    host.callback("result", &directive, succeeded()).await;
    let mut next = host.directive(&id).await;
    next["callback_token"] = directive["callback_token"].clone();
    host.callback("ack", &next, acked())
        .await
        .problem(403, "TOKEN_REFUSED");
    next["callback_token"] = json!("v1.x");
    host.callback("ack", &next, acked())
        .await
        .problem(403, "TOKEN_REFUSED");
}

#[tokio::test]
async fn a_callback_that_cannot_be_read_is_refused() {
    let host = Host::start().await;
    let id = host.submit(&command()).await;
    let directive = host.directive(&id).await;
    let wrong = json!({ "attempt_no": "one", "status": "FINE" });
    let problem = host
        .callback("ack", &directive, wrong)
        .await
        .problem(422, "INVALID_CALLBACK");
    assert!(
        problem["violations"].as_array().unwrap().len() >= 2,
        "{problem}"
    );
    let no_error = json!({ "status": "FAILED" });
    host.callback("result", &directive, no_error)
        .await
        .problem(422, "INVALID_CALLBACK");
    let unknown = json!({ "jobId": "018bcfe5-6800-7000-8000-00000000ffff", "status": "ACKED" });
    host.callback("ack", &directive, unknown)
        .await
        .problem(404, "JOB_NOT_FOUND");
    let nameless = json!({ "jobId": "7", "status": "ACKED" });
    host.callback("ack", &directive, nameless)
        .await
        .problem(404, "JOB_NOT_FOUND");
    let request = Request::post("/v1/callbacks/ack").header("content-type", "application/json");
    host.send(request.body(Body::from("{")).unwrap())
        .await
        .problem(400, "INVALID_JSON");
}

#[tokio::test]
async fn no_read_shows_a_lease_or_a_token() {
    let host = Host::start().await;
    let id = host.submit(&command()).await;
    let mut secrets = Vec::new();
    let mut shown = String::new();
    let paths = ["", "/steps", "/events"].map(|path| format!("/v1/jobs/{id}{path}"));
    let others = [
        "/v1/jobs",
        "/v1/registry",
        "/metrics",
        "/readyz",
        "/openapi.json",
    ];
    let mut look = async |directive: &Value| {
        for name in ["lease_id", "callback_token"] {
            let secret = directive[name].as_str().unwrap();
            secrets.push(secret.to_owned());
            secrets.push(secret.replace('-', ""));
        }
        for path in paths.iter().map(String::as_str).chain(others) {
            shown += &host.get(path).await.text;
        }
    };
    let first = host.directive(&id).await;
    look(&first).await;
    host.callback("ack", &first, acked()).await;
    host.callback("ack", &first, acked()).await;
    host.callback("heartbeat", &first, json!({ "progress": { "percent": 1 } }))
        .await;
    look(&first).await;
    host.callback("result", &first, succeeded()).await;
    host.callback("result", &first, failed("RETRYABLE")).await;
    host.callback("heartbeat", &first, json!({})).await;
    let second = host.directive(&id).await;
    look(&second).await;
    host.finish(&id).await;
    look(&second).await;
    let stream =
        Request::get(format!("/v1/jobs/{id}/events")).header("accept", "text/event-stream");
    let stream = host.send(stream.body(Body::empty()).unwrap()).await.text;
    assert!(stream.contains("attempt_created"));
    shown += &stream;
    for secret in secrets {
        assert!(!shown.contains(&secret), "{secret}");
    }
    assert!(
        !shown.contains("\"lease_id\":\""),
        "the field has no place here"
    );
}
