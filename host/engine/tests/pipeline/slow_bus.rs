//! A bus that takes its time holds up what it is asked for, and nothing else.

use std::sync::Arc;

use async_trait::async_trait;
use lucius_engine::Ports;
use lucius_memory::bus::MemoryBus;
use lucius_ports::bus::{Bus, Error, Message};
use tokio::sync::{Semaphore, watch};

use crate::audit::audit_with_gates;
use crate::stage::{Stage, World, settings};

/// A bus that takes nothing until it is told to.
struct SlowBus {
    inner: Arc<MemoryBus>,
    may_go_on: Semaphore,
    /// How many publishes wait for it now.
    waiting: watch::Sender<usize>,
}

#[async_trait]
impl Bus for SlowBus {
    async fn publish(&self, message: &Message) -> Result<(), Error> {
        self.waiting.send_modify(|waiting| *waiting += 1);
        let turn = self.may_go_on.acquire().await;
        self.waiting.send_modify(|waiting| *waiting -= 1);
        turn.expect("it is never closed").forget();
        self.inner.publish(message).await
    }

    async fn check(&self) -> Result<(), Error> {
        self.inner.check().await
    }
}

#[tokio::test]
async fn f24_a_slow_bus_is_waited_for_by_a_few_publishes_and_by_no_command() {
    const JOBS: usize = 40;
    let at_once = settings().publish_concurrency;
    let world = World::new();
    let bus = Arc::new(SlowBus {
        inner: Arc::clone(&world.bus),
        may_go_on: Semaphore::new(0),
        waiting: watch::channel(0).0,
    });
    let ports = Ports {
        bus: Arc::clone(&bus) as _,
        ..world.ports()
    };
    let stage = world.open_on(ports, settings()).await;
    let stage: Stage = stage.expect("the registry is good");
    let running = tokio::spawn(Arc::clone(&stage.engine).run());
    for n in 0..JOBS {
        stage.accepted("acme", "PLAIN", &format!("doc-{n}")).await;
    }
    let mut waiting = bus.waiting.subscribe();
    let all_slots = waiting.wait_for(|waiting| *waiting == at_once).await;
    all_slots.expect("the bus is there");
    stage.accepted("acme", "PLAIN", "while it is slow").await;
    assert_eq!(*bus.waiting.borrow(), at_once, "no publish more than slots");
    assert_eq!(world.bus.accepted().len(), 0);

    // One that is taken makes room for one.
    for taken in 1..=JOBS + 1 {
        bus.may_go_on.add_permits(1);
        while world.bus.accepted().len() < taken {
            tokio::task::yield_now().await;
        }
        assert!(*bus.waiting.borrow() <= at_once);
    }
    let mut jobs: Vec<_> = world.bus.accepted().iter().map(|it| it.job_id).collect();
    jobs.sort_unstable();
    jobs.dedup();
    assert_eq!(jobs.len(), JOBS + 1, "each directive once");
    while stage.engine.gates().occupancy().backlog.iter().sum::<u64>() > 0 {
        tokio::task::yield_now().await;
    }
    running.abort();
    assert!(running.await.is_err_and(|it| it.is_cancelled()));
    audit_with_gates(&stage).await;
}
