//! The ports of a scripted life beside its ledger: each call to them is counted, and the one that the plan names fails.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lucius_domain::id::{Digest, JobId, LeaseId, ServiceName, TenantId};
use lucius_domain::plugin::{Description, Dispatch, Route, Settle};
use lucius_domain::routing::Lane;
use lucius_domain::time::Timestamp;
use lucius_memory::bus::MemoryBus;
use lucius_memory::faulty::Fault;
use lucius_memory::records::MemoryRecords;
use lucius_ports::bus::{self, Bus, Message};
use lucius_ports::clock::{Clock, Ids};
use lucius_ports::dead_queues::{DeadMessage, DeadQueue, DeadQueues};
use lucius_ports::ledger;
use lucius_ports::plugin::{self, AdmissionError, Answer, Answered, Call, Runtime};
use lucius_ports::records::{Key, Kind, Record, Records, Removed, Written};
use lucius_ports::registry::{self, Source};
use lucius_ports::upkeep::{Failures, States, Upkeep};
use serde_json::json;
use uuid::Uuid;

use crate::Script;

pub(crate) struct Time(pub(crate) AtomicI64);

#[async_trait]
impl Clock for Time {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }

    async fn sleep(&self, _: Duration) {
        std::future::pending::<()>().await;
    }
}

#[derive(Default)]
pub(crate) struct Numbers(AtomicU64);

impl Numbers {
    fn next(&self) -> u128 {
        u128::from(self.0.fetch_add(1, Ordering::Relaxed)) + 1
    }
}

impl Ids for Numbers {
    fn job_id(&self, _: Timestamp) -> JobId {
        JobId(Uuid::from_u128(
            0x0192_0000_0000_7000_8000_0000_0000_0000 + self.next(),
        ))
    }

    fn lease_id(&self) -> LeaseId {
        LeaseId(Uuid::from_u128(
            0x1ea5_e000_0000_4000_8000_0000_0000_0000 + self.next(),
        ))
    }
}

/// Counts the calls to all of these ports, and lets one of them fail.
#[derive(Default)]
pub(crate) struct Plan {
    calls: AtomicU64,
    failed: AtomicU64,
    fails: Mutex<Option<(u64, Fault)>>,
}

impl Plan {
    pub(crate) fn fail_call(&self, number: u64, fault: Fault) {
        *self.fails.lock().unwrap_or_else(PoisonError::into_inner) = Some((number, fault));
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    async fn call<T, E>(
        &self,
        call: impl Future<Output = Result<T, E>>,
        lost: impl FnOnce(String) -> E,
    ) -> Result<T, E> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let planned = *self.fails.lock().unwrap_or_else(PoisonError::into_inner);
        match planned {
            Some((planned, fault)) if planned == number => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                if fault == Fault::After {
                    let _answer_that_is_lost = call.await;
                }
                Err(lost(format!("call {number} fails by plan")))
            }
            Some(_) | None => call.await,
        }
    }
}

/// A port around another, whose calls go by the plan.
pub(crate) struct Planned<P> {
    pub(crate) plan: Arc<Plan>,
    pub(crate) inner: P,
}

#[async_trait]
impl Bus for Planned<Arc<MemoryBus>> {
    async fn publish(&self, message: &Message) -> Result<(), bus::Error> {
        let publish = self.inner.publish(message);
        self.plan.call(publish, bus::Error::Unavailable).await
    }

    async fn check(&self) -> Result<(), bus::Error> {
        let check = self.inner.check();
        self.plan.call(check, bus::Error::Unavailable).await
    }
}

#[async_trait]
impl DeadQueues for Planned<Arc<MemoryBus>> {
    async fn dead_queues(&self) -> Result<Vec<DeadQueue>, bus::Error> {
        let queues = self.inner.dead_queues();
        self.plan.call(queues, bus::Error::Unavailable).await
    }

    async fn take_dead(
        &self,
        lane: Lane,
        service: &ServiceName,
    ) -> Result<Option<DeadMessage>, bus::Error> {
        let taken = self.inner.take_dead(lane, service);
        self.plan.call(taken, bus::Error::Unavailable).await
    }
}

#[async_trait]
impl<S: Upkeep> Upkeep for Planned<Arc<S>> {
    async fn failures(
        &self,
        tenant: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<Failures>, ledger::Error> {
        let failures = self.inner.failures(tenant, limit);
        self.plan.call(failures, ledger::Error::Unavailable).await
    }

    async fn states(&self) -> Result<States, ledger::Error> {
        let states = self.inner.states();
        self.plan.call(states, ledger::Error::Unavailable).await
    }

    async fn purge(&self, ended_before: Timestamp, limit: usize) -> Result<usize, ledger::Error> {
        let purge = self.inner.purge(ended_before, limit);
        self.plan.call(purge, ledger::Error::Unavailable).await
    }
}

#[async_trait]
impl Records for Planned<Arc<MemoryRecords>> {
    async fn get(&self, kind: Kind, key: &Key) -> Result<Option<Record>, ledger::Error> {
        let get = self.inner.get(kind, key);
        self.plan.call(get, ledger::Error::Unavailable).await
    }

    async fn put(
        &self,
        kind: Kind,
        key: &Key,
        body: String,
        expected: Option<u64>,
    ) -> Result<Written, ledger::Error> {
        let put = self.inner.put(kind, key, body, expected);
        self.plan.call(put, ledger::Error::Unavailable).await
    }

    async fn remove(&self, kind: Kind, key: &Key, expected: u64) -> Result<Removed, ledger::Error> {
        let remove = self.inner.remove(kind, key, expected);
        self.plan.call(remove, ledger::Error::Unavailable).await
    }

    async fn list(
        &self,
        kind: Kind,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Record>, ledger::Error> {
        let list = self.inner.list(kind, after, limit);
        self.plan.call(list, ledger::Error::Unavailable).await
    }
}

/// The component of the one plugin, which says nothing but what it is.
fn component() -> Vec<u8> {
    let description =
        json!({ "id": "one", "version": "1.0.0", "step_types": ["ONE"], "services": ["one"] });
    description.to_string().into_bytes()
}

/// A registry of one protocol with two steps; a plugin decides about the first.
#[derive(Default)]
pub(crate) struct Folder(Mutex<BTreeMap<Digest, Arc<[u8]>>>);

impl Folder {
    fn kept(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, Arc<[u8]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Source for Planned<Arc<Folder>> {
    async fn manifest(&self) -> Result<String, registry::Error> {
        let steps = json!([
            { "step_id": "one", "step_type": "ONE", "service": "one", "plugin": "one@1.0.0" },
            { "step_id": "two", "step_type": "TWO", "service": "two" },
        ]);
        let plugin = json!({
            "id": "one", "version": "1.0.0", "component": "components/one.wasm", "services": ["one"],
            "sha256": Digest::of(&component()).to_string(),
        });
        let manifest = json!({
            "schema_version": "v1", "plugins": [plugin],
            "protocols": [{ "protocol_id": "two.v1", "request_types": ["TWO"], "steps": steps }],
        });
        let read = async { Ok(manifest.to_string()) };
        self.plan.call(read, registry::Error::Unreadable).await
    }

    async fn file(&self, _: &str) -> Result<Arc<[u8]>, registry::Error> {
        let read = async { Ok(component().into()) };
        self.plan.call(read, registry::Error::Unreadable).await
    }

    async fn keep(&self, digest: Digest, bytes: Arc<[u8]>) -> Result<(), registry::Error> {
        let keep = async {
            self.inner.kept().insert(digest, bytes);
            Ok(())
        };
        self.plan.call(keep, registry::Error::Unreadable).await
    }

    async fn kept(&self, digest: Digest) -> Result<Arc<[u8]>, registry::Error> {
        let kept = self.inner.kept().get(&digest).cloned();
        let kept = kept.ok_or_else(|| registry::Error::Unreadable(format!("no {digest}")));
        let read = async { kept };
        self.plan.call(read, registry::Error::Unreadable).await
    }

    async fn all_kept(&self) -> Result<Vec<Digest>, registry::Error> {
        let read = async { Ok(self.inner.kept().keys().copied().collect()) };
        self.plan.call(read, registry::Error::Unreadable).await
    }

    async fn forget(&self, digest: Digest) -> Result<(), registry::Error> {
        let forget = async {
            self.inner.kept().remove(&digest);
            Ok(())
        };
        self.plan.call(forget, registry::Error::Unreadable).await
    }
}

#[async_trait]
impl Runtime for Planned<Script> {
    async fn admit(
        &self,
        component: Arc<[u8]>,
        _: plugin::Limits,
    ) -> Result<Description, AdmissionError> {
        let admit = async {
            let description = serde_json::from_slice(&component);
            description.map_err(|error| AdmissionError::NotAComponent(error.to_string()))
        };
        self.plan.call(admit, AdmissionError::Compile).await
    }

    async fn call(
        &self,
        _: &Digest,
        _: plugin::Limits,
        call: Call,
    ) -> Result<Answered, plugin::Fault> {
        let answer = match call {
            Call::Validate { payload, .. } => Answer::Validated(Ok(payload)),
            Call::Route { .. } if self.inner == Script::Skip => Answer::Routed(Route::Skip {
                reason: "not needed".to_owned(),
            }),
            Call::Route { context } => Answer::Routed(Route::Dispatch(Dispatch {
                service: context.service,
                payload: None,
                ack_ms: None,
                lease_ms: None,
            })),
            Call::Settle { report, .. } => Answer::Settled(Settle::by_default(&report)),
        };
        let answered = async {
            Ok(Answered {
                answer,
                fuel: 1,
                memory_bytes: 1,
            })
        };
        self.plan.call(answered, plugin::Fault::Trap).await
    }

    fn drop_component(&self, _: &Digest) {}
}
