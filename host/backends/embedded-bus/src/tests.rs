use async_trait::async_trait;
use lucius_domain::time::Timestamp;
use lucius_ports::bus::{Bus as _, Error as PortError, Subscription as _};

use super::*;
use crate::message::Head;

struct StoppedClock;

#[async_trait]
impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

fn lane() -> Lane {
    Lane::of("acme")
}

#[tokio::test]
async fn after_a_failed_write_nothing_goes_in_or_out_until_the_file_is_opened_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bus.db");
    let open = || Disk::open(&path, &Settings::default()).unwrap();
    let (disk, index) = open();
    let disk = disk.failing_from_the_second_commit_on();
    let bus = EmbeddedBus::start(disk, index, Settings::default(), Arc::new(StoppedClock)).unwrap();
    let message = || Outgoing::new(lane(), "svc", Head::default(), "body".into()).unwrap();
    bus.send(message()).await.unwrap();
    assert!(matches!(bus.send(message()).await, Err(Fault::Broken(_))));

    assert!(matches!(bus.check().await, Err(PortError::Unavailable(_))));
    assert!(matches!(bus.send(message()).await, Err(Fault::Broken(_))));
    let subscription = bus.subscription(lane(), &ServiceName::new("svc")).unwrap();
    let received = subscription.peek_lock(Duration::ZERO).await;
    assert!(
        matches!(received, Err(PortError::Unavailable(_))),
        "{received:?}"
    );
    drop((subscription, bus));

    let (disk, index) = open();
    let bus = EmbeddedBus::start(disk, index, Settings::default(), Arc::new(StoppedClock)).unwrap();
    assert_eq!(
        bus.stats().subscriptions[0].ready,
        1,
        "what was answered is still there"
    );
}
