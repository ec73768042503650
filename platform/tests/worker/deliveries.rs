//! Messages that come once, again, too late or broken.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::{Notify, Semaphore};

use crate::fake_host::{Event, MAX_DELIVERIES};
use crate::rig::{Rig, copy_input, gated, started};

#[tokio::test]
async fn a_directive_is_acked_worked_on_reported_and_completed_in_that_order() {
    let rig = Rig::new().await;
    let running = rig.run(copy_input);
    let change = json!({ "tenant_id": "acme/../x" });
    let message = rig
        .host
        .publish(7, rig.host.directive(&rig.root, "j1", change));
    rig.host.until_seen(Event::Completed(message)).await;
    running.stop().await;

    let order: Vec<_> = rig
        .host
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Ack(body) => Some(format!("{} {}", body["status"], body["correlation_id"])),
            Event::Result(body) => Some(body["status"].to_string()),
            Event::Completed(_) => Some("completed".into()),
            _ => None,
        })
        .collect();
    assert_eq!(
        order,
        [r#""ACKED" "corr-1""#, r#""SUCCEEDED""#, "completed"]
    );

    let result = &rig.host.results()[0];
    let place = rig.root.join("workspace/acme%2F..%2Fx/j1/OCR/1/text.txt");
    assert_eq!(std::fs::read_to_string(&place).unwrap(), "input text");
    let artifact = &result["artifact_refs"][0];
    assert_eq!(
        url::Url::parse(artifact["uri"].as_str().unwrap())
            .unwrap()
            .to_file_path(),
        Ok(place)
    );
    assert_eq!(artifact["content_type"], "text/plain");
    assert_eq!(artifact["size_bytes"], 10);
    assert_eq!(artifact["metadata"], json!({ "characters": 10 }));
    let delivered = url::Url::parse(result["output_ref"]["uri"].as_str().unwrap()).unwrap();
    assert_eq!(
        delivered.to_file_path(),
        Ok(rig.root.join("out/j1/ocr.txt"))
    );
    assert_eq!(
        std::fs::read_to_string(rig.root.join("out/j1/ocr.txt")).unwrap(),
        "input text"
    );
}

#[tokio::test]
async fn a_finished_attempt_that_comes_again_gets_its_result_again_and_no_work() {
    let rig = Rig::new().await;
    let running = rig.run(copy_input);
    let first = rig.host.publish(0, rig.directive("j1"));
    rig.host.until_seen(Event::Completed(first)).await;
    running.stop().await;

    let running = rig.run(copy_input);
    let second = rig.host.publish(1, rig.directive("j1"));
    rig.host.until_seen(Event::Completed(second)).await;
    running.stop().await;

    let results = rig.host.results();
    assert_eq!(results.len(), 2);
    assert_eq!(results[0], results[1]);
    assert_eq!(rig.runs(), 1);
}

#[tokio::test]
async fn a_worker_that_died_before_its_result_was_taken_sends_it_after_a_restart() {
    let rig = Rig::new().await;
    for _ in 0..10_000 {
        rig.host.answer("result", 503, json!({}));
    }
    let running = rig.run(copy_input);
    let message = rig.host.publish(3, rig.directive("j1"));
    rig.host
        .until(2, |event| matches!(event, Event::Result(_)))
        .await;
    running.crash().await;

    rig.host.expire_locks();
    let restarted = rig.run(copy_input);
    rig.host
        .until_seen(Event::Received { message, count: 2 })
        .await;
    rig.host.forgive("result");
    rig.host.until_seen(Event::Completed(message)).await;
    restarted.stop().await;
    assert_eq!(rig.runs(), 1);
    let results = rig.host.results();
    assert!(
        results.iter().all(|result| *result == results[0]),
        "{results:#?}"
    );
}

#[tokio::test]
async fn an_attempt_that_the_host_no_longer_wants_is_dropped_without_work() {
    let rig = Rig::new().await;
    rig.host
        .answer("ack", 409, json!({ "code": "STALE_ATTEMPT" }));
    rig.host.answer("ack", 200, json!({ "applied": false }));
    let running = rig.run(copy_input);
    for job in ["stale", "over"] {
        let message = rig.host.publish(0, rig.directive(job));
        rig.host.until_seen(Event::Completed(message)).await;
    }
    running.stop().await;
    assert_eq!(rig.runs(), 0);
    assert!(rig.host.results().is_empty());
}

#[tokio::test]
async fn a_refused_ack_gives_the_message_back_until_the_bus_puts_it_aside() {
    let rig = Rig::new().await;
    for _ in 0..MAX_DELIVERIES {
        rig.host
            .answer("ack", 401, json!({ "code": "UNAUTHORIZED" }));
    }
    let running = rig.run(copy_input);
    let message = rig.host.publish(0, rig.directive("j1"));
    rig.host.until_seen(Event::DeadLettered(message)).await;
    running.stop().await;
    assert_eq!(rig.runs(), 0);
}

#[tokio::test]
async fn lock_and_lease_are_renewed_while_the_work_goes_on() {
    let rig = Rig::new().await;
    let (at_work, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let running = rig.run(gated(&at_work, &gate));
    let message = rig.host.publish(0, rig.directive("j1"));
    rig.host
        .until(3, |event| *event == Event::Renewed(message))
        .await;
    let progress = json!({ "percent": 40, "message": "page 2 of 5" });
    rig.host
        .until(
            3,
            |event| matches!(event, Event::Heartbeat(b) if b["progress"] == progress),
        )
        .await;
    gate.notify_one();
    rig.host.until_seen(Event::Completed(message)).await;
    running.stop().await;
}

#[tokio::test]
async fn work_is_dropped_when_a_heartbeat_says_that_it_is_stale() {
    let rig = Rig::new().await;
    rig.host
        .answer("heartbeat", 409, json!({ "code": "STALE_ATTEMPT" }));
    let dropped = Arc::new(Semaphore::new(0));
    let tell = Arc::clone(&dropped);
    let running = rig.run(move |task, _progress| {
        let tell = Arc::clone(&tell);
        Box::pin(async move {
            let cancel = task.cancel.clone();
            tokio::spawn(async move {
                cancel.cancelled().await;
                tell.add_permits(1);
            });
            std::future::pending().await
        })
    });
    let message = rig.host.publish(0, rig.directive("j1"));
    rig.host.until_seen(Event::Completed(message)).await;
    started(&dropped, 1).await;
    running.stop().await;
    assert!(rig.host.results().is_empty());
}

#[tokio::test]
async fn a_message_that_is_no_directive_goes_to_the_dead_letters_and_harms_nobody() {
    let rig = Rig::new().await;
    let running = rig.run(copy_input);
    let mut short = rig.directive("j1");
    short.as_object_mut().unwrap().remove("lease_id");
    for poison in [
        "\u{0}not json".to_owned(),
        "{}".to_owned(),
        short.to_string(),
    ] {
        let message = rig.host.publish(5, poison);
        rig.host.until_seen(Event::DeadLettered(message)).await;
    }
    let good = rig.host.publish(5, rig.directive("j2"));
    rig.host.until_seen(Event::Completed(good)).await;
    running.stop().await;
    assert_eq!(rig.runs(), 1);
    assert!(rig.host.events().iter().all(|event| match event {
        Event::Ack(body) | Event::Result(body) => body["jobId"] == "j2",
        _ => true,
    }));
}

#[tokio::test]
async fn a_message_delivered_again_while_in_hand_is_worked_on_once_and_completed() {
    let rig = Rig::new().await;
    let (at_work, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let running = rig.run(gated(&at_work, &gate));
    let message = rig.host.publish(0, rig.directive("j1"));
    started(&at_work, 1).await;
    rig.host.expire_locks();
    rig.host
        .until_seen(Event::Received { message, count: 2 })
        .await;
    let renewed = rig.host.events().len();
    rig.host
        .until(1, |_| {
            let events = rig.host.events();
            events[renewed..].contains(&Event::Renewed(message))
        })
        .await;
    gate.notify_one();
    rig.host.until_seen(Event::Completed(message)).await;
    running.stop().await;
    assert_eq!((rig.runs(), rig.host.results().len()), (1, 1));
}
