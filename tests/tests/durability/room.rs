//! A disk without room, and one that cannot sync.

use std::sync::Arc;

use lucius_tests::client::Client;
use lucius_tests::disk::Disk;
use lucius_tests::history::History;
use lucius_tests::wait;

use crate::one_job::{Visitor, command, registry, setup};

/// Waits until the host says whether it can take work.
async fn readiness(client: &Client, status: u16) {
    let awaited = format!("/readyz with {status}");
    wait::until(&awaited, async || {
        (client.get("/readyz").await.status == status).then_some(())
    })
    .await;
}

#[tokio::test]
async fn f9_a_full_disk_refuses_new_work_shows_the_old_and_recovers_by_itself() {
    let (disk, registry, history) = (Arc::new(Disk::new()), registry(), History::default());
    let host = setup(&registry).disk(&disk).start().await;
    let (client, visitor) = (host.client(), Visitor::of(&host, &history));
    let job = visitor.live("before").await.expect("the host is there");
    let open = visitor.submit("open").await.expect("the host is there");

    disk.fill(true);
    let refused = client.post("/v1/commands", &command("during")).await;
    assert_eq!(
        (refused.status, refused.body["code"].as_str()),
        (503, Some("LEDGER_UNAVAILABLE"))
    );
    assert!(
        !refused.header("retry-after").is_empty(),
        "it says when to come again"
    );
    assert_eq!(
        client.job(&job).await["state"],
        "SUCCEEDED",
        "reading goes on"
    );
    let cancel = client.verb(&open, "cancel").await;
    assert!(matches!(cancel.status, 202 | 503), "{}", cancel.text);

    disk.fill(false);
    readiness(&client, 200).await;
    let cancelled_before = cancel.status == 202;
    if !cancelled_before {
        visitor.live("open").await.expect("the host is there");
    }
    visitor.live("during").await.expect("the host is there");
    visitor.live("after").await.expect("the host is there");
    if !cancelled_before {
        history.compare(&client).await;
    }
}

#[tokio::test]
async fn f10_a_disk_that_cannot_sync_is_trusted_again_only_after_a_new_start() {
    let (disk, registry, history) = (Arc::new(Disk::new()), registry(), History::default());
    let mut host = setup(&registry).disk(&disk).start().await;
    let client = host.client();
    Visitor::of(&host, &history)
        .live("before")
        .await
        .expect("the host is there");

    disk.fail_syncs(true);
    let refused = client.post("/v1/commands", &command("during")).await;
    assert_eq!(
        (refused.status, refused.body["code"].as_str()),
        (503, Some("LEDGER_UNAVAILABLE"))
    );
    readiness(&client, 503).await;
    // A sync that works after one that failed proves nothing about what the first one should have kept.
    disk.fail_syncs(false);
    client
        .post("/v1/commands", &command("later"))
        .await
        .expect(503);
    readiness(&client, 503).await;
    assert!(host.output().contains("start again"), "{}", host.output());

    host.crash().await;
    let visitor = Visitor::of(&host, &history);
    visitor.live("during").await.expect("the host is there");
    visitor.live("later").await.expect("the host is there");
    history.compare(&host.client()).await;
}
