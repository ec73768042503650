//! What must not get in, and must not do harm on the way.

use lucius_tests::host::{Host, Setup};
use lucius_tests::orders::{order, with};
use lucius_tests::shared::host_for;
use serde_json::{Value, json};

/// The host still takes a job and carries it out, and nothing that was refused has become a job.
pub(crate) async fn still_serves(host: &Host, bystander: &str) {
    let client = host.client();
    let job = client.submit(&order(bystander, "OCR")).await;
    host.worker("platform-ocr").succeed(bystander).await;
    client.job_in(&job, "SUCCEEDED").await;
    let refused = client.get("/v1/jobs?tenant_id=t").await.expect(200).body;
    assert_eq!(refused["jobs"], json!([]));
    assert!(!host.output().contains("panicked"), "{}", host.output());
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused() {
    let mut host = host_for(1).await;
    let tenant = host.tenant("bystander");
    let client = host.client();
    let whole = order("t", "OCR").to_string();
    let deep = format!(
        "{{\"payload\":{}{}}}",
        "[".repeat(20_000),
        "]".repeat(20_000)
    );
    let deep_objects = format!("{}1{}", "{\"a\":".repeat(20_000), "}".repeat(20_000));
    let twice = whole.replacen('{', "{\"tenant_id\":\"other\",", 1);
    let twice_inside = whole.replace("\"payload\":{}", "\"payload\":{\"x\":1,\"x\":2}");
    assert_ne!(twice_inside, whole);
    let junk: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"junk".to_vec(),
        whole.as_bytes()[..whole.len() / 2].to_vec(),
        format!("{whole}{whole}").into_bytes(),
        deep.into_bytes(),
        deep_objects.into_bytes(),
        twice.into_bytes(),
        twice_inside.into_bytes(),
        b"{\"tenant_id\":\"\xff\xfe\"}".to_vec(),
        vec![0; 10_000],
        b"{\"tenant_id\":\"\\ud800\"}".to_vec(),
        b"{\"priority\":1e999}".to_vec(),
        b"{\"priority\":NaN}".to_vec(),
    ];
    for body in junk {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let answer = client.post_text("/v1/commands", body).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "INVALID_JSON"),
            "{shown}: {}",
            answer.text
        );
        assert!(answer.text.len() < 2_000, "no echo: {shown}");
    }
    still_serves(&host, &tenant).await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413_whatever_its_headers_say() {
    let host = Setup::quick()
        .with("LIMITS_BODY_BYTES", 10_000)
        .start()
        .await;
    let client = host.client();
    let large = with(
        order("t", "OCR"),
        json!({ "payload": { "x": "a".repeat(20_000) } }),
    )
    .to_string();
    client
        .post_text("/v1/commands", large.clone())
        .await
        .expect_problem(413, "BODY_TOO_LARGE");
    let chunks = large
        .into_bytes()
        .chunks(1_000)
        .map(|part| Ok::<_, std::io::Error>(part.to_vec()))
        .collect::<Vec<_>>();
    let chunked = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    client
        .post_text("/v1/commands", chunked)
        .await
        .expect_problem(413, "BODY_TOO_LARGE");
    client
        .post_text("/v1/callbacks/result", "x".repeat(20_000))
        .await
        .expect_problem(413, "BODY_TOO_LARGE");
    still_serves(&host, "bystander").await;
}

#[tokio::test]
async fn bodies_of_the_wrong_type_are_refused_with_every_violation() {
    let mut host = host_for(1).await;
    let tenant = host.tenant("bystander");
    let client = host.client();
    for body in [json!([]), json!(null), json!("x"), json!(7), json!({})] {
        client
            .post("/v1/commands", &body)
            .await
            .expect_problem(422, "INVALID_ENVELOPE");
    }
    let empty = client.post("/v1/commands", &json!({})).await;
    assert!(
        empty.violations().len() >= 6,
        "one for each that is missing: {}",
        empty.text
    );

    let wrong = json!({
        "tenant_id": 7, "request_type": ["OCR"], "input_ref": {}, "output_ref": "", "payload": "none",
        "schema_version": "v2", "mode": "FAST", "priority": 10, "idempotency_key": "",
    });
    let answer = client
        .post("/v1/commands", &wrong)
        .await
        .expect_problem(422, "INVALID_ENVELOPE");
    let violations = answer.violations();
    for name in [
        "/tenant_id",
        "/request_type",
        "/input_ref",
        "/output_ref",
        "/payload",
        "/schema_version",
        "/mode",
        "/priority",
        "/idempotency_key",
    ] {
        let found = violations
            .iter()
            .any(|line| line.split(['/', ' ']).nth(1) == Some(&name[1..]));
        assert!(found, "{name}: {violations:?}");
    }
    assert!(
        violations.iter().all(|line| line.ends_with(" schema")),
        "{violations:?}"
    );
    for tenant in ["", "   ", "a\u{0}b", "a\nb", &"x".repeat(300)] {
        let order = with(order("t", "OCR"), json!({ "tenant_id": tenant }));
        client
            .post("/v1/commands", &order)
            .await
            .expect_problem(422, "INVALID_ENVELOPE");
    }
    still_serves(&host, &tenant).await;
}

#[tokio::test]
async fn payloads_are_refused_with_every_violation_of_every_step_and_who_says_so() {
    let mut host = host_for(1).await;
    let tenant = host.tenant("bystander");
    let client = host.client();
    let payload = json!({ "steps": {
        "ocr": { "page_range": "5-2", "ocr_engine": "abbyy" },
        "embedding": { "normalize": "yes", "chunking": { "max_tokens": 0 } },
        "sis": { "prompt_set": "no such set", "temperature": 1 },
        "translate": {},
    }});
    let order = with(
        order("t", "OCR->EMBEDDING->SIS"),
        json!({ "payload": payload }),
    );
    let answer = client
        .post("/v1/commands", &order)
        .await
        .expect_problem(422, "INVALID_PAYLOAD");
    let violations = answer.violations();
    for (pointer, source) in [
        ("/payload/steps/ocr/page_range", "plugin:ocr@1.0.0"),
        ("/payload/steps/ocr/ocr_engine", "plugin:ocr@1.0.0"),
        ("/payload/steps/embedding/normalize", "schema"),
        ("/payload/steps/embedding/chunking/max_tokens", "schema"),
        ("/payload/steps/sis/prompt_set", "plugin:sis@1.0.0"),
        ("/payload/steps/translate", "schema"),
    ] {
        let found = violations
            .iter()
            .any(|line| line.starts_with(&format!("{pointer} ")) && line.ends_with(source));
        assert!(found, "{pointer} by {source}: {violations:#?}");
    }
    let shared = json!({ "payload": { "chunking": { "max_tokens": 8, "overlap_tokens": 8 } } });
    let order = with(order_of("EMBEDDING"), shared);
    let answer = client
        .post("/v1/commands", &order)
        .await
        .expect_problem(422, "INVALID_PAYLOAD");
    let violations = answer.violations();
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert!(
        violations[0].starts_with("/payload/chunking/overlap_tokens "),
        "{violations:?}"
    );
    assert!(
        violations[0].ends_with(" plugin:embedding@1.0.0"),
        "{violations:?}"
    );
    for steps in [json!([]), json!(null), json!("all")] {
        let order = with(order_of("OCR"), json!({ "payload": { "steps": steps } }));
        client
            .post("/v1/commands", &order)
            .await
            .expect_problem(422, "INVALID_PAYLOAD");
    }
    still_serves(&host, &tenant).await;
}

fn order_of(request_type: &str) -> Value {
    order("t", request_type)
}

#[tokio::test]
async fn a_request_type_that_nothing_serves_is_refused() {
    let mut host = host_for(1).await;
    let tenant = host.tenant("bystander");
    let client = host.client();
    for unknown in [
        "ocr",
        "OCR ",
        "TRANSLATE",
        "OCR->SIS",
        "SIS->OCR",
        "OCR->EMBEDDING->SIS->OCR",
    ] {
        let answer = client.post("/v1/commands", &order_of(unknown)).await;
        let answer = answer.expect_problem(400, "UNSUPPORTED_REQUEST_TYPE");
        let detail = answer.body["detail"].as_str().unwrap_or_default();
        assert!(
            detail.contains("OCR->EMBEDDING->SIS"),
            "it says what is served: {detail}"
        );
    }
    still_serves(&host, &tenant).await;
}

#[tokio::test]
async fn references_are_let_in_by_scheme_host_and_length_alone() {
    let host = Setup::quick()
        .with("REFS_HOSTS", "[\"documents.example\", \"bucket\"]")
        .start()
        .await;
    let client = host.client();
    let overlong = format!("https://documents.example/{}", "a".repeat(2_048));
    let refused = [
        "https://user:secret@documents.example/x",
        "https://user@documents.example/x",
        "https://documents.example@evil.example/x",
        "https://evil.example/x",
        "http://documents.example/x",
        "ftp://documents.example/x",
        "javascript:alert(1)",
        "data:text/plain,x",
        "file://evil.example/etc/passwd",
        "file:///srv/../etc/passwd",
        "file:///srv/%2e%2E/etc/passwd",
        "/etc/passwd",
        "https://",
        "https:///x",
        "https://documents.example\\@evil.example/",
        "https://documents.example/a b",
        &overlong,
    ];
    for uri in refused {
        for reference in [json!(uri), json!({ "uri": uri })] {
            let order = with(order_of("OCR"), json!({ "input_ref": reference }));
            let answer = client.post("/v1/commands", &order).await;
            assert_eq!(
                (answer.status, answer.code()),
                (422, "REF_NOT_ALLOWED"),
                "{uri}: {}",
                answer.text
            );
            let violations = answer.violations();
            assert!(
                violations[0].starts_with("/input_ref"),
                "{uri}: {violations:?}"
            );
            assert!(!answer.text.contains("secret"), "{}", answer.text);
        }
    }
    let both = json!({ "input_ref": "ftp://x/y", "output_ref": "https://a:b@documents.example/" });
    let answer = client
        .post("/v1/commands", &with(order_of("OCR"), both))
        .await;
    assert_eq!(
        answer
            .expect_problem(422, "REF_NOT_ALLOWED")
            .violations()
            .len(),
        2,
        "all at once"
    );
    still_serves(&host, "bystander").await;
}

#[tokio::test]
async fn many_bad_commands_at_once_leave_room_for_a_good_one() {
    let mut host = host_for(1).await;
    let tenant = host.tenant("bystander");
    let client = host.client();
    let deep = "[".repeat(20_000);
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..200 {
        let (client, deep) = (client.clone(), deep.clone());
        calls.spawn(async move {
            match number % 4 {
                0 => client.post_text("/v1/commands", deep).await,
                1 => client.post("/v1/commands", &order_of("NOTHING")).await,
                2 => {
                    client
                        .post("/v1/commands", &json!({ "tenant_id": number }))
                        .await
                }
                _ => client.post_text("/v1/callbacks/result", "{}").await,
            }
        });
    }
    still_serves(&host, &tenant).await;
    for answer in calls.join_all().await {
        assert!((400..500).contains(&answer.status), "{}", answer.text);
    }
}
