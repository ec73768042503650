//! The same command again.

use std::collections::BTreeSet;

use lucius_tests::answer::Answer;
use lucius_tests::azure::Kind;
use lucius_tests::client::Client;
use lucius_tests::host::Setup;
use lucius_tests::orders::{order, with};
use lucius_tests::shared::host_for;
use serde_json::{Value, json};

/// How many come at once. Azurite has one processor, and answers a thousand so late that they are told to come again.
fn crowd() -> usize {
    match Kind::asked() {
        None => 1_000,
        Some(_) => 200,
    }
}

/// A host that is slow to make its job, or does not hear of it, is told that the key went to another.
fn may_be_told_to_come_again() -> bool {
    Kind::asked().is_some()
}

/// The answer to a command; beyond this machine it is sent until the answer is no 503, as that asks for.
async fn accepted(client: &Client, order: &Value) -> Answer {
    loop {
        let answer = client.post("/v1/commands", order).await;
        if answer.status != 503 || !may_be_told_to_come_again() {
            return answer;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i5_of_many_equal_commands_at_once_one_job_comes() {
    let mut host = host_for(1).await;
    let tenant = host.tenant("crowd");
    let client = host.client();
    for (round, order) in [
        order(&tenant, "OCR"),
        with(order(&tenant, "OCR"), json!({ "idempotency_key": "k" })),
    ]
    .into_iter()
    .enumerate()
    {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..crowd() {
            let (client, order) = (client.clone(), order.clone());
            calls.spawn(async move { accepted(&client, &order).await });
        }
        let answers = calls.join_all().await;
        let mut jobs = BTreeSet::new();
        let mut fresh = 0;
        for answer in answers {
            let answer = answer.expect(202);
            let job = answer.body["jobId"].as_str().unwrap_or_default();
            assert_eq!(answer.header("location"), format!("/v1/jobs/{job}"));
            jobs.insert(job.to_owned());
            fresh += usize::from(answer.body["duplicate"] == false);
        }
        assert_eq!(jobs.len(), 1);
        // One that came again heard of its own job as of another's.
        assert!(
            fresh == 1 || (fresh == 0 && may_be_told_to_come_again()),
            "{fresh}"
        );
        let list = client
            .get(&format!("/v1/jobs?tenant_id={tenant}"))
            .await
            .expect(200);
        assert_eq!(list.body["jobs"].as_array().map(Vec::len), Some(round + 1));
    }
}

#[tokio::test]
async fn a_key_stands_for_one_command_of_one_tenant() {
    let mut host = host_for(2).await;
    let first_tenant = host.tenant("keyed");
    let second_tenant = host.tenant("keyed too");
    let client = host.client();
    let first = with(
        order(&first_tenant, "OCR"),
        json!({ "idempotency_key": "order-1" }),
    );
    let job = client.submit(&first).await;
    let again = client.post("/v1/commands", &first).await.expect(202);
    assert_eq!(
        (&again.body["jobId"], &again.body["duplicate"]),
        (&json!(job), &json!(true))
    );

    for other in [
        json!({ "payload": { "language_hint": "deu" } }),
        json!({ "request_type": "SIS" }),
        json!({ "input_ref": "https://documents.example/in/other.pdf" }),
    ] {
        let reused = with(first.clone(), other);
        client
            .post("/v1/commands", &reused)
            .await
            .expect_problem(409, "IDEMPOTENCY_KEY_REUSED");
    }
    let of_another = client
        .submit(&with(first, json!({ "tenant_id": &second_tenant })))
        .await;
    assert_ne!(of_another, job);
}

#[tokio::test]
async fn a_command_is_the_same_however_it_is_written() {
    let host = Setup::quick().start().await;
    let client = host.client();
    let one = r#"{"tenant_id":"writer","request_type":"SIS","input_ref":{"uri":"https://d.example/a","size_bytes":10},
        "output_ref":"https://d.example/b","payload":{"temperature":1.0,"prompt":"é","max_tokens":100,"list":[1,2]},
        "schema_version":"v1"}"#;
    let job = client.post_text("/v1/commands", one).await.expect(202);
    assert_eq!(job.body["duplicate"], false);
    let same = [
        // Another order, other numbers for the same value, an escape, and nulls.
        r#"{"schema_version":"v1","payload":{"list":[1,2],"max_tokens":1e2,"prompt":"\u00e9","temperature":1,
            "nothing":null},"output_ref":"https://d.example/b","doc_id":null,
            "input_ref":{"size_bytes":10,"uri":"https://d.example/a","checksum":null},
            "request_type":"SIS","tenant_id":"writer"}"#,
        // What does not count: how urgent it is, and how it is traced.
        r#"{"tenant_id":"writer","request_type":"SIS","input_ref":{"uri":"https://d.example/a","size_bytes":10},
            "output_ref":"https://d.example/b","payload":{"temperature":1.00,"prompt":"é","max_tokens":100.0,"list":[1,2]},
            "schema_version":"v1","priority":9,"correlation_id":"another"}"#,
    ];
    for text in same {
        let answer = client.post_text("/v1/commands", text).await.expect(202);
        assert_eq!(answer.body["duplicate"], true, "{text}");
        assert_eq!(answer.body["jobId"], job.body["jobId"]);
    }
    let others = [
        ("[1,2]", "[2,1]"),
        ("1.0", "1.5"),
        ("é", "e"),
        ("d.example/b", "d.example/B"),
    ];
    for (from, to) in others {
        let answer = client
            .post_text("/v1/commands", one.replace(from, to))
            .await
            .expect(202);
        assert_eq!(answer.body["duplicate"], false, "{from} is not {to}");
    }
}

#[tokio::test]
async fn a_duplicate_shows_the_job_as_it_is_now() {
    let mut host = host_for(1).await;
    let tenant = host.tenant("later");
    let client = host.client();
    let order = order(&tenant, "OCR");
    let job = client.submit(&order).await;
    host.worker("platform-ocr").succeed(&tenant).await;
    client.job_in(&job, "SUCCEEDED").await;
    let answer = client.post("/v1/commands", &order).await.expect(202);
    let expected: Value = json!({ "jobId": job, "state": "SUCCEEDED", "duplicate": true });
    assert_eq!(answer.body, expected);
    assert_eq!(client.events_of(&job, "accepted").await.len(), 1);
}
