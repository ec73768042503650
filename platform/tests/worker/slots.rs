//! How much is worked on at once, and what becomes of it when the worker stops.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{Notify, Semaphore};

use crate::fake_host::Event;
use crate::rig::{Rig, gated, started};

#[tokio::test]
async fn a_burst_is_acked_at_once_and_worked_on_within_the_limit() {
    let rig = Rig::new().await;
    let (at_work, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let running = rig.run(gated(&at_work, &gate));
    for number in 0..6 {
        rig.host
            .publish(number, rig.directive(&format!("j{number}")));
    }
    rig.host
        .until(6, |event| matches!(event, Event::Ack(_)))
        .await;
    started(&at_work, 2).await;
    let waiting = json!({ "percent": 0, "message": "waiting for a free slot" });
    rig.host
        .until(
            4,
            |event| matches!(event, Event::Heartbeat(b) if b["progress"] == waiting),
        )
        .await;
    assert_eq!(rig.runs(), 2);
    for left in (0..6_u32).rev() {
        gate.notify_one();
        rig.host
            .until(6 - left as usize, |event| {
                matches!(event, Event::Completed(_))
            })
            .await;
        if left >= 2 {
            started(&at_work, 1).await;
        }
    }
    running.stop().await;
    assert_eq!(rig.runs(), 6);
}

#[tokio::test]
async fn a_worker_that_stops_finishes_what_it_works_on_and_gives_back_what_waits() {
    let rig = Rig::new().await;
    let (at_work, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let mut config = rig.config();
    config.concurrency = NonZeroUsize::MIN;
    let running = rig.run_as(config, gated(&at_work, &gate));
    let first = rig.host.publish(0, rig.directive("j1"));
    started(&at_work, 1).await;
    let second = rig.host.publish(1, rig.directive("j2"));
    rig.host
        .until(2, |event| matches!(event, Event::Ack(_)))
        .await;

    running.stop.cancel();
    rig.host.until_seen(Event::Abandoned(second)).await;
    gate.notify_one();
    rig.host.until_seen(Event::Completed(first)).await;
    running.stop().await;
    assert_eq!(rig.runs(), 1);
    let events = rig.host.events();
    assert!(
        !events.contains(&Event::Received {
            message: second,
            count: 2
        }),
        "{events:#?}"
    );
}

#[tokio::test]
async fn work_that_outlasts_the_grace_is_cancelled_and_given_back() {
    let rig = Rig::new().await;
    let (at_work, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let mut config = rig.config();
    config.timing.stop_grace = Duration::from_millis(1);
    let running = rig.run_as(config, gated(&at_work, &gate));
    let message = rig.host.publish(0, rig.directive("j1"));
    started(&at_work, 1).await;
    running.stop().await;
    assert!(rig.host.events().contains(&Event::Abandoned(message)));
    assert!(rig.host.results().is_empty());
}
