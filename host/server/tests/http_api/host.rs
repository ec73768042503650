//! A host without a network, and a client for it.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use lucius_domain::id::JobId;
use lucius_domain::routing::Lane;
use lucius_engine::settings::Limits;
use lucius_engine::{Engine, Ports};
use lucius_memory::bus::MemoryBus;
use lucius_memory::faulty::Faulty;
use lucius_memory::ledger::MemoryLedger;
use lucius_server::http::{Api, Settings};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::documented;
use crate::scripted::{Counted, Scripted, Shaky, Shelf, Ticking};

/// A host whose every part is at hand.
pub(crate) struct Host {
    pub(crate) engine: Arc<Engine>,
    pub(crate) ledger: Arc<Faulty<MemoryLedger>>,
    pub(crate) records: Arc<Shaky>,
    pub(crate) bus: Arc<MemoryBus>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) clock: Arc<Ticking>,
    pub(crate) api: Api,
    pub(crate) router: Router,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) async fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Self {
            status: parts.status,
            headers: parts.headers,
            text,
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Checks everything that is the same for all problems, and returns it.
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        let problem = self.json();
        assert_eq!(
            (self.status.as_u16(), problem["code"].as_str()),
            (status, Some(code)),
            "{problem}"
        );
        assert_eq!(self.header("content-type"), "application/problem+json");
        let kind = code.to_lowercase().replace('_', "-");
        assert_eq!(
            problem["type"],
            format!("https://lucius.dev/problems/{kind}")
        );
        assert_eq!(problem["status"], status);
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        for member in ["title", "detail", "request_id"] {
            assert!(
                problem[member]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{problem}"
            );
        }
        let waits = matches!(status, 429 | 503);
        assert_eq!(self.headers.contains_key("retry-after"), waits, "{problem}");
        problem
    }
}

pub(crate) fn limits() -> Limits {
    Limits::default()
}

impl Host {
    pub(crate) async fn start() -> Self {
        Self::with(limits(), Settings::default()).await
    }

    pub(crate) async fn with(limits: Limits, settings: Settings) -> Self {
        let memory = Arc::new(MemoryLedger::new());
        let ledger = Arc::new(Faulty::new(Arc::clone(&memory)));
        let records = Arc::new(Shaky::default());
        let (bus, shelf) = (Arc::new(MemoryBus::default()), Arc::new(Shelf::new()));
        let clock = Arc::new(Ticking::default());
        let ports = Ports {
            ledger: Arc::clone(&ledger) as _,
            pins: Arc::clone(&ledger) as _,
            generations: Arc::clone(&ledger) as _,
            records: Arc::clone(&records) as _,
            upkeep: memory,
            dead_queues: Arc::clone(&bus) as _,
            bus: Arc::clone(&bus) as _,
            runtime: Arc::new(Scripted),
            source: Arc::clone(&shelf) as _,
            clock: Arc::clone(&clock) as _,
            ids: Arc::new(Counted::default()),
        };
        let pipeline = lucius_engine::Settings {
            sweep_interval: std::time::Duration::from_secs(3_600),
            limits,
            ..lucius_engine::Settings::alone("127.0.0.1:7420", [7; 32])
        };
        let engine = Engine::open(ports, pipeline).await.unwrap();
        let head = "/{topic}/subscriptions/{sub}/messages/head";
        let bus_router = Router::new()
            .route("/{topic}/messages", axum::routing::post(async || "bus"))
            .route(head, axum::routing::post(async || "message"));
        let api = Api::new(Arc::clone(&engine), Some(bus_router), settings);
        let router = api.router();
        Self {
            engine,
            ledger,
            records,
            bus,
            shelf,
            clock,
            api,
            router,
        }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answer = Answer::of(self.router.clone().oneshot(request).await.unwrap()).await;
        documented::check(&method, &path, &answer);
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(json_request(path, body.to_string())).await
    }

    pub(crate) async fn bare(&self, method: Method, path: &str) -> Answer {
        let request = Request::builder().method(method).uri(path);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// Submits a command and returns its job's id.
    pub(crate) async fn submit(&self, command: &Value) -> String {
        let answer = self.post("/v1/commands", command).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        answer.json()["jobId"].as_str().unwrap().to_owned()
    }

    /// Publishes what waits, and returns the latest directive of the job.
    pub(crate) async fn directive(&self, job: &str) -> Value {
        for lane in Lane::all() {
            self.engine.dispatch_tick(lane).await.unwrap();
        }
        let job = JobId::parse(job).unwrap();
        let sent = self.bus.accepted();
        let message = sent
            .iter()
            .rev()
            .find(|message| message.job_id == job)
            .unwrap();
        serde_json::from_str(&message.body).unwrap()
    }

    /// Sends a callback about a directive, with its token.
    pub(crate) async fn callback(&self, verb: &str, directive: &Value, more: Value) -> Answer {
        let token = directive["callback_token"].as_str().unwrap();
        let request = callback_request(verb, directive, more, Some(&format!("Bearer {token}")));
        self.send(request).await
    }

    /// An hour goes by, and the sweepers see it.
    pub(crate) async fn pass_time(&self) {
        self.clock.advance(3_600_000);
        for sweeper in lucius_engine::sweep::ALL {
            for lane in Lane::all() {
                self.engine.sweep_tick(sweeper, lane).await.unwrap();
            }
        }
    }

    /// Lets a service do all that is left of a job.
    pub(crate) async fn finish(&self, job: &str) {
        while !self.get(&format!("/v1/jobs/{job}")).await.json()["completed_at"].is_string() {
            let directive = self.directive(job).await;
            let answer = self.callback("result", &directive, succeeded()).await;
            assert_eq!(answer.json(), json!({ "applied": true }));
        }
    }
}

/// A command for two steps.
pub(crate) fn command() -> Value {
    json!({
        "schema_version": "v1", "tenant_id": "acme", "request_type": "OCR->EMBEDDING",
        "input_ref": "file:///in/letter.pdf", "output_ref": "file:///out/",
        "doc_id": "letter", "correlation_id": "c-1", "payload": {},
    })
}

/// The same with one member changed.
pub(crate) fn command_with(member: &str, value: impl Into<Value>) -> Value {
    let mut command = command();
    command[member] = value.into();
    command
}

pub(crate) fn json_request(path: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::post(path).header("content-type", "application/json");
    request.body(body.into()).unwrap()
}

/// What a RESULT says beyond its attempt.
pub(crate) fn succeeded() -> Value {
    json!({ "status": "SUCCEEDED", "artifact_refs": ["file:///workspace/text.json"] })
}

pub(crate) fn failed(class: &str) -> Value {
    json!({
        "status": "FAILED", "failure_class": class,
        "error": { "code": "NO_TEXT", "message": "there is no text", "details": { "page": 1 } },
    })
}

pub(crate) fn callback_request(
    verb: &str,
    directive: &Value,
    more: Value,
    authorization: Option<&str>,
) -> Request<Body> {
    let mut body = json!({ "timestamp": "2026-01-01T00:00:00Z" });
    for member in ["jobId", "stepId", "attempt_no", "lease_id"] {
        body[member] = directive[member].clone();
    }
    for (member, value) in more.as_object().unwrap() {
        body[member] = value.clone();
    }
    let mut request = json_request(&format!("/v1/callbacks/{verb}"), body.to_string());
    if let Some(authorization) = authorization {
        request
            .headers_mut()
            .insert("authorization", authorization.parse().unwrap());
    }
    request
}
