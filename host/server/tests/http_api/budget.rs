//! Clients cannot starve workers: not by requests, not by connections.

use axum::http::StatusCode;
use futures_util::future::join_all;
use lucius_server::http::Settings;
use serde_json::json;

use crate::connections::{connect, read_all, read_answer, served, write};
use crate::host::{Host, command_with, limits, succeeded};

#[tokio::test]
async fn h11_a_flood_of_commands_takes_all_turns_of_clients_and_none_of_workers() {
    let settings = Settings {
        client_requests: 3,
        ..Settings::default()
    };
    let host = Host::with(limits(), settings).await;
    let job = host.submit(&command_with("request_type", "OCR")).await;
    let directive = host.directive(&job).await;
    for n in 0..3 {
        let mut stuck = command_with("payload", json!({ "do": "hang" }));
        stuck["idempotency_key"] = format!("stuck-{n}").into();
        let router = host.router.clone();
        tokio::spawn(async move {
            let request = crate::host::json_request("/v1/commands", stuck.to_string());
            tower::ServiceExt::oneshot(router, request).await
        });
    }
    let clients = async || host.get("/v1/gates").await.json()["gates"][4].clone();
    while clients().await["used"] != 3 {
        tokio::task::yield_now().await;
    }

    let command = command_with("request_type", "OCR");
    let flood = (0..200).map(|_| host.post("/v1/commands", &command));
    let answers = join_all(flood).await;
    for answer in &answers {
        answer.problem(503, "BUSY");
    }
    host.get("/v1/jobs").await.problem(503, "BUSY");
    assert_eq!(clients().await["refused"], 201);
    let metrics = host.get("/metrics").await.text;
    let line = "lucius_jobs_refused_total{code=\"BUSY\"} 200";
    assert!(metrics.contains(line), "{metrics}");

    let beat = host.callback("heartbeat", &directive, json!({})).await;
    assert_eq!(beat.json(), json!({ "applied": true }));
    let result = host.callback("result", &directive, succeeded()).await;
    assert_eq!(result.json(), json!({ "applied": true }));
    assert_eq!(host.get("/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn f42_connections_beyond_those_of_clients_serve_workers_and_nobody_else() {
    let served = served(Settings {
        connections: 3,
        worker_connections: 1,
        ..Settings::default()
    })
    .await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        let mut stream = connect(&served).await;
        write(
            &mut stream,
            "GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n",
        )
        .await;
        let answer = read_answer(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        idle.push(stream);
    }
    let callback = "POST /v1/callbacks/ack HTTP/1.1\r\nHost: localhost\r\n\
        Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    for _ in 0..3 {
        let mut stream = connect(&served).await;
        for _ in 0..5 {
            write(&mut stream, callback).await;
            let answer = read_answer(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.1 422"), "{answer}");
        }
        write(
            &mut stream,
            "GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n",
        )
        .await;
        let refused = read_all(stream).await;
        assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
        assert!(refused.contains("\"code\":\"BUSY\""), "{refused}");
    }
    drop(idle);
    let _served = served.stop.send(());
    served.task.await.expect("it ends");
}

#[tokio::test]
async fn a_client_that_comes_after_a_place_for_clients_became_free_gets_it() {
    let served = served(Settings {
        connections: 1,
        worker_connections: 1,
        ..Settings::default()
    })
    .await;
    let ask = "GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for _ in 0..3 {
        // While this one has the place for clients, the host takes that for workers in hand, for whoever comes next.
        let mut stream = connect(&served).await;
        write(&mut stream, ask).await;
        let answer = read_all(stream).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let _served = served.stop.send(());
    served.task.await.expect("it ends");
}
