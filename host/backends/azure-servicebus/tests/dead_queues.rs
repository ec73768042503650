//! How many messages died, as a namespace tells it: in pages, and only to a key with the right *Manage*.

#![allow(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is the point"
)]

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use lucius_azure_servicebus::{Connection, ServiceBus};
use lucius_domain::routing::Lane;
use lucius_ports::bus::Error;
use lucius_ports::dead_queues::DeadQueues as _;

mod support {
    pub(crate) mod clock;
}

/// The service's own page.
const PAGE: usize = 100;
/// One topic has this many subscriptions, the last of which holds dead messages; the others have none.
const SUBSCRIPTIONS: usize = 103;

fn lane() -> Lane {
    Lane::of("acme")
}

fn entry(number: usize) -> String {
    let dead = if number + 1 == SUBSCRIPTIONS { 7 } else { 0 };
    format!(
        "<entry xml:base=\"https://acme/\"><title type=\"text\">service-{number}</title><content><CountDetails>\
         <d2p1:TransferDeadLetterMessageCount>5</d2p1:TransferDeadLetterMessageCount>\
         <d2p1:DeadLetterMessageCount>{dead}</d2p1:DeadLetterMessageCount></CountDetails></content></entry>"
    )
}

async fn answer(request: Request) -> (StatusCode, String) {
    assert_eq!(request.method(), Method::GET);
    let token = request.headers()["authorization"].to_str().unwrap();
    if token.contains("skn=send") {
        return (StatusCode::UNAUTHORIZED, String::new());
    }
    let query = request.uri().query().unwrap().to_owned();
    let skip = query.split("$skip=").nth(1).unwrap();
    let skip: usize = skip.split('&').next().unwrap().parse().unwrap();
    let here = format!("/{}/subscriptions", lane().topic());
    let entries = match request.uri().path() == here {
        true => (skip..SUBSCRIPTIONS).take(PAGE).map(entry).collect(),
        false => String::new(),
    };
    (StatusCode::OK, format!("<feed>{entries}</feed>"))
}

async fn bus(key_name: &str) -> Arc<ServiceBus> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let text =
        format!("Endpoint=http://{address};SharedAccessKeyName={key_name};SharedAccessKey=k");
    let connection = Connection::parse(&text).unwrap();
    ServiceBus::open(&connection, support::clock::stopped()).unwrap()
}

#[tokio::test]
async fn queues_on_later_pages_are_told_too() {
    let queues = bus("manage").await.dead_queues().await.unwrap();
    assert_eq!(queues.len(), 1);
    assert_eq!((queues[0].lane, queues[0].messages), (lane(), 7));
    assert_eq!(queues[0].service, "service-102".into());
}

#[tokio::test]
async fn a_key_that_may_only_send_is_told_what_it_lacks() {
    let error = bus("send").await.dead_queues().await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error}");
    assert!(error.to_string().contains("right Manage"), "{error}");
}
