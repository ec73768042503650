//! A registry, and plugins that do as chance says: accept, skip, fail, ask for a wait, break a rule, break down.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use lucius_domain::id::{Digest, ServiceName};
use lucius_domain::job::Failure;
use lucius_domain::plugin::{Description, Dispatch, Report, Route, Settle, Violation};
use lucius_ports::plugin::{AdmissionError, Answer, Answered, Call, Fault, Limits, Runtime};
use lucius_ports::registry::{Error, Source};
use serde_json::{Value, json};

use crate::world::World;

/// The longest wait a plugin asks for in a run, in milliseconds.
pub(crate) const LONGEST_WAIT_MS: i64 = 7_000;

/// It breaks down.
pub(crate) const TRAP: u64 = 0;
/// It skips the step that it is to route.
pub(crate) const SKIP: u64 = 8;
/// It does what it is for.
pub(crate) const USUAL: u64 = 99;

const PLUGINS: [&str; 3] = ["ocr", "embedding", "sis"];

/// The request types of a run: one step, three with plugins, two without.
pub(crate) const REQUEST_TYPES: [&str; 3] = ["OCR", "OCR->EMBEDDING->SIS", "PLAIN"];

fn description(id: &str) -> String {
    let (name, service) = (id.to_uppercase(), format!("platform-{id}"));
    json!({ "id": id, "version": "1.0.0", "step_types": [name], "services": [service] }).to_string()
}

fn manifest() -> Value {
    let step = |id: &str| {
        json!({
            "step_id": id, "step_type": id.to_uppercase(), "service": format!("platform-{id}"),
            "plugin": format!("{id}@1.0.0"),
        })
    };
    let plugins = PLUGINS.map(|id| {
        json!({
            "id": id, "version": "1.0.0", "component": format!("components/{id}.wasm"),
            "sha256": Digest::of(description(id).as_bytes()).to_string(),
            "services": [format!("platform-{id}")],
        })
    });
    let mut impatient = step("ocr");
    impatient["timeout_overrides"] = json!({ "ack_seconds": 1, "lease_seconds": 3 });
    json!({
        "schema_version": "v1",
        "protocols": [
            { "protocol_id": "atomic-ocr.v1", "request_types": ["OCR"], "steps": [impatient] },
            {
                "protocol_id": "ocr-embedding-sis.v1", "request_types": ["OCR->EMBEDDING->SIS"],
                "steps": [step("ocr"), step("embedding"), step("sis")],
            },
            {
                "protocol_id": "plain.v1", "request_types": ["PLAIN"],
                "steps": [
                    { "step_id": "one", "step_type": "ONE", "service": "anyone" },
                    { "step_id": "two", "step_type": "TWO", "service": "anyone" },
                ],
            },
        ],
        "plugins": plugins,
        "tenants": { "wide": { "mode": "BURST" } },
    })
}

/// The registry of all hosts.
#[derive(Debug, Default)]
pub(crate) struct SimSource {
    kept: Mutex<BTreeMap<Digest, Arc<[u8]>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn missing(what: impl std::fmt::Display) -> Error {
    Error::Unreadable(format!("{what} is not there"))
}

#[async_trait]
impl Source for SimSource {
    async fn manifest(&self) -> Result<String, Error> {
        Ok(manifest().to_string())
    }

    async fn file(&self, path: &str) -> Result<Arc<[u8]>, Error> {
        let id = PLUGINS
            .iter()
            .find(|id| path == format!("components/{id}.wasm"));
        let id = id.ok_or_else(|| missing(path))?;
        Ok(description(id).into_bytes().into())
    }

    async fn keep(&self, digest: Digest, component: Arc<[u8]>) -> Result<(), Error> {
        lock(&self.kept).insert(digest, component);
        Ok(())
    }

    async fn kept(&self, digest: Digest) -> Result<Arc<[u8]>, Error> {
        let kept = lock(&self.kept).get(&digest).cloned();
        kept.ok_or_else(|| missing(digest))
    }

    async fn all_kept(&self) -> Result<Vec<Digest>, Error> {
        Ok(lock(&self.kept).keys().copied().collect())
    }

    async fn forget(&self, digest: Digest) -> Result<(), Error> {
        lock(&self.kept).remove(&digest);
        Ok(())
    }
}

/// The plugin runtime of one host.
pub(crate) struct SimRuntime {
    world: Arc<World>,
    admitted: Mutex<BTreeMap<Digest, ()>>,
}

impl SimRuntime {
    pub(crate) fn new(world: Arc<World>) -> Self {
        let admitted = Mutex::default();
        Self { world, admitted }
    }

    /// What a plugin says, or how it breaks down.
    fn answer(&self, call: Call) -> Result<Answer, Fault> {
        let state = &mut *self.world.state();
        let chance = match (state.story, state.calm) {
            (Some(story), _) => story.chance(&call),
            (None, true) => USUAL,
            (None, false) => state.dice.below(100),
        };
        let wait = u64::try_from(state.dice.between(0, LONGEST_WAIT_MS)).unwrap_or(0);
        let failure = || Failure::new("PLUGIN_SAYS_NO", "by plan");
        match chance {
            TRAP..4 => return Err(Fault::Trap("unreachable".to_owned())),
            4..6 => return Err(Fault::Deadline { limit_ms: 250 }),
            6 => return Err(Fault::Busy("no slot".to_owned())),
            7 => return Err(Fault::Answer("not JSON".to_owned())),
            _ => {}
        }
        Ok(match (call, chance) {
            (Call::Validate { .. }, 8..10) => Answer::Validated(Err(vec![Violation {
                pointer: String::new(),
                code: "NO".to_owned(),
                message: "by plan".to_owned(),
            }])),
            (Call::Validate { payload, .. }, _) => Answer::Validated(Ok(payload)),
            (Call::Route { .. }, SKIP..13) => Answer::Routed(Route::Skip {
                reason: "not needed, by plan".to_owned(),
            }),
            (Call::Route { .. }, 13..15) => Answer::Routed(Route::Fail { failure: failure() }),
            (Call::Route { context }, 15..17) => Answer::Routed(dispatch(
                ServiceName::from("somebody-else"),
                (!context.earlier.is_empty()).then_some(1),
            )),
            (Call::Route { context }, 17..25) => {
                Answer::Routed(dispatch(context.service, Some(wait.max(500))))
            }
            (Call::Route { context }, _) => Answer::Routed(dispatch(context.service, None)),
            (Call::Settle { .. }, 8..14) => Answer::Settled(Settle::Retry {
                delay_ms: Some(wait),
                failure: failure(),
            }),
            (Call::Settle { .. }, 14..17) => Answer::Settled(Settle::Fail { failure: failure() }),
            // Against the rules when the attempt has failed.
            (Call::Settle { .. }, 17..19) => Answer::Settled(Settle::Accept),
            // The answer to another question.
            (Call::Settle { .. }, 19) => Answer::Validated(Ok(json!({}))),
            (Call::Settle { report, .. }, _) => Answer::Settled(usual(&report)),
        })
    }
}

fn dispatch(service: ServiceName, wait: Option<u64>) -> Route {
    Route::Dispatch(Dispatch {
        service,
        payload: None,
        ack_ms: wait,
        lease_ms: wait,
    })
}

fn usual(report: &Report) -> Settle {
    Settle::by_default(report)
}

#[async_trait]
impl Runtime for SimRuntime {
    async fn admit(&self, component: Arc<[u8]>, _: Limits) -> Result<Description, AdmissionError> {
        let description: Description = serde_json::from_slice(&component)
            .map_err(|error| AdmissionError::NotAComponent(error.to_string()))?;
        lock(&self.admitted).insert(Digest::of(&component), ());
        Ok(description)
    }

    async fn call(&self, component: &Digest, _: Limits, call: Call) -> Result<Answered, Fault> {
        self.world.turns().await;
        if !lock(&self.admitted).contains_key(component) {
            return Err(Fault::NotLoaded);
        }
        let answer = self.answer(call)?;
        Ok(Answered {
            answer,
            fuel: 1_000,
            memory_bytes: 65_536,
        })
    }

    fn drop_component(&self, component: &Digest) {
        lock(&self.admitted).remove(component);
    }
}
