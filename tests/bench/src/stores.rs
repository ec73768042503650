//! Pieces that go to a disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lucius_domain::id::{AttemptNo, ServiceName, StepId, TenantId};
use lucius_domain::routing::{Lane, Mode};
use lucius_domain::time::Timestamp;
use lucius_embedded_bus::{EmbeddedBus, EmbeddedSubscription};
use lucius_ports::bus::{Bus as _, Message, Subscription as _};
use lucius_ports::clock::Clock;
use lucius_ports::conformance::ledger::play::{Draft, START, accepted, job_id};
use lucius_ports::ledger::Ledger as _;
use lucius_sqlite::SqliteLedger;
use tokio::runtime::Runtime;

use crate::pieces::{MOVES, change};

fn runtime() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

/// A ledger that is written to by one writer alone.
pub struct Ledger {
    runtime: Runtime,
    ledger: Arc<SqliteLedger>,
    next: u64,
}

impl Ledger {
    /// A new one in this folder.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            runtime: runtime()?,
            ledger: SqliteLedger::open(folder, lucius_sqlite::Settings::default())?,
            next: 0,
        })
    }

    /// Commits a job of three steps: its creation and nine changes, one sync each.
    pub fn job(&mut self) {
        self.next += 1;
        let (draft, id) = (Draft::default(), job_id(START, self.next));
        let new = accepted(id, &draft);
        let mut job = Arc::clone(&new.job);
        self.runtime.block_on(async {
            let created = self.ledger.create(new, draft.key(id)).await;
            created.expect("the ledger works");
            for next in MOVES {
                let change = change(&job, next);
                job = Arc::clone(&change.job);
                let committed = self.ledger.commit(change).await;
                committed.expect("the ledger works");
            }
        });
    }
}

struct StoppedClock;

#[async_trait]
impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        START
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A bus with one sender and one receiver.
pub struct Bus {
    runtime: Runtime,
    bus: Arc<EmbeddedBus>,
    subscription: EmbeddedSubscription,
    next: u64,
}

impl Bus {
    /// A new one in this folder.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let settings = lucius_embedded_bus::Settings::default();
        let clock = Arc::new(StoppedClock);
        let bus = EmbeddedBus::open(&folder.join("bus.db"), settings, clock)?;
        let subscription = bus.subscription(Lane::of("acme"), &ServiceName::new("platform-ocr"))?;
        Ok(Self {
            runtime: runtime()?,
            bus,
            subscription,
            next: 0,
        })
    }

    /// A message from its send, which is synced, to its completion.
    pub fn message(&mut self) {
        self.next += 1;
        let job_id = job_id(START, self.next);
        let message = Message {
            message_id: format!("{job_id}:ocr:1"),
            lane: Lane::of("acme"),
            routing_key: "acme".to_owned(),
            service: ServiceName::new("platform-ocr"),
            mode: Mode::Default,
            tenant_id: TenantId::new("acme"),
            job_id,
            step_id: StepId::new("ocr"),
            attempt_no: AttemptNo(1),
            body: "x".repeat(1_000),
        };
        self.runtime.block_on(async {
            self.bus.publish(&message).await.expect("the bus works");
            let received = self.subscription.peek_lock(Duration::ZERO).await;
            let received = received.expect("the bus works").expect("it was sent");
            let completed = self.subscription.complete(&received).await;
            completed.expect("the bus works");
        });
    }
}
