//! The host dies, or is asked to end, while many are at it.

use std::time::{Duration, Instant};

use crate::crowd::Crowd;
use crate::one_job::{registry, setup};

/// How many commands are accepted between two ends of the host.
const ENOUGH: usize = 60;
/// What an orderly end may take, on a machine that is busy with other tests too.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_i12_kill_9_under_load_leaves_every_answer_true() {
    let registry = registry();
    let mut host = setup(&registry).start().await;
    let crowd = Crowd::on(&host);
    for _ in 0..4 {
        crowd.accepts(ENOUGH).await;
        host.crash().await;
    }
    crowd.settle(&host).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f40_sigterm_under_load_ends_in_order_and_leaves_every_answer_true() {
    let registry = registry();
    let mut host = setup(&registry).start().await;
    let crowd = Crowd::on(&host);
    for _ in 0..3 {
        crowd.accepts(ENOUGH).await;
        let asked = Instant::now();
        assert_eq!(host.terminate().await.code(), Some(0));
        assert!(asked.elapsed() < PATIENCE, "it took {:?}", asked.elapsed());
        host.start_again().await;
    }
    crowd.settle(&host).await;
}
