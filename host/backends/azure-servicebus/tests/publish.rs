//! What a namespace answers to a publish, and what that means: try again later, put something right, or never.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use axum::http::StatusCode;
use lucius_azure_servicebus::{Connection, ServiceBus};
use lucius_domain::id::{AttemptNo, JobId, ServiceName, StepId, TenantId};
use lucius_domain::routing::{Lane, Mode};
use lucius_ports::bus::{Bus as _, Error, Message};

mod support {
    pub(crate) mod clock;
}

/// A key that nothing may show.
const SECRET: &str = "c2VjcmV0";

/// A namespace that answers every send the same way.
struct Namespace {
    answer: Arc<AtomicU16>,
    bus: Arc<ServiceBus>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Namespace {
    async fn start() -> Self {
        let answer = Arc::new(AtomicU16::new(201));
        let given = Arc::clone(&answer);
        let router = axum::Router::new().fallback(move |request: axum::extract::Request| {
            let code = match request.method() == axum::http::Method::POST {
                true => given.load(Ordering::Relaxed),
                false => 200, // somebody asks whether it is there
            };
            async move { StatusCode::from_u16(code).expect("a status") }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let server =
            tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        let text =
            format!("Endpoint=http://{address}/;SharedAccessKeyName=n;SharedAccessKey={SECRET}");
        let connection = Connection::parse(&text).expect("it is whole");
        let bus = ServiceBus::open(&connection, support::clock::stopped()).expect("it opens");
        Self {
            answer,
            bus,
            server,
        }
    }

    async fn publish(&self, status: u16, bytes: usize) -> Result<(), Error> {
        self.answer.store(status, Ordering::Relaxed);
        self.bus.publish(&message(bytes)).await
    }
}

fn message(bytes: usize) -> Message {
    let job_id = JobId::parse("01934e5f-0000-7000-8000-000000000000").expect("an id");
    Message {
        message_id: format!("{job_id}:ocr:1"),
        lane: Lane::of("acme"),
        routing_key: "acme".to_owned(),
        service: ServiceName::new("platform-ocr"),
        mode: Mode::Default,
        tenant_id: TenantId::new("acme"),
        job_id,
        step_id: StepId::new("ocr"),
        attempt_no: AttemptNo(1),
        body: "x".repeat(bytes),
    }
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_the_namespace_stays_in_use() {
    let namespace = Namespace::start().await;
    for status in [403, 408, 429, 500, 502, 503, 504] {
        let error = namespace.publish(status, 10).await.expect_err("it says no");
        assert!(matches!(error, Error::Unavailable(_)), "{status}: {error}");
        assert!(namespace.bus.check().await.is_ok(), "{status}");
    }
}

#[tokio::test]
async fn what_an_operator_has_to_put_right_is_said_until_a_publish_succeeds() {
    let namespace = Namespace::start().await;
    for (status, remedy) in [
        (401, "LUCIUS_SERVICEBUS_CONNECTION"),
        (404, "lucius azure apply"),
        (410, "lucius azure apply"),
    ] {
        let error = namespace.publish(status, 10).await.expect_err("it says no");
        assert!(matches!(error, Error::Unavailable(_)), "{status}: {error}");
        let unready = namespace.bus.check().await.expect_err("it is not ready");
        for text in [error.to_string(), unready.to_string()] {
            assert!(text.contains(remedy) && !text.contains(SECRET), "{text}");
        }
        namespace.publish(201, 10).await.expect("it is put right");
        assert!(namespace.bus.check().await.is_ok());
    }
}

#[tokio::test]
async fn what_no_namespace_will_take_is_given_up() {
    let namespace = Namespace::start().await;
    for (status, bytes) in [(400, 10), (413, 10), (403, 300_000)] {
        let error = namespace
            .publish(status, bytes)
            .await
            .expect_err("it says no");
        assert!(matches!(error, Error::Refused(_)), "{status}: {error}");
        assert!(namespace.bus.check().await.is_ok(), "{status}");
    }
}
