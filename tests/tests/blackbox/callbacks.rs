//! What services say back, and who may say it.

use lucius_tests::client::Client;
use lucius_tests::host::{Host, Setup};
use lucius_tests::orders::{artifact, order, with};
use lucius_tests::shared::host_for;
use lucius_tests::worker::{Delivery, Worker};
use serde_json::{Value, json};

/// The directive of a fresh job's first step.
async fn first(
    host: &Host,
    tenant: &str,
    request_type: &str,
) -> (Client, Worker, String, Delivery) {
    let (client, worker) = (host.client(), host.worker("platform-ocr"));
    let job = client.submit(&order(tenant, request_type)).await;
    let delivery = worker.next(tenant).await;
    (client, worker, job, delivery)
}

/// All of a job but what tells of the look itself and of notes.
async fn standing(client: &Client, job: &str) -> (Value, Vec<Value>) {
    let mut shown = client.job(job).await;
    shown["updated_at"] = Value::Null;
    (shown, client.steps(job).await)
}

#[tokio::test]
async fn f20_a_callback_needs_the_token_of_its_very_attempt() {
    let mut host = host_for(2).await;
    let first_tenant = host.tenant("mine");
    let second_tenant = host.tenant("other");
    let (client, worker, job, mine) = first(&host, &first_tenant, "OCR").await;
    let (.., other) = first(&host, &second_tenant, "OCR").await;
    client.step_in(&job, "ocr", "AWAITING_ACK").await;
    let before = standing(&client, &job).await;
    let bodies = [
        ("ack", mine.ack()),
        ("heartbeat", mine.heartbeat(1)),
        ("result", mine.success(&[artifact("ocr")])),
    ];
    for (which, body) in &bodies {
        let url = mine.directive["callback_urls"][which]
            .as_str()
            .unwrap_or_default();
        client
            .callback(url, body, None)
            .await
            .expect_problem(401, "TOKEN_MISSING");
        client
            .callback(url, body, Some(other.token()))
            .await
            .expect_problem(403, "TOKEN_REFUSED");
        for forged in [
            "v1.",
            "v1.AAAA",
            "",
            "x",
            &format!("{}A", mine.token()),
            &mine.token().to_uppercase(),
        ] {
            let answer = client.callback(url, body, Some(forged)).await;
            assert!(
                matches!(answer.status, 401 | 403),
                "{forged:?}: {}",
                answer.text
            );
        }
    }
    assert_eq!(standing(&client, &job).await, before, "nothing has changed");
    // The lease is part of what the token stands for.
    let mut borrowed = mine.ack();
    borrowed["lease_id"] = other.lease_id().into();
    worker
        .call("ack", &mine, &borrowed)
        .await
        .expect_problem(403, "TOKEN_REFUSED");
    worker.ack(&mine).await.expect(200);
}

#[tokio::test]
async fn a_callback_for_no_job_is_404() {
    let mut host = host_for(1).await;
    let tenant = host.tenant("known");
    let (_, worker, _, delivery) = first(&host, &tenant, "OCR").await;
    for unknown in ["01890000-0000-7000-8000-000000000000", "no-such-job"] {
        let body = with(delivery.ack(), json!({ "jobId": unknown }));
        worker
            .call("ack", &delivery, &body)
            .await
            .expect_problem(404, "JOB_NOT_FOUND");
    }
}

#[tokio::test]
async fn a_malformed_callback_is_refused_with_all_that_is_wrong() {
    let mut host = host_for(1).await;
    let tenant = host.tenant("sloppy");
    let (client, worker, job, delivery) = first(&host, &tenant, "OCR").await;
    client.step_in(&job, "ocr", "AWAITING_ACK").await;
    let before = standing(&client, &job).await;
    let url = delivery.directive["callback_urls"]["result"]
        .as_str()
        .unwrap_or_default();
    let junk = client
        .request(reqwest::Method::POST, url)
        .bearer_auth(delivery.token());
    let junk = junk
        .header("content-type", "application/json")
        .body("{\"status\":");
    client.send(junk).await.expect_problem(400, "INVALID_JSON");

    let without_class = with(delivery.success(&[]), json!({ "status": "FAILED" }));
    let answer = worker
        .result(&delivery, &without_class)
        .await
        .expect_problem(422, "INVALID_CALLBACK");
    assert!(
        answer.violations().len() >= 2,
        "failure_class and error are missing: {}",
        answer.text
    );
    let wrong = with(
        delivery.ack(),
        json!({ "status": "DONE", "attempt_no": "1", "timestamp": "today" }),
    );
    let answer = worker
        .call("ack", &delivery, &wrong)
        .await
        .expect_problem(422, "INVALID_CALLBACK");
    let violations = answer.violations();
    for pointer in ["/status ", "/attempt_no ", "/timestamp "] {
        assert!(
            violations.iter().any(|line| line.starts_with(pointer)),
            "{pointer}: {violations:?}"
        );
    }
    let mut partial = delivery.heartbeat(3);
    partial["progress"]["percent"] = 101.into();
    worker
        .call("heartbeat", &delivery, &partial)
        .await
        .expect_problem(422, "INVALID_CALLBACK");
    assert_eq!(standing(&client, &job).await, before);
    worker
        .finish(&delivery, &delivery.success(&[artifact("ocr")]))
        .await;
    client.job_in(&job, "SUCCEEDED").await;
}

#[tokio::test]
async fn f17_a_result_without_an_ack_counts_as_both() {
    let mut host = host_for(1).await;
    let tenant = host.tenant("hasty");
    let (client, worker, job, delivery) = first(&host, &tenant, "OCR->EMBEDDING").await;
    let answer = worker
        .result(&delivery, &delivery.success(&[artifact("ocr")]))
        .await
        .expect(200);
    assert_eq!(answer.body["applied"], true);
    assert_eq!(client.step(&job, "ocr").await["state"], "SUCCEEDED");
    assert_ne!(
        client.step(&job, "embedding").await["state"],
        "PENDING",
        "the next step is active already"
    );

    let before = standing(&client, &job).await.1[0].clone();
    worker.ack(&delivery).await.expect(200);
    assert_eq!(
        client.step(&job, "ocr").await,
        before,
        "a late ACK changes nothing"
    );
}

#[tokio::test]
async fn i12_a_repeated_result_is_answered_alike_and_a_different_one_is_a_conflict() {
    let mut host = host_for(1).await;
    let tenant = host.tenant("repeater");
    let (client, worker, job, delivery) = first(&host, &tenant, "OCR->EMBEDDING").await;
    let result = delivery.success(&[artifact("ocr")]);
    worker.ack(&delivery).await.expect(200);
    worker.ack(&delivery).await.expect(200);
    let once = worker.result(&delivery, &result).await.expect(200);
    client.step_in(&job, "embedding", "AWAITING_ACK").await;
    let before = standing(&client, &job).await;
    let again = worker.result(&delivery, &result).await.expect(200);
    assert_eq!(once.body, again.body);
    let different = delivery.failure("NON_RETRYABLE", "CHANGED_MY_MIND");
    worker
        .result(&delivery, &different)
        .await
        .expect_problem(409, "CALLBACK_CONFLICT");
    assert_eq!(standing(&client, &job).await, before);
    assert_eq!(client.events_of(&job, "result_received").await.len(), 1);
    let notes = client.events_of(&job, "callback_ignored").await;
    assert!(
        notes.len() >= 2,
        "all callbacks are kept as events: {notes:?}"
    );
}

#[tokio::test]
async fn f18_i11_a_stale_result_changes_nothing() {
    let host = Setup::quick().ack_timeout_ms(200).start().await;
    let (client, worker, job, late) = first(&host, "late", "OCR").await;
    let current = worker.next("late").await;
    assert_eq!(current.attempt_no(), 2);
    assert_ne!(current.lease_id(), late.lease_id());
    worker.ack(&current).await.expect(200);
    let before = standing(&client, &job).await;
    for (which, body) in [
        ("ack", late.ack()),
        ("heartbeat", late.heartbeat(1)),
        ("result", late.success(&[artifact("ocr")])),
    ] {
        worker
            .call(which, &late, &body)
            .await
            .expect_problem(409, "STALE_ATTEMPT");
    }
    assert_eq!(standing(&client, &job).await, before);
    worker
        .result(&current, &current.success(&[artifact("ocr")]))
        .await
        .expect(200);
    client.job_in(&job, "SUCCEEDED").await;
}

#[tokio::test]
async fn f19_i1_callbacks_after_the_end_are_answered_and_not_applied() {
    let mut host = host_for(1).await;
    let tenant = host.tenant("over");
    let (client, worker, job, delivery) = first(&host, &tenant, "OCR").await;
    worker
        .finish(&delivery, &delivery.success(&[artifact("ocr")]))
        .await;
    client.job_in(&job, "SUCCEEDED").await;
    let before = standing(&client, &job).await;
    let different = delivery.failure("NON_RETRYABLE", "TOO_LATE");
    for (which, body) in [
        ("ack", delivery.ack()),
        ("heartbeat", delivery.heartbeat(9)),
        ("result", different),
    ] {
        let answer = worker.call(which, &delivery, &body).await.expect(200);
        assert_eq!(answer.body["applied"], false, "{which}");
    }
    assert_eq!(standing(&client, &job).await, before);
}

#[tokio::test]
async fn f16_of_a_hundred_equal_results_at_once_one_counts() {
    let mut host = host_for(1).await;
    let tenant = host.tenant("crowd");
    let (client, worker, job, delivery) = first(&host, &tenant, "OCR->EMBEDDING").await;
    let result = delivery.success(&[artifact("ocr")]);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (worker, delivery, result) = (worker.clone(), delivery.clone(), result.clone());
        calls.spawn(async move { worker.result(&delivery, &result).await });
    }
    for answer in calls.join_all().await {
        assert_eq!(answer.expect(200).body["applied"], true);
    }
    assert_eq!(client.events_of(&job, "result_received").await.len(), 1);
    let embedding = host.worker("platform-embedding");
    let next = embedding.next(&tenant).await;
    embedding.complete(&next).await.expect(200);
    assert!(
        embedding.now(&tenant).await.is_none(),
        "one directive for the next step"
    );
}

#[tokio::test]
async fn a_heartbeat_renews_the_lease() {
    let mut host = host_for(1).await;
    let tenant = host.tenant("alive");
    let (client, worker, job, delivery) = first(&host, &tenant, "OCR").await;
    worker.ack(&delivery).await.expect(200);
    let expires = async || {
        client.step(&job, "ocr").await["lease_expires_at"]
            .as_str()
            .map(str::to_owned)
    };
    let at_first = expires().await;
    assert!(at_first.is_some());
    lucius_tests::wait::until("a later end of the lease", async || {
        assert_eq!(
            worker.heartbeat(&delivery, 50).await.expect(200).body["applied"],
            true
        );
        (expires().await > at_first).then_some(())
    })
    .await;
}

#[tokio::test]
async fn i18_no_read_and_no_log_shows_a_lease_or_a_token() {
    let host = Setup::quick().with("LOG_FILTER", "trace").start().await;
    let (client, worker, job, first) = first(&host, "secretive", "OCR->EMBEDDING").await;
    let ocr_done = first.success(&[artifact("ocr")]);
    worker.ack(&first).await.expect(200);
    worker.heartbeat(&first, 5).await.expect(200);
    let mut answers = vec![worker.result(&first, &ocr_done).await];
    let second = host.worker("platform-embedding").next("secretive").await;
    answers.push(
        worker
            .call(
                "ack",
                &second,
                &with(second.ack(), json!({ "attempt_no": 9 })),
            )
            .await,
    );

    let routes = [
        "/v1/jobs".to_owned(),
        "/v1/jobs?tenant_id=secretive".to_owned(),
        format!("/v1/jobs/{job}"),
        format!("/v1/jobs/{job}/steps"),
        format!("/v1/jobs/{job}/events"),
        "/v1/registry".to_owned(),
        "/healthz".to_owned(),
        "/readyz".to_owned(),
        "/metrics".to_owned(),
        "/openapi.json".to_owned(),
    ];
    for route in &routes {
        answers.push(client.get(route).await.expect(200));
    }
    worker
        .call("result", &second, &second.failure("NON_RETRYABLE", "STOP"))
        .await
        .expect(200);
    let stream = client
        .request(reqwest::Method::GET, &routes[4])
        .header("accept", "text/event-stream");
    answers.push(client.send(stream).await.expect(200));
    answers.push(client.get(&routes[4]).await.expect(200));

    let output = host.output();
    for secret in [&first, &second]
        .map(|d| [d.lease_id(), d.token()])
        .as_flattened()
    {
        assert!(secret.len() > 20, "a secret: {secret}");
        for answer in &answers {
            assert!(!answer.text.contains(secret), "{}", answer.text);
        }
        let line = output.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "a secret in the log");
    }
}
