//! Addresses and methods that are not there.

use lucius_tests::client::Client;
use lucius_tests::orders::order;
use lucius_tests::shared::host_for;
use reqwest::Method;

use crate::bad_input::still_serves;

#[tokio::test]
async fn unknown_routes_and_methods_are_told_as_problems() {
    let mut host = host_for(1).await;
    let tenant = host.tenant("bystander");
    let client = host.client();
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v1/job",
        "/v2/jobs",
        "/v1/jobs/x/y",
        "/v1/jobs//steps",
        "/%00",
        "/v1/../etc",
    ] {
        let answer = client.get(path).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text);
        assert_eq!(
            answer.header("content-type"),
            "application/problem+json",
            "{path}"
        );
    }
    for id in [
        "x",
        "01890000-0000-7000-8000-000000000000",
        "'; DROP TABLE jobs; --",
        "💥",
    ] {
        for view in ["", "/steps", "/events"] {
            client
                .get(&format!("/v1/jobs/{id}{view}"))
                .await
                .expect_problem(404, "JOB_NOT_FOUND");
        }
    }
    let routes = [
        (Method::GET, "/v1/commands"),
        (Method::DELETE, "/v1/commands"),
        (Method::POST, "/v1/jobs"),
        (Method::PUT, "/v1/registry"),
        (Method::GET, "/v1/callbacks/ack"),
        (Method::DELETE, "/healthz"),
        (Method::GET, "/v1/registry:reload"),
    ];
    for (method, path) in routes {
        let answer = client.send(client.request(method.clone(), path)).await;
        let answer = answer.expect_problem(405, "METHOD_NOT_ALLOWED");
        assert!(
            !answer.header("allow").is_empty(),
            "{method} {path} has no Allow"
        );
    }
    let odd = client.request(Method::from_bytes(b"BREW").unwrap_or_default(), "/v1/jobs");
    client
        .send(odd)
        .await
        .expect_problem(405, "METHOD_NOT_ALLOWED");
    let untyped = client
        .request(Method::POST, "/v1/commands")
        .body(order("t", "OCR").to_string());
    client
        .send(untyped)
        .await
        .expect_problem(415, "UNSUPPORTED_MEDIA_TYPE");
    still_serves(&host, &tenant).await;
}

#[tokio::test]
async fn the_bus_refuses_what_it_does_not_have() {
    let mut host = host_for(1).await;
    let tenant = host.tenant("bystander");
    let client = Client::new(host.namespace());
    let post = async |client: &Client, path: &str| client.post_nothing(path).await.status;
    assert_eq!(
        post(
            &client,
            "/bus/global-bus-p16/subscriptions/s/messages/head?timeout=0"
        )
        .await,
        410
    );
    assert_eq!(post(&client, "/bus/other/messages").await, 410);
    assert_eq!(
        post(
            &client,
            "/bus/global-bus-p1/subscriptions/s/messages/head?timeout=soon"
        )
        .await,
        400
    );
    assert_eq!(
        post(&client, "/bus/global-bus-p1/messages").await,
        400,
        "no service is named"
    );
    for lock in ["1/x", "1/8c2ce2a5-0000-4000-8000-000000000000", "x/y"] {
        let path = format!("/bus/global-bus-p1/subscriptions/s/messages/{lock}");
        for method in [Method::DELETE, Method::PUT, Method::POST] {
            assert_eq!(
                client.send(client.request(method, &path)).await.status,
                404,
                "{path}"
            );
        }
    }
    assert_eq!(client.get("/bus/nothing/here").await.status, 404);
    still_serves(&host, &tenant).await;
}
