//! A job's events, as a list and live.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{Method, Request, StatusCode};
use futures_util::StreamExt as _;
use lucius_memory::faulty::Fault;
use lucius_server::http::Settings;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::host::{Answer, Host, command, limits, succeeded};

/// Longer than any of this takes; only a test that hangs gets here.
const FOREVER: Duration = Duration::from_secs(60);

async fn open(host: &Host, path: &str, last: Option<&str>) -> axum::http::Response<Body> {
    let mut request = Request::get(path).header("accept", "text/event-stream");
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    host.router
        .clone()
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap()
}

/// What comes of a job's events from their first.
async fn live(host: &Host, path: &str) -> BodyDataStream {
    open(host, path, None).await.into_body().into_data_stream()
}

/// The events of a stream's text.
fn read(text: &str) -> Vec<(String, String, Value)> {
    let field = |block: &str, name: &str| {
        let lines = block.lines();
        let mut values = lines.filter_map(|line| line.strip_prefix(&format!("{name}: ")));
        values.next().unwrap_or_default().to_owned()
    };
    text.split("\n\n")
        .filter(|block| block.contains("data:"))
        .map(|block| {
            let data = serde_json::from_str(&field(block, "data")).unwrap();
            (field(block, "id"), field(block, "event"), data)
        })
        .collect()
}

/// Reads until something of this type has come.
async fn until(stream: &mut BodyDataStream, event_type: &str) -> String {
    let mut text = String::new();
    while !text.contains(&format!("event: {event_type}")) || !text.ends_with("\n\n") {
        let chunk = tokio::time::timeout(FOREVER, stream.next()).await.unwrap();
        text += std::str::from_utf8(&chunk.expect("the stream goes on").unwrap()).unwrap();
    }
    text
}

async fn rest(stream: &mut BodyDataStream) -> String {
    let mut text = String::new();
    while let Some(chunk) = tokio::time::timeout(FOREVER, stream.next()).await.unwrap() {
        text += std::str::from_utf8(&chunk.unwrap()).unwrap();
    }
    text
}

#[tokio::test]
async fn the_list_has_every_event_in_order_and_can_be_read_in_parts() {
    let host = Host::start().await;
    let id = host.submit(&command()).await;
    host.finish(&id).await;
    let path = format!("/v1/jobs/{id}/events");
    let all = host.get(&path).await.json();
    let events = all["events"].as_array().unwrap();
    for (number, event) in (1..).zip(events) {
        assert_eq!(event["seq"], number);
        assert!(event["at"].as_str().unwrap().ends_with('Z'), "{event}");
    }
    let types: Vec<&str> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        (types.first(), types.last()),
        (Some(&"accepted"), Some(&"job_succeeded"))
    );
    for expected in [
        "decided",
        "attempt_created",
        "directive_sent",
        "result_received",
        "step_succeeded",
    ] {
        assert!(types.contains(&expected), "{types:?}");
    }
    let created = &events[types
        .iter()
        .position(|name| *name == "attempt_created")
        .unwrap()];
    assert_eq!(
        (&created["step_id"], &created["attempt_no"]),
        (&json!("ocr"), &json!(1))
    );
    assert_eq!(created["service"], "platform-ocr");
    assert_eq!(all["next_after"], Value::Null);

    let part = host.get(&format!("{path}?after=1&limit=2")).await.json();
    assert_eq!(part["events"].as_array().unwrap()[..], events[1..3]);
    assert_eq!(part["next_after"], 3);
    for query in ["after=x", "limit=0", "limit=1001", "since=1"] {
        host.get(&format!("{path}?{query}"))
            .await
            .problem(400, "INVALID_QUERY");
    }
}

#[tokio::test]
async fn a_finished_job_is_replayed_and_the_stream_ends() {
    let host = Host::start().await;
    let id = host.submit(&command()).await;
    host.finish(&id).await;
    let path = format!("/v1/jobs/{id}/events");
    let answer = Answer::of(open(&host, &path, None).await).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert_eq!(answer.header("cache-control"), "no-store");
    let list = host.get(&path).await.json();
    let streamed: Vec<Value> = read(&answer.text)
        .into_iter()
        .map(|(_, _, data)| data)
        .collect();
    assert_eq!(streamed, *list["events"].as_array().unwrap());
    for (id, event_type, data) in read(&answer.text) {
        assert_eq!(
            (json!(id.parse::<u64>().unwrap()), json!(event_type)),
            (data["seq"].clone(), data["type"].clone())
        );
    }
}

#[tokio::test]
async fn a_stream_that_is_taken_up_again_goes_on_where_it_was() {
    let host = Host::start().await;
    let id = host.submit(&command()).await;
    host.finish(&id).await;
    let path = format!("/v1/jobs/{id}/events");
    let all = host.get(&path).await.json()["events"]
        .as_array()
        .unwrap()
        .len();
    let answer = Answer::of(open(&host, &path, Some("2")).await).await;
    let events = read(&answer.text);
    assert_eq!((events.len(), events[0].0.as_str()), (all - 2, "3"));
    let answer = Answer::of(open(&host, &path, Some(&all.to_string())).await).await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (StatusCode::NO_CONTENT, "")
    );
    for last in ["x", "-1", "99999999999999999999"] {
        Answer::of(open(&host, &path, Some(last)).await)
            .await
            .problem(400, "INVALID_QUERY");
    }
    let nowhere = "/v1/jobs/018bcfe5-6800-7000-8000-00000000ffff/events";
    Answer::of(open(&host, nowhere, None).await)
        .await
        .problem(404, "JOB_NOT_FOUND");
}

#[tokio::test]
async fn a_live_stream_shows_each_event_as_it_happens_and_ends_with_the_job() {
    let host = Host::start().await;
    let id = host.submit(&command()).await;
    let path = format!("/v1/jobs/{id}/events");
    let mut stream = live(&host, &path).await;
    let mut text = until(&mut stream, "attempt_created").await;
    let directive = host.directive(&id).await;
    text += &until(&mut stream, "directive_sent").await;
    host.callback("result", &directive, succeeded()).await;
    text += &until(&mut stream, "attempt_created").await;
    host.bare(Method::POST, &format!("/v1/jobs/{id}:cancel"))
        .await;
    text += &rest(&mut stream).await;
    let list = host.get(&path).await.json();
    let streamed: Vec<Value> = read(&text).into_iter().map(|(_, _, data)| data).collect();
    assert_eq!(streamed, *list["events"].as_array().unwrap());
    assert_eq!(streamed.last().unwrap()["type"], "job_cancelled");
}

#[tokio::test]
async fn a_watcher_that_missed_hints_looks_for_itself() {
    let host = Host::start().await;
    let id = host.submit(&command()).await;
    let path = format!("/v1/jobs/{id}/events");
    let mut stream = live(&host, &path).await;
    until(&mut stream, "attempt_created").await;
    // More changes than the hints hold, while nobody reads the stream.
    host.directive(&id).await;
    for number in 0..1_100 {
        let mut other = command();
        other["tenant_id"] = json!(format!("t{number}"));
        host.submit(&other).await;
    }
    host.bare(Method::POST, &format!("/v1/jobs/{id}:cancel"))
        .await;
    until(&mut stream, "cancel_requested").await;
}

#[tokio::test]
async fn streams_are_bounded_and_make_room_when_they_are_closed() {
    let settings = Settings {
        streams: 1,
        ..Settings::default()
    };
    let host = Host::with(limits(), settings).await;
    let id = host.submit(&command()).await;
    let path = format!("/v1/jobs/{id}/events");
    let first = open(&host, &path, None).await;
    Answer::of(open(&host, &path, None).await)
        .await
        .problem(503, "STREAM_LIMIT");
    assert_eq!(
        host.get(&path).await.status,
        StatusCode::OK,
        "the list is always there"
    );
    drop(first);
    assert_eq!(open(&host, &path, None).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_quiet_stream_shows_that_it_is_there() {
    let settings = Settings {
        stream_keep_alive: Duration::from_millis(10),
        ..Settings::default()
    };
    let host = Host::with(limits(), settings).await;
    let id = host.submit(&command()).await;
    let path = format!("/v1/jobs/{id}/events");
    let mut stream = live(&host, &path).await;
    until(&mut stream, "attempt_created").await;
    let quiet = tokio::time::timeout(FOREVER, stream.next()).await.unwrap();
    assert_eq!(quiet.unwrap().unwrap(), ":\n\n", "a comment");
}

#[tokio::test]
async fn a_stream_finds_what_another_host_did() {
    let settings = Settings {
        stream_poll: Duration::from_millis(10),
        ..Settings::default()
    };
    let host = Host::with(limits(), settings).await;
    let id = host.submit(&command()).await;
    let path = format!("/v1/jobs/{id}/events");
    let mut stream = live(&host, &path).await;
    until(&mut stream, "attempt_created").await;
    let (ports, settings) = (host.engine.ports().clone(), host.engine.settings().clone());
    let other = lucius_engine::Engine::open(ports, settings).await.unwrap();
    other
        .cancel(lucius_domain::id::JobId::parse(&id).unwrap())
        .await
        .unwrap();
    assert!(rest(&mut stream).await.contains("event: job_cancelled"));
}

#[tokio::test]
async fn a_stream_breaks_off_when_the_ledger_is_away_and_does_not_pretend_to_end() {
    let host = Host::start().await;
    let id = host.submit(&command()).await;
    let path = format!("/v1/jobs/{id}/events");
    let mut stream = live(&host, &path).await;
    until(&mut stream, "attempt_created").await;
    host.ledger.set_outage(Some(Fault::Before));
    let next = tokio::time::timeout(FOREVER, stream.next()).await.unwrap();
    assert!(next.expect("not a clean end").is_err());
}

#[tokio::test]
async fn streams_end_when_the_host_stops() {
    let host = Arc::new(Host::start().await);
    let id = host.submit(&command()).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = lucius_server::http::serve(listener, host.api.clone(), async {
        let _stop = stopped.await;
    });
    let serving = tokio::spawn(serving);
    let path = format!("/v1/jobs/{id}/events");
    let mut stream = live(&host, &path).await;
    until(&mut stream, "attempt_created").await;
    stop.send(()).unwrap();
    assert_eq!(rest(&mut stream).await, "");
    serving.await.unwrap();
    Answer::of(open(&host, &path, None).await)
        .await
        .problem(503, "DRAINING");
}
