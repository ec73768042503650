//! What the API is tested over: a plugin runtime and a registry that do as they are told, a clock that moves by itself,
//! ids that are counted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use lucius_domain::id::{Digest, JobId, LeaseId};
use lucius_domain::job::Failure;
use lucius_domain::plugin::{Description, Dispatch, Route, Settle, Violation};
use lucius_domain::time::Timestamp;
use lucius_memory::records::MemoryRecords;
use lucius_ports::clock::{Clock, Ids};
use lucius_ports::ledger;
use lucius_ports::plugin::{AdmissionError, Answer, Answered, Call, Fault, Limits, Runtime};
use lucius_ports::records::{Key, Kind, Record, Records, Removed, Written};
use lucius_ports::registry::{Error, Source};
use serde_json::{Value, json};
use uuid::Uuid;

/// What must never leave the host.
pub(crate) const INSIDE: &str = "INSIDE /srv/secret";

/// A runtime for components that are nothing but their description. What a call does is up to the payload:
/// `{"do": "violate" | "trap" | "refuse" | "panic" | "skip" | "hang" | "pause"}`, anything else is fine.
pub(crate) struct Scripted;

#[async_trait]
impl Runtime for Scripted {
    async fn admit(
        &self,
        component: Arc<[u8]>,
        _limits: Limits,
    ) -> Result<Description, AdmissionError> {
        serde_json::from_slice(&component)
            .map_err(|error| AdmissionError::NotAComponent(error.to_string()))
    }

    async fn call(&self, _: &Digest, _: Limits, call: Call) -> Result<Answered, Fault> {
        let answer = match call {
            Call::Validate { payload, .. } => match payload["do"].as_str() {
                Some("violate") => Answer::Validated(Err(vec![
                    violation("/page_range", "PAGE_RANGE", "write it as 1-3,5"),
                    violation("/do", "DO", "do something else"),
                ])),
                Some("trap") => return Err(Fault::Trap(INSIDE.to_owned())),
                Some("panic") => panic!("{INSIDE}"),
                Some("hang") => std::future::pending().await,
                Some("pause") => {
                    tokio::task::yield_now().await;
                    Answer::Validated(Ok(payload))
                }
                Some(_) | None => Answer::Validated(Ok(payload)),
            },
            Call::Route { context } => match context.payload["do"].as_str() {
                Some("refuse") => {
                    let failure = Failure::new("NO_PAGES", "the document has no pages");
                    Answer::Routed(Route::Fail { failure })
                }
                Some("skip") => Answer::Routed(Route::Skip {
                    reason: "nothing to do".to_owned(),
                }),
                Some(_) | None => Answer::Routed(Route::Dispatch(Dispatch {
                    service: context.service,
                    payload: None,
                    ack_ms: None,
                    lease_ms: None,
                })),
            },
            Call::Settle { report, .. } => Answer::Settled(Settle::by_default(&report)),
        };
        Ok(Answered {
            answer,
            fuel: 7,
            memory_bytes: 1,
        })
    }

    fn drop_component(&self, _: &Digest) {}
}

fn violation(pointer: &str, code: &str, message: &str) -> Violation {
    Violation {
        pointer: pointer.to_owned(),
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

/// A registry in memory. Its one plugin is in all steps but those of the request type `PLAIN`.
pub(crate) struct Shelf {
    manifest: Mutex<String>,
    files: Mutex<HashMap<String, Arc<[u8]>>>,
    kept: Mutex<HashMap<Digest, Arc<[u8]>>>,
}

impl Shelf {
    pub(crate) fn new() -> Self {
        let component = json!({
            "id": "fake", "version": "1.0.0", "step_types": ["OCR", "EMBEDDING"],
            "services": ["platform-ocr", "platform-embedding"],
        });
        let component: Arc<[u8]> = component.to_string().into_bytes().into();
        let manifest = manifest(Digest::of(&component));
        Self {
            manifest: Mutex::new(manifest.to_string()),
            files: Mutex::new(HashMap::from([(
                "components/fake.wasm".to_owned(),
                component,
            )])),
            kept: Mutex::default(),
        }
    }

    /// Changes the manifest as it is now.
    pub(crate) fn edit(&self, change: impl FnOnce(&mut Value)) {
        let mut text = self.manifest.lock().unwrap();
        let mut manifest = serde_json::from_str(&text).unwrap();
        change(&mut manifest);
        *text = manifest.to_string();
    }
}

fn manifest(component: Digest) -> Value {
    let step = |name: &str| {
        json!({
            "step_id": name, "step_type": name.to_uppercase(), "service": format!("platform-{name}"),
            "plugin": "fake@1.0.0", "payload_schema_ref": format!("steps/{name}.v1"),
        })
    };
    json!({
        "schema_version": "v1",
        "protocols": [
            { "protocol_id": "atomic-ocr.v1", "request_types": ["OCR"], "steps": [step("ocr")] },
            {
                "protocol_id": "ocr-embedding.v1", "request_types": ["OCR->EMBEDDING"],
                "steps": [step("ocr"), step("embedding")],
            },
            {
                "protocol_id": "plain.v1", "request_types": ["PLAIN"],
                "steps": [{ "step_id": "plain", "step_type": "PLAIN", "service": "third-party" }],
            },
        ],
        "plugins": [{
            "id": "fake", "version": "1.0.0", "component": "components/fake.wasm",
            "sha256": component.to_string(), "services": ["platform-ocr", "platform-embedding"],
        }],
    })
}

#[async_trait]
impl Source for Shelf {
    async fn manifest(&self) -> Result<String, Error> {
        Ok(self.manifest.lock().unwrap().clone())
    }

    async fn file(&self, path: &str) -> Result<Arc<[u8]>, Error> {
        let files = self.files.lock().unwrap();
        files
            .get(path)
            .cloned()
            .ok_or_else(|| Error::Unreadable(format!("{path} is not there")))
    }

    async fn keep(&self, digest: Digest, component: Arc<[u8]>) -> Result<(), Error> {
        self.kept.lock().unwrap().insert(digest, component);
        Ok(())
    }

    async fn kept(&self, digest: Digest) -> Result<Arc<[u8]>, Error> {
        let kept = self.kept.lock().unwrap();
        kept.get(&digest)
            .cloned()
            .ok_or_else(|| Error::Unreadable(format!("{digest} is not kept")))
    }

    async fn all_kept(&self) -> Result<Vec<Digest>, Error> {
        Ok(self.kept.lock().unwrap().keys().copied().collect())
    }

    async fn forget(&self, digest: Digest) -> Result<(), Error> {
        self.kept.lock().unwrap().remove(&digest);
        Ok(())
    }
}

/// Every look is a millisecond later.
pub(crate) struct Ticking(AtomicI64);

impl Default for Ticking {
    fn default() -> Self {
        Self(AtomicI64::new(1_700_000_000_000))
    }
}

impl Ticking {
    pub(crate) fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.fetch_add(1, Ordering::SeqCst))
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Counted, and of the right form.
#[derive(Default)]
pub(crate) struct Counted(AtomicU64);

impl Counted {
    fn next(&self, kind: u128) -> Uuid {
        Uuid::from_u128(kind + u128::from(self.0.fetch_add(1, Ordering::SeqCst)))
    }
}

impl Ids for Counted {
    fn job_id(&self, _now: Timestamp) -> JobId {
        JobId(self.next(0x018b_cfe5_6800_7000_8000_0000_0000_0000))
    }

    fn lease_id(&self) -> LeaseId {
        LeaseId(self.next(0xfeed_face_0000_4000_8000_0000_0000_0000))
    }
}

/// Records that fail once when they are told to.
#[derive(Default)]
pub(crate) struct Shaky {
    inner: MemoryRecords,
    fails: AtomicBool,
}

impl Shaky {
    pub(crate) fn fail_next(&self) {
        self.fails.store(true, Ordering::SeqCst);
    }

    fn check(&self) -> Result<(), ledger::Error> {
        match self.fails.swap(false, Ordering::SeqCst) {
            true => Err(ledger::Error::Unavailable("by plan".to_owned())),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Records for Shaky {
    async fn get(&self, kind: Kind, key: &Key) -> Result<Option<Record>, ledger::Error> {
        self.check()?;
        self.inner.get(kind, key).await
    }

    async fn put(
        &self,
        kind: Kind,
        key: &Key,
        body: String,
        expected: Option<u64>,
    ) -> Result<Written, ledger::Error> {
        self.check()?;
        self.inner.put(kind, key, body, expected).await
    }

    async fn remove(&self, kind: Kind, key: &Key, expected: u64) -> Result<Removed, ledger::Error> {
        self.check()?;
        self.inner.remove(kind, key, expected).await
    }

    async fn list(
        &self,
        kind: Kind,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Record>, ledger::Error> {
        self.check()?;
        self.inner.list(kind, after, limit).await
    }
}
