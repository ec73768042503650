//! A key that the namespace takes no longer, for a while: what the host says, and that it goes on by itself.

#![allow(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is the point"
)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use lucius_azure_servicebus::{Connection, ServiceBus};
use lucius_domain::id::{AttemptNo, StepId};
use lucius_domain::routing::{Lane, Mode};
use lucius_ports::bus::{Bus, Error, Message};
use serde_json::json;

mod support {
    pub(crate) mod clock;
}

const KEY: &str = "c2VjcmV0LW9mLXRoZS1uYW1lc3BhY2U=";

/// A namespace whose key is rotated away and comes back.
#[derive(Default)]
struct Namespace {
    rotated: AtomicBool,
    /// The tokens it saw.
    tokens: Mutex<BTreeSet<String>>,
    /// The bodies it took.
    taken: Mutex<Vec<String>>,
}

async fn answer(State(namespace): State<Arc<Namespace>>, request: Request) -> StatusCode {
    if request.method() != Method::POST {
        return StatusCode::OK;
    }
    let token = request.headers()["authorization"].to_str().unwrap();
    namespace.tokens.lock().unwrap().insert(token.to_owned());
    if namespace.rotated.load(Ordering::Relaxed) {
        return StatusCode::UNAUTHORIZED;
    }
    let body = axum::body::to_bytes(request.into_body(), 1 << 20);
    let body = String::from_utf8(body.await.unwrap().to_vec()).unwrap();
    namespace.taken.lock().unwrap().push(body);
    StatusCode::CREATED
}

async fn bus(namespace: &Arc<Namespace>) -> Arc<ServiceBus> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .fallback(answer)
        .with_state(Arc::clone(namespace));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let text = format!("Endpoint=http://{address};SharedAccessKeyName=n;SharedAccessKey={KEY}");
    ServiceBus::open(
        &Connection::parse(&text).unwrap(),
        support::clock::stopped(),
    )
    .unwrap()
}

fn message(number: u32) -> Message {
    let id = "01920000-0000-7000-8000-000000000001";
    Message {
        message_id: format!("{id}:ocr:{number}"),
        lane: Lane::of("acme"),
        routing_key: "acme".to_owned(),
        service: "platform-ocr".into(),
        mode: Mode::Default,
        tenant_id: "acme".into(),
        job_id: serde_json::from_value(json!(id)).unwrap(),
        step_id: StepId::new("ocr"),
        attempt_no: AttemptNo(number),
        body: format!("directive {number}"),
    }
}

#[tokio::test]
async fn f30_a_key_that_is_refused_is_said_without_it_and_the_directive_goes_out_once_it_counts_again()
 {
    let namespace = Arc::new(Namespace::default());
    let bus = bus(&namespace).await;
    bus.publish(&message(1)).await.unwrap();
    bus.check().await.unwrap();

    namespace.rotated.store(true, Ordering::Relaxed);
    let refused = bus.publish(&message(2)).await.unwrap_err();
    let unready = bus.check().await.unwrap_err();
    for error in [refused, unready] {
        // Not `Refused`, which would end the job: the same directive is published again later.
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
        let says = format!("{error} {error:?}");
        assert!(says.contains("LUCIUS_SERVICEBUS_CONNECTION"), "{says}");
        assert!(!says.contains(KEY) && !says.contains("sig="), "{says}");
    }

    namespace.rotated.store(false, Ordering::Relaxed);
    bus.publish(&message(2)).await.unwrap();
    bus.check().await.unwrap();
    assert_eq!(
        *namespace.taken.lock().unwrap(),
        ["directive 1", "directive 2"]
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "the backend signs by the system's clock"
)]
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

#[tokio::test]
async fn f30_a_token_ends_within_the_hour_and_does_not_hold_the_key() {
    let namespace = Arc::new(Namespace::default());
    let bus = bus(&namespace).await;
    bus.publish(&message(1)).await.unwrap();
    let tokens = namespace.tokens.lock().unwrap();
    assert_eq!(tokens.len(), 1);
    for token in tokens.iter() {
        let parts = token
            .trim_start_matches("SharedAccessSignature ")
            .split('&');
        let end = parts.filter_map(|part| part.strip_prefix("se=")).next();
        let end: u64 = end.unwrap().parse().unwrap();
        let left = end.saturating_sub(now());
        assert!((1..=3_600).contains(&left), "{token} has {left} s left");
        assert!(!token.contains(KEY));
    }
}
