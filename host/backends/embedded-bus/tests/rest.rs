//! The REST calls as any HTTP client sees them, nested as in the host.

#![allow(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is the point"
)]

use std::sync::Arc;

use lucius_embedded_bus::{EmbeddedBus, Settings};
use lucius_ports::bus::Bus as _;
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::bus::open;
use crate::support::message::{lane, message, service};
use crate::support::server::Server;

mod support {
    pub(crate) mod bus;
    pub(crate) mod message;
    pub(crate) mod server;
}

struct Http {
    bus: Arc<EmbeddedBus>,
    server: Server,
    client: Client,
    _directory: TempDir,
}

async fn http(settings: Settings) -> Http {
    let directory = tempfile::tempdir().unwrap();
    let bus = open(directory.path(), settings);
    let server = Server::start(&bus).await;
    Http {
        bus,
        server,
        client: Client::new(),
        _directory: directory,
    }
}

impl Http {
    async fn call(&self, method: Method, path: &str) -> Response {
        let url = format!("{}/{path}", self.server.url);
        self.client.request(method, url).send().await.unwrap()
    }

    async fn send(&self, properties: &[(&str, &str)], body: String) -> Response {
        let url = format!("{}/{}/messages", self.server.url, lane().topic());
        let mut request = self.client.post(url).body(body);
        for (name, value) in properties {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    async fn at(&self, location: &str, method: Method) -> StatusCode {
        self.client
            .request(method, location)
            .send()
            .await
            .unwrap()
            .status()
    }
}

/// Below the topic: the subscription's next message, or the next dead one.
fn head(side: &str) -> String {
    format!(
        "{}/subscriptions/{}/{side}messages/head?timeout=0",
        lane().topic(),
        service()
    )
}

fn location(response: &Response) -> String {
    response.headers()["location"].to_str().unwrap().to_owned()
}

fn broker(response: &Response) -> Value {
    serde_json::from_slice(response.headers()["brokerproperties"].as_bytes()).unwrap()
}

async fn problem(response: Response) -> (u16, String, String) {
    let status = response.status().as_u16();
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(body["status"], status);
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    (status, text("code"), text("detail"))
}

#[tokio::test]
async fn the_location_of_a_lock_is_absolute_and_below_the_nest() {
    let http = http(Settings::default()).await;
    http.bus.publish(&message(1)).await.unwrap();
    let locked = http.call(Method::POST, &head("")).await;
    assert_eq!(locked.status(), StatusCode::CREATED);
    let location = location(&locked);
    let token = broker(&locked)["LockToken"].as_str().unwrap().to_owned();
    let expected = format!(
        "{}/{}/subscriptions/{}/messages/1/{token}",
        http.server.url,
        lane().topic(),
        service()
    );
    assert_eq!(location, expected);
    assert_eq!(http.at(&location, Method::POST).await, StatusCode::OK);
    assert_eq!(http.at(&location, Method::PUT).await, StatusCode::OK);
    assert_eq!(
        http.at(&location, Method::DELETE).await,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_lock_can_be_named_by_message_id_too() {
    let http = http(Settings::default()).await;
    http.bus.publish(&message(1)).await.unwrap();
    let locked = http.call(Method::POST, &head("")).await;
    let by_id = location(&locked).replace(
        "/messages/1/",
        &format!("/messages/{}/", message(1).message_id),
    );
    assert_eq!(http.at(&by_id, Method::DELETE).await, StatusCode::OK);
}

#[tokio::test]
async fn service_may_be_quoted_or_not() {
    let http = http(Settings::default()).await;
    for service in ["platform-ocr", "\"platform-ocr\""] {
        let sent = http.send(&[("service", service)], "{}".to_owned()).await;
        assert_eq!(sent.status(), StatusCode::CREATED);
        let received = http.call(Method::DELETE, &head("")).await;
        assert_eq!(received.status(), StatusCode::OK);
        assert_eq!(received.headers()["service"], "\"platform-ocr\"");
    }
}

#[tokio::test]
async fn a_message_without_an_id_gets_one() {
    let http = http(Settings::default()).await;
    for _ in 0..2 {
        http.send(&[("service", "platform-ocr")], "{}".to_owned())
            .await;
    }
    let (one, other) = (
        http.call(Method::POST, &head("")).await,
        http.call(Method::POST, &head("")).await,
    );
    assert_ne!(broker(&one)["MessageId"], broker(&other)["MessageId"]);
}

#[tokio::test]
async fn any_bytes_are_a_body() {
    let http = http(Settings::default()).await;
    let url = format!("{}/{}/messages", http.server.url, lane().topic());
    let body = vec![0_u8, 255, 10, 128];
    let sent = http
        .client
        .post(url)
        .header("service", "platform-ocr")
        .body(body.clone());
    assert_eq!(sent.send().await.unwrap().status(), StatusCode::CREATED);
    let received = http.call(Method::DELETE, &head("")).await;
    assert_eq!(received.bytes().await.unwrap(), body);
}

#[tokio::test]
async fn dead_letters_are_looked_at_and_taken_with_the_same_verbs() {
    let http = http(Settings {
        max_delivery_count: 1,
        ..Settings::default()
    })
    .await;
    http.bus.publish(&message(1)).await.unwrap();
    let locked = http.call(Method::POST, &head("")).await;
    assert_eq!(
        http.at(&location(&locked), Method::PUT).await,
        StatusCode::OK
    );
    assert_eq!(
        http.call(Method::POST, &head("")).await.status(),
        StatusCode::NO_CONTENT
    );

    let dead = http.call(Method::POST, &head("$DeadLetterQueue/")).await;
    assert_eq!(dead.status(), StatusCode::CREATED);
    assert_eq!(
        dead.headers()["deadletterreason"],
        "\"MaxDeliveryCountExceeded\""
    );
    let lock = location(&dead);
    assert!(lock.contains("/$DeadLetterQueue/messages/1/"), "{lock}");
    assert_eq!(http.at(&lock, Method::POST).await, StatusCode::OK);
    assert_eq!(http.at(&lock, Method::PUT).await, StatusCode::OK);

    let taken = http.call(Method::DELETE, &head("$deadletterqueue/")).await;
    assert_eq!(taken.status(), StatusCode::OK);
    assert_eq!(taken.text().await.unwrap(), message(1).body);
    let none = http.call(Method::DELETE, &head("$DeadLetterQueue/")).await;
    assert_eq!(none.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_announced_or_not() {
    let http = http(Settings {
        max_message_bytes: 1_000,
        ..Settings::default()
    })
    .await;
    let service = [("service", "platform-ocr")];
    let refused = http.send(&service, "x".repeat(1_001)).await;
    assert_eq!(problem(refused).await.1, "MESSAGE_TOO_LARGE");
    let properties = [("service", "platform-ocr"), ("p", &*"x".repeat(900))];
    let (status, code, detail) = problem(http.send(&properties, "x".repeat(99)).await).await;
    assert_eq!((status, code.as_str()), (403, "MESSAGE_TOO_LARGE"));
    assert!(detail.contains("1000 bytes"), "{detail}");
    assert_eq!(
        http.send(&service, "x".repeat(800)).await.status(),
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn wrong_calls_get_an_answer_that_says_what_is_wrong() {
    let http = http(Settings::default()).await;
    let topic = lane().topic();
    for (method, path, status, code) in [
        (
            Method::POST,
            "global-bus-p16/messages".to_owned(),
            410,
            "NO_SUCH_TOPIC",
        ),
        (
            Method::POST,
            "global-bus-p16/subscriptions/s/messages/head".to_owned(),
            410,
            "NO_SUCH_TOPIC",
        ),
        (
            Method::POST,
            format!("{topic}/messages"),
            400,
            "BAD_REQUEST",
        ),
        (
            Method::POST,
            format!("{topic}/subscriptions/s/messages/head?timeout=soon"),
            400,
            "BAD_REQUEST",
        ),
        (
            Method::POST,
            format!("{topic}/subscriptions/s/messages/head?timeout=-1"),
            400,
            "BAD_REQUEST",
        ),
        (
            Method::POST,
            format!("{topic}/subscriptions/s/messages/head?timeout=NaN"),
            400,
            "BAD_REQUEST",
        ),
        (
            Method::POST,
            format!("{topic}/subscriptions/a%20b/messages/head?timeout=0"),
            400,
            "BAD_REQUEST",
        ),
        (
            Method::POST,
            format!("{topic}/subscriptions/s/$Other/messages/head?timeout=0"),
            404,
            "NOT_FOUND",
        ),
        (
            Method::DELETE,
            format!("{topic}/subscriptions/s/messages/1/no-token"),
            404,
            "NOT_FOUND",
        ),
        (Method::GET, "nowhere/at/all".to_owned(), 404, "NOT_FOUND"),
    ] {
        let (got, name, detail) = problem(http.call(method, &path).await).await;
        assert_eq!((got, name.as_str()), (status, code), "{path}: {detail}");
        assert!(!detail.contains('\n'), "{detail}");
    }
}

#[tokio::test]
async fn what_the_bus_cannot_do_it_refuses() {
    let http = http(Settings::default()).await;
    let later = [
        ("service", "platform-ocr"),
        (
            "BrokerProperties",
            r#"{"ScheduledEnqueueTimeUtc":"Sat, 17 Jan 2026 09:31:00 GMT"}"#,
        ),
    ];
    let (status, _, detail) = problem(http.send(&later, "{}".to_owned()).await).await;
    assert_eq!(status, 400);
    assert!(detail.contains("ScheduledEnqueueTimeUtc"), "{detail}");
}

#[tokio::test]
async fn a_second_send_of_what_still_waits_is_answered_and_dropped() {
    let http = http(Settings::default()).await;
    let properties = [
        ("service", "platform-ocr"),
        ("BrokerProperties", r#"{"MessageId":"m"}"#),
    ];
    for _ in 0..2 {
        let sent = http.send(&properties, "{}".to_owned()).await;
        assert_eq!(sent.status(), StatusCode::CREATED);
    }
    assert_eq!(
        http.call(Method::DELETE, &head("")).await.status(),
        StatusCode::OK
    );
    assert_eq!(
        http.call(Method::DELETE, &head("")).await.status(),
        StatusCode::NO_CONTENT
    );
    http.send(&properties, "{}".to_owned()).await;
    assert_eq!(
        http.call(Method::DELETE, &head("")).await.status(),
        StatusCode::OK,
        "once the first copy is gone, the id is a new message"
    );
}

#[tokio::test]
async fn closing_ends_waiting_receives_and_lets_locks_be_settled() {
    let http = http(Settings::default()).await;
    http.bus.publish(&message(1)).await.unwrap();
    let locked = http.call(Method::POST, &head("")).await;
    let path = format!(
        "{}/subscriptions/other/messages/head?timeout=60",
        lane().topic()
    );
    let close = async {
        // The waiting receive is there once its subscription is.
        while http.bus.stats().subscriptions.len() < 2 {
            tokio::task::yield_now().await;
        }
        http.bus.close();
    };
    let (waited, ()) = tokio::join!(http.call(Method::POST, &path), close);
    assert_eq!(waited.headers()["retry-after"], "1");
    assert_eq!(problem(waited).await.0, 503);
    let refused = http
        .send(&[("service", "platform-ocr")], "{}".to_owned())
        .await;
    assert_eq!(problem(refused).await.1, "DRAINING");
    assert_eq!(
        http.at(&location(&locked), Method::DELETE).await,
        StatusCode::OK
    );
}
