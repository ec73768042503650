//! The memory bus against what every bus does, and its failures on order.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lucius_domain::id::{AttemptNo, JobId, ServiceName, StepId, TenantId};
use lucius_domain::routing::{Lane, Mode};
use lucius_memory::bus::{Fault, MemoryBus, MemorySubscription};
use lucius_ports::bus::{Bus, Error, Message, Settled, Subscription};
use lucius_ports::conformance::bus::Fixture;
use uuid::Uuid;

struct InMemory(Arc<MemoryBus>);

#[async_trait]
impl Fixture for InMemory {
    fn bus(&self) -> &dyn Bus {
        &*self.0
    }

    async fn subscription(&self, lane: Lane, service: &ServiceName) -> Box<dyn Subscription> {
        Box::new(self.0.subscription(lane, service))
    }

    fn max_delivery_count(&self) -> u32 {
        3
    }
}

mod conformance {
    use super::*;

    lucius_ports::bus_conformance!(async { InMemory(Arc::new(MemoryBus::new(3))) });
}

#[tokio::test]
async fn what_died_is_shown_and_taken_once() {
    let fixture = InMemory(Arc::new(MemoryBus::new(3)));
    lucius_ports::conformance::bus::what_died_is_shown_and_taken_once(&fixture, &*fixture.0).await;
}

fn message() -> Message {
    Message {
        message_id: "job:ocr:1".to_owned(),
        lane: Lane::of("acme"),
        routing_key: "acme".to_owned(),
        service: ServiceName::new("svc"),
        mode: Mode::Default,
        tenant_id: TenantId::new("acme"),
        job_id: JobId(Uuid::from_u128(1)),
        step_id: StepId::new("ocr"),
        attempt_no: AttemptNo(1),
        body: "{}".to_owned(),
    }
}

fn bus() -> (Arc<MemoryBus>, MemorySubscription) {
    let bus = Arc::new(MemoryBus::default());
    let subscription = bus.subscription(message().lane, &message().service);
    (bus, subscription)
}

async fn waiting(subscription: &MemorySubscription) -> usize {
    let mut count = 0;
    while subscription
        .peek_lock(Duration::ZERO)
        .await
        .expect("the bus is up")
        .is_some()
    {
        count += 1;
    }
    count
}

#[tokio::test]
async fn a_publish_that_fails_before_its_effect_leaves_nothing() {
    let (bus, subscription) = bus();
    bus.fail_publish(2, Fault::BeforeEffect);
    bus.publish(&message()).await.unwrap();
    let failed = bus.publish(&message()).await;
    assert!(matches!(failed, Err(Error::Unavailable(_))));
    assert_eq!(bus.accepted().len(), 1);
    assert_eq!(waiting(&subscription).await, 1);
}

#[tokio::test]
async fn a_publish_that_fails_after_its_effect_is_delivered_and_again_when_repeated() {
    let (bus, subscription) = bus();
    bus.fail_publish(1, Fault::AfterEffect);
    let failed = bus.publish(&message()).await;
    assert!(matches!(failed, Err(Error::Unavailable(_))));
    bus.publish(&message()).await.unwrap();
    assert_eq!(bus.accepted(), [message(), message()]);
    assert_eq!(waiting(&subscription).await, 2);
}

#[tokio::test]
async fn ended_locks_settle_nothing_and_the_message_comes_again() {
    let (bus, subscription) = bus();
    bus.publish(&message()).await.unwrap();
    let lost = subscription
        .peek_lock(Duration::ZERO)
        .await
        .unwrap()
        .unwrap();
    bus.end_locks();
    assert_eq!(
        subscription.complete(&lost).await.unwrap(),
        Settled::LockLost
    );
    let again = subscription
        .peek_lock(Duration::ZERO)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(again.delivery_count, 2);
    assert_eq!(subscription.complete(&again).await.unwrap(), Settled::Done);
}

#[tokio::test]
async fn a_bus_that_is_down_is_not_ready_and_loses_nothing() {
    let (bus, subscription) = bus();
    bus.publish(&message()).await.unwrap();
    bus.set_down(true);
    assert!(matches!(bus.check().await, Err(Error::Unavailable(_))));
    assert!(matches!(
        bus.publish(&message()).await,
        Err(Error::Unavailable(_))
    ));
    assert!(matches!(
        subscription.peek_lock(Duration::ZERO).await,
        Err(Error::Unavailable(_))
    ));
    bus.set_down(false);
    bus.check().await.unwrap();
    assert_eq!(waiting(&subscription).await, 1);
}
