//! The power is cut: whatever was not synced is gone, or some of it, and every answer is still true.

use std::sync::Arc;

use lucius_tests::disk::Disk;
use lucius_tests::history::History;

use crate::crowd::Crowd;
use crate::one_job::{Visitor, registry, setup};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f8_a_power_cut_under_load_leaves_every_answer_true() {
    let (disk, registry) = (Arc::new(Disk::that_can_lose_power()), registry());
    let mut host = setup(&registry).disk(&disk).start().await;
    let crowd = Crowd::on(&host);
    for _ in 0..3 {
        crowd.accepts(40).await;
        host.kill();
        disk.cut_power(&host.data());
        host.try_start_again()
            .await
            .expect("what survives is a ledger");
    }
    crowd.settle(&host).await;
}

#[tokio::test]
async fn f8_without_syncs_a_power_cut_does_lose_what_was_accepted() {
    // What shows that the test above would notice.
    let (disk, registry) = (Arc::new(Disk::that_can_lose_power()), registry());
    let mut host = setup(&registry).disk(&disk).start().await;
    disk.lie_about_syncs(true);
    let history = History::default();
    let job = Visitor::of(&host, &history)
        .submit("lost")
        .await
        .expect("the host is there");
    host.kill();
    disk.cut_power(&host.data());
    disk.lie_about_syncs(false);
    host.start_again().await;
    host.client()
        .get(&format!("/v1/jobs/{job}"))
        .await
        .expect(404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f8_a_power_cut_that_leaves_some_of_what_was_not_synced_leaves_every_answer_true() {
    let (disk, registry) = (Arc::new(Disk::that_can_lose_power()), registry());
    let mut host = setup(&registry).disk(&disk).start().await;
    let crowd = Crowd::on(&host);
    for seed in 0..6 {
        crowd.accepts(25).await;
        host.kill();
        disk.cut_power_while_it_writes(&host.data(), seed);
        let started = host.try_start_again().await;
        started.unwrap_or_else(|why| panic!("seed {seed}: what survives is no ledger: {why}"));
    }
    crowd.settle(&host).await;
}
