//! A bus and a host in one small server, so that worker tests see every call and decide every
//! answer. Tests wait for what they expect to see, never for time to pass.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path as UrlPath, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use serde_json::{Value, json};
use tokio::sync::Notify;
use url::Url;
use uuid::Uuid;

/// After this long a test that waits has failed.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const MAX_DELIVERIES: u32 = 3;
pub(crate) const TOKEN: &str = "attempt-token";

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    Received { message: u64, count: u32 },
    Renewed(u64),
    Completed(u64),
    Abandoned(u64),
    DeadLettered(u64),
    LockLost,
    Ack(Value),
    Heartbeat(Value),
    Result(Value),
}

struct Message {
    number: u64,
    lane: u8,
    body: String,
    count: u32,
    lock: Option<u64>,
}

#[derive(Default)]
struct Inside {
    messages: Vec<Message>,
    next: u64,
    events: Vec<Event>,
    answers: HashMap<&'static str, VecDeque<(u16, Value)>>,
}

pub(crate) struct FakeHost {
    inside: Mutex<Inside>,
    changed: Notify,
    address: Mutex<String>,
}

impl FakeHost {
    pub(crate) async fn start() -> Arc<Self> {
        let host = Arc::new(Self {
            inside: Mutex::default(),
            changed: Notify::new(),
            address: Mutex::default(),
        });
        let messages = "/bus/{topic}/subscriptions/test-service/messages";
        let router = Router::new()
            .route(&format!("{messages}/head"), post(head))
            .route(
                &format!("{messages}/{{number}}/{{lock}}"),
                delete(complete).put(abandon).post(renew),
            )
            .route("/callbacks/{kind}", post(callback))
            .with_state(Arc::clone(&host));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        *host.address.lock().unwrap() = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        host
    }

    pub(crate) fn bus(&self) -> Url {
        Url::parse(&format!("{}/bus", self.address.lock().unwrap())).unwrap()
    }

    /// A directive for a file tree below `root`, with what `change` does to it.
    pub(crate) fn directive(&self, root: &Path, job: &str, change: Value) -> Value {
        let at = |name: &str| Url::from_file_path(root.join(name)).unwrap().to_string();
        let callbacks = format!("{}/callbacks", self.address.lock().unwrap());
        let mut directive = json!({
            "jobId": job, "tenant_id": "acme", "stepId": "ocr", "protocol_id": "atomic-ocr.v1",
            "step_type": "OCR", "attempt_no": 1,
            "lease_id": "7b0f3f0e-6d5d-4a39-9f0f-8f6a3a6f8f11",
            "input_ref": at("in/input"), "workspace_ref": at("workspace"),
            "output_ref": at(&format!("out/{job}")), "payload": {},
            "callback_urls": {
                "ack": format!("{callbacks}/ack"),
                "result": format!("{callbacks}/result"),
                "heartbeat": format!("{callbacks}/heartbeat"),
            },
            "callback_token": TOKEN, "correlation_id": "corr-1",
        });
        for (field, value) in change.as_object().unwrap() {
            directive[field] = value.clone();
        }
        directive
    }

    pub(crate) fn publish(&self, lane: u8, body: impl ToString) -> u64 {
        let mut inside = self.lock();
        inside.next += 1;
        let number = inside.next;
        inside.messages.push(Message {
            number,
            lane,
            body: body.to_string(),
            count: 0,
            lock: None,
        });
        drop(inside);
        self.changed.notify_waiters();
        number
    }

    /// The next callback of this kind is answered so; all others are applied.
    pub(crate) fn answer(&self, kind: &'static str, status: u16, body: Value) {
        self.lock()
            .answers
            .entry(kind)
            .or_default()
            .push_back((status, body));
    }

    /// Callbacks of this kind are applied from now on.
    pub(crate) fn forgive(&self, kind: &'static str) {
        self.lock().answers.remove(kind);
    }

    /// Every lock ends, as if its time were up.
    pub(crate) fn expire_locks(&self) {
        for message in &mut self.lock().messages {
            message.lock = None;
        }
        self.changed.notify_waiters();
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.lock().events.clone()
    }

    pub(crate) fn results(&self) -> Vec<Value> {
        let only = |event| match event {
            Event::Result(body) => Some(body),
            _ => None,
        };
        self.events().into_iter().filter_map(only).collect()
    }

    /// Waits until at least `count` events are as asked.
    pub(crate) async fn until(&self, count: usize, wanted: impl Fn(&Event) -> bool) {
        let seen = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.events().iter().filter(|event| wanted(event)).count() >= count {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(PATIENCE, seen).await.is_err() {
            panic!("waited in vain; what came: {:#?}", self.events());
        }
    }

    pub(crate) async fn until_seen(&self, event: Event) {
        self.until(1, |seen| *seen == event).await;
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    fn note(&self, event: Event) {
        self.lock().events.push(event);
        self.changed.notify_waiters();
    }

    fn lock_next(&self, lane: u8) -> Option<Response> {
        let mut inside = self.lock();
        inside.next += 1;
        let lock = inside.next;
        let message = inside
            .messages
            .iter_mut()
            .find(|m| m.lane == lane && m.lock.is_none())?;
        message.lock = Some(lock);
        message.count += 1;
        let (number, count) = (message.number, message.count);
        let broker = json!({
            "LockToken": lock.to_string(), "SequenceNumber": number, "DeliveryCount": count,
            "MessageId": format!("message-{number}"),
        });
        let body = message.body.clone();
        inside.events.push(Event::Received {
            message: number,
            count,
        });
        drop(inside);
        self.changed.notify_waiters();
        // The address of a bus behind a proxy: a client must come back by the one it knows.
        let location = format!("http://inner.invalid/{number}/{lock}");
        let headers = [
            ("Location", location),
            ("BrokerProperties", broker.to_string()),
        ];
        Some((StatusCode::CREATED, headers, body).into_response())
    }

    /// Runs `settle` on the message that is locked so, or says 404.
    fn settle(
        &self,
        number: u64,
        lock: u64,
        settle: impl FnOnce(&mut Inside, usize) -> Vec<Event>,
    ) -> StatusCode {
        let mut inside = self.lock();
        let held = inside
            .messages
            .iter()
            .position(|m| m.number == number && m.lock == Some(lock));
        let (status, events) = match held {
            Some(at) => (StatusCode::OK, settle(&mut inside, at)),
            None => (StatusCode::NOT_FOUND, vec![Event::LockLost]),
        };
        inside.events.extend(events);
        drop(inside);
        self.changed.notify_waiters();
        status
    }
}

type Host = State<Arc<FakeHost>>;
type Lock = UrlPath<(String, u64, u64)>;

async fn head(
    State(host): Host,
    UrlPath(topic): UrlPath<String>,
    Query(query): Query<HashMap<String, u64>>,
) -> Response {
    let lane: u8 = topic.strip_prefix("global-bus-p").unwrap().parse().unwrap();
    let next = async {
        loop {
            let changed = host.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(response) = host.lock_next(lane) {
                return response;
            }
            changed.await;
        }
    };
    let wait = Duration::from_secs(query["timeout"]);
    match tokio::time::timeout(wait, next).await {
        Ok(response) => response,
        Err(_) => StatusCode::NO_CONTENT.into_response(),
    }
}

async fn complete(State(host): Host, UrlPath((_, number, lock)): Lock) -> StatusCode {
    host.settle(number, lock, |inside, at| {
        inside.messages.remove(at);
        vec![Event::Completed(number)]
    })
}

async fn abandon(State(host): Host, UrlPath((_, number, lock)): Lock) -> StatusCode {
    host.settle(number, lock, |inside, at| {
        inside.messages[at].lock = None;
        if inside.messages[at].count < MAX_DELIVERIES {
            return vec![Event::Abandoned(number)];
        }
        inside.messages.remove(at);
        vec![Event::Abandoned(number), Event::DeadLettered(number)]
    })
}

async fn renew(State(host): Host, UrlPath((_, number, lock)): Lock) -> StatusCode {
    host.settle(number, lock, |_, _| vec![Event::Renewed(number)])
}

async fn callback(
    State(host): Host,
    UrlPath(kind): UrlPath<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    assert_eq!(headers["authorization"], format!("Bearer {TOKEN}"));
    let body: Value = serde_json::from_slice(&body).unwrap();
    let lease = body["lease_id"].as_str().unwrap();
    assert!(Uuid::parse_str(lease).is_ok() && body["timestamp"].is_string());
    let scripted = host
        .lock()
        .answers
        .get_mut(kind.as_str())
        .and_then(VecDeque::pop_front);
    let (status, answer) = scripted.unwrap_or_else(|| (200, json!({ "applied": true })));
    host.note(match kind.as_str() {
        "ack" => Event::Ack(body),
        "heartbeat" => Event::Heartbeat(body),
        "result" => Event::Result(body),
        other => panic!("no callback {other}"),
    });
    (StatusCode::from_u16(status).unwrap(), answer.to_string()).into_response()
}
