//! Azure's own crate as the client: what it sends is understood, and what it gets it can read.

#![allow(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is the point"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use azure_core::error::ErrorKind;
use azure_core::headers::{HeaderName, Headers};
use azure_core::{StatusCode, new_http_client};
use azure_messaging_servicebus::service_bus::{
    PeekLockResponse, SendMessageOptions, SettableBrokerProperties, SubscriptionReceiver,
    TopicClient,
};
use lucius_embedded_bus::{EmbeddedBus, Settings};
use lucius_ports::bus::Bus as _;
use tempfile::TempDir;

use crate::support::bus::open;
use crate::support::local_endpoint::LocalEndpoint;
use crate::support::message::{lane, message, service};
use crate::support::server::Server;

mod support {
    pub(crate) mod bus;
    pub(crate) mod local_endpoint;
    pub(crate) mod message;
    pub(crate) mod server;
}

const NAMESPACE: &str = "lucius-test";

/// A served bus and Azure's client of one of its topics.
struct Azure {
    bus: Arc<EmbeddedBus>,
    topic: TopicClient,
    receiver: SubscriptionReceiver,
    _server: Server,
    _directory: TempDir,
}

async fn azure() -> Azure {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings {
        max_delivery_count: 2,
        ..Settings::default()
    };
    let bus = open(directory.path(), settings);
    let server = Server::start(&bus).await;
    let topic = topic(&server, &lane().topic());
    let receiver = topic.subscription_receiver(service().as_str());
    Azure {
        bus,
        topic,
        receiver,
        _server: server,
        _directory: directory,
    }
}

fn topic(server: &Server, name: &str) -> TopicClient {
    let http = Arc::new(LocalEndpoint::new(
        new_http_client(),
        NAMESPACE,
        &server.url,
    ));
    TopicClient::new(
        http,
        NAMESPACE,
        name,
        "RootManageSharedAccessKey",
        "c2VjcmV0".to_owned(),
    )
    .unwrap()
}

/// How a directive is sent to Azure.
fn options(message_id: &str) -> SendMessageOptions {
    let properties = [
        ("service", "\"platform-ocr\""),
        ("tenant_id", "\"Acme\""),
        ("lane", "3"),
    ];
    let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
    SendMessageOptions {
        content_type: Some("application/json".to_owned()),
        broker_properties: Some(SettableBrokerProperties {
            message_id: Some(message_id.to_owned()),
            session_id: Some("acme".to_owned()),
            partition_key: Some("acme".to_owned()),
            ..SettableBrokerProperties::default()
        }),
        custom_properties: Some(HashMap::from(properties)),
    }
}

impl Azure {
    async fn send(&self, body: &str, message_id: &str) {
        self.topic
            .topic_sender()
            .send_message(body, Some(options(message_id)))
            .await
            .unwrap();
    }

    async fn lock(&self) -> PeekLockResponse {
        let locked = self
            .receiver
            .peek_lock_message2(Some(Duration::ZERO))
            .await
            .unwrap();
        assert_eq!(*locked.status(), StatusCode::Created);
        locked
    }

    async fn is_empty(&self) -> bool {
        let answer = self
            .receiver
            .peek_lock_message2(Some(Duration::ZERO))
            .await
            .unwrap();
        *answer.status() == StatusCode::NoContent
    }
}

fn status<T>(result: Result<T, azure_core::Error>) -> Option<StatusCode> {
    match result.err()?.kind() {
        ErrorKind::HttpResponse { status, .. } => Some(*status),
        ErrorKind::Io
        | ErrorKind::DataConversion
        | ErrorKind::Credential
        | ErrorKind::MockFramework
        | ErrorKind::Other => None,
    }
}

fn header<'a>(headers: &'a Headers, name: &'static str) -> Option<&'a str> {
    headers.get_optional_str(&HeaderName::from_static(name))
}

#[tokio::test]
async fn a_sent_message_is_locked_read_and_completed() {
    let azure = azure().await;
    azure.send("{\"stepId\":\"ocr\"}", "job:ocr:1").await;
    let locked = azure.lock().await;
    assert_eq!(locked.body(), "{\"stepId\":\"ocr\"}");
    let broker = locked.broker_properties().unwrap();
    assert_eq!(
        (broker.message_id.as_str(), broker.delivery_count),
        ("job:ocr:1", 1)
    );
    assert_eq!(
        (broker.state.as_str(), broker.sequence_number),
        ("Active", 1)
    );
    let enqueued = broker.enqueued_time_utc.unwrap();
    assert_eq!(broker.locked_until_utc - enqueued, Duration::from_secs(60));
    locked.delete_message().await.unwrap();
    assert!(azure.is_empty().await);
    assert_eq!(
        status(locked.delete_message().await),
        Some(StatusCode::NotFound)
    );
}

#[tokio::test]
async fn properties_come_back_as_they_were_sent() {
    let azure = azure().await;
    azure.send("{}", "job:ocr:1").await;
    let headers: Headers = azure.lock().await.custom_properties().unwrap();
    assert_eq!(header(&headers, "service"), Some("\"platform-ocr\""));
    assert_eq!(header(&headers, "tenant_id"), Some("\"Acme\""));
    assert_eq!(header(&headers, "lane"), Some("3"));
    assert_eq!(header(&headers, "content-type"), Some("application/json"));
    let broker = header(&headers, "brokerproperties").unwrap();
    assert!(broker.contains("\"SessionId\":\"acme\""), "{broker}");
    assert!(broker.contains("\"PartitionKey\":\"acme\""), "{broker}");
}

#[tokio::test]
async fn what_the_host_publishes_arrives_with_the_properties_of_a_directive() {
    let azure = azure().await;
    azure.bus.publish(&message(7)).await.unwrap();
    let locked = azure.lock().await;
    assert_eq!(locked.body(), message(7).body);
    assert_eq!(
        locked.broker_properties().unwrap().message_id,
        message(7).message_id
    );
    let headers: Headers = locked.custom_properties().unwrap();
    let job_id = format!("\"{}\"", message(7).job_id);
    let lane = lane().number().to_string();
    for (name, value) in [
        ("service", "\"platform-ocr\""),
        ("mode", "\"DEFAULT\""),
        ("lane", &lane),
        ("tenant_id", "\"Acme\""),
        ("jobid", &job_id),
        ("stepid", "\"ocr\""),
        ("attempt_no", "1"),
    ] {
        assert_eq!(header(&headers, name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn an_unlocked_message_is_delivered_again() {
    let azure = azure().await;
    azure.send("{}", "job:ocr:1").await;
    let first = azure.lock().await;
    assert!(azure.is_empty().await);
    first.unlock_message().await.unwrap();
    let second = azure.lock().await;
    assert_eq!(second.broker_properties().unwrap().delivery_count, 2);
    assert_eq!(
        status(first.unlock_message().await),
        Some(StatusCode::NotFound)
    );
}

#[tokio::test]
async fn a_lock_is_renewed_while_it_lasts() {
    let azure = azure().await;
    azure.send("{}", "job:ocr:1").await;
    let locked = azure.lock().await;
    locked.renew_message_lock().await.unwrap();
    locked.delete_message().await.unwrap();
    assert_eq!(
        status(locked.renew_message_lock().await),
        Some(StatusCode::NotFound)
    );
}

#[tokio::test]
async fn receive_and_delete_takes_the_message_out() {
    let azure = azure().await;
    azure.send("one", "job:ocr:1").await;
    assert_eq!(
        azure.receiver.receive_and_delete_message().await.unwrap(),
        "one"
    );
    assert!(azure.is_empty().await);
}

#[tokio::test]
async fn a_receiver_that_waits_gets_what_is_sent_meanwhile() {
    let azure = azure().await;
    let (locked, ()) = tokio::join!(
        azure
            .receiver
            .peek_lock_message2(Some(Duration::from_secs(60))),
        azure.send("late", "job:ocr:1"),
    );
    assert_eq!(locked.unwrap().body(), "late");
}

#[tokio::test]
async fn an_unknown_topic_is_gone() {
    let azure = azure().await;
    let nowhere = topic(&azure._server, "global-bus-p16");
    let sent = nowhere
        .topic_sender()
        .send_message("{}", Some(options("m")))
        .await;
    assert_eq!(status(sent), Some(StatusCode::Gone));
}

#[tokio::test]
async fn a_message_for_no_service_is_a_bad_request() {
    let azure = azure().await;
    let sent = azure.topic.topic_sender().send_message("{}", None).await;
    assert_eq!(status(sent), Some(StatusCode::BadRequest));
}
