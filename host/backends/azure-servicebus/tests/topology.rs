//! The management calls, against a small namespace that takes what the service takes.

#![allow(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is the point"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use lucius_azure_servicebus::Connection;
use lucius_azure_servicebus::topology::{Entity, Found, ManageError, Management, Shape};
use lucius_domain::time::Timestamp;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// Entities by path, as they were sent.
type Namespace = Arc<Mutex<BTreeMap<String, String>>>;

async fn answer(State(namespace): State<Namespace>, request: Request) -> (StatusCode, String) {
    let token = request.headers()["authorization"].to_str().unwrap();
    if !token.starts_with("SharedAccessSignature sr=") || token.contains("skn=listen") {
        return (StatusCode::UNAUTHORIZED, String::new());
    }
    assert_eq!(request.uri().query(), Some("api-version=2021-05"));
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let method = request.method().clone();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20)
        .await
        .unwrap();
    let mut entities = namespace.lock().unwrap();
    if method == Method::GET {
        let key = path.trim_end_matches("/rules");
        // A feed without entries is how the service says that there is nothing.
        let nothing = "<feed xmlns=\"http://www.w3.org/2005/Atom\"></feed>".to_owned();
        return (
            StatusCode::OK,
            entities.get(key).cloned().unwrap_or(nothing),
        );
    }
    if let Some((topic, _)) = path.split_once("/subscriptions/")
        && !entities.contains_key(topic)
    {
        return (
            StatusCode::NOT_FOUND,
            "<Error><Detail>no topic</Detail></Error>".to_owned(),
        );
    }
    if entities.contains_key(&path) {
        return (StatusCode::CONFLICT, String::new());
    }
    entities.insert(path, String::from_utf8(body.to_vec()).unwrap());
    (StatusCode::CREATED, String::new())
}

async fn management(key_name: &str, lock: u64, namespace: &Namespace) -> Management {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .fallback(answer)
        .with_state(Arc::clone(namespace));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let text =
        format!("Endpoint=http://{address};SharedAccessKeyName={key_name};SharedAccessKey=k");
    let shape = Shape {
        lock: Duration::from_secs(lock),
        max_delivery_count: 10,
        duplicate_window: Duration::from_secs(600),
    };
    Management::new(Connection::parse(&text).unwrap(), shape).unwrap()
}

#[tokio::test]
async fn what_is_missing_is_made_and_then_right() {
    let namespace = Namespace::default();
    let management = management("manage", 60, &namespace).await;
    let needed = Entity::needed(&["platform-ocr".into()]);
    for entity in &needed {
        assert_eq!(management.look(entity, NOW).await.unwrap(), Found::Missing);
        management.create(entity, NOW).await.unwrap();
        assert_eq!(management.look(entity, NOW).await.unwrap(), Found::Right);
    }
    for entity in &needed {
        management.create(entity, NOW).await.unwrap();
    }
    let entities = namespace.lock().unwrap();
    let subscription = &entities["global-bus-p3/subscriptions/platform-ocr"];
    assert!(subscription.contains("<SqlExpression>service = 'platform-ocr'</SqlExpression>"));
    assert!(entities["global-bus-p3"].contains("PT10M"));
}

#[tokio::test]
async fn what_differs_is_said_and_left_alone() {
    let namespace = Namespace::default();
    let entity = Entity::Subscription(lucius_domain::routing::Lane::of("x"), "svc".into());
    let Entity::Subscription(lane, _) = &entity else {
        panic!()
    };
    let old = management("manage", 30, &namespace).await;
    old.create(&Entity::Topic(*lane), NOW).await.unwrap();
    old.create(&entity, NOW).await.unwrap();
    let new = management("manage", 60, &namespace).await;
    let found = new.look(&entity, NOW).await.unwrap();
    let said = vec!["LockDuration is PT30S, not PT1M".to_owned()];
    assert_eq!(found, Found::Different(said));
}

#[tokio::test]
async fn a_key_without_rights_is_said_with_what_to_ask_for() {
    let management = management("listen", 60, &Namespace::default()).await;
    let entity = Entity::Topic(lucius_domain::routing::Lane::of("x"));
    let error = management.look(&entity, NOW).await.unwrap_err();
    assert!(matches!(error, ManageError::Denied { .. }));
    assert!(error.to_string().contains("right Manage"), "{error}");
}
