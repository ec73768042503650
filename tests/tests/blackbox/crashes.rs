//! SIGKILL at the worst moments. What was answered with 2xx is true after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lucius_tests::azure::Kind;
use lucius_tests::client::Client;
use lucius_tests::host::Setup;
use lucius_tests::orders::{artifact, order, with};
use lucius_tests::wait;
use lucius_tests::worker::Worker;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

#[tokio::test]
async fn f1_f2_a_job_answered_with_202_is_there_after_a_crash_and_goes_out() {
    let mut host = Setup::quick().start().await;
    for round in 0..3 {
        let tenant = format!("crash {round}");
        let order = order(&tenant, "OCR");
        let job = host.client().submit(&order).await;
        host.crash().await;
        let client = host.client();
        let again = client.post("/v1/commands", &order).await.expect(202);
        assert_eq!(
            (&again.body["jobId"], &again.body["duplicate"]),
            (&json!(job), &json!(true))
        );
        let worker = host.worker("platform-ocr");
        let delivery = worker.next_attempt(&tenant, &job, 1).await;
        worker
            .finish(&delivery, &delivery.success(&[artifact("ocr")]))
            .await;
        client.job_in(&job, "SUCCEEDED").await;
    }
}

#[tokio::test]
async fn f4_a_crash_between_ack_and_result_loses_neither() {
    // The lock and the lease last for minutes: nothing here waits for either.
    let mut host = Setup::quick().start().await;
    let job = host
        .client()
        .submit(&order("halfway", "OCR->EMBEDDING"))
        .await;
    let worker = host.worker("platform-ocr");
    let before = worker.next("halfway").await;
    worker.ack(&before).await.expect(200);
    host.crash().await;

    let (client, worker) = (host.client(), host.worker("platform-ocr"));
    assert_eq!(client.step(&job, "ocr").await["state"], "IN_PROGRESS");
    let after = worker.next("halfway").await;
    assert_eq!(
        after.directive, before.directive,
        "the same directive, with the same lease and token"
    );
    // The count follows within milliseconds of a delivery, so a crash may lose one.
    let count = after.broker["DeliveryCount"].as_u64();
    assert!(matches!(count, Some(1 | 2)), "{count:?}");
    assert_eq!(
        worker.complete(&before).await.status,
        404,
        "the old lock is gone"
    );

    let result = before.success(&[artifact("ocr")]);
    assert_eq!(
        worker.result(&before, &result).await.expect(200).body["applied"],
        true
    );
    host.crash().await;
    // A worker that never saw the answer sends it again.
    let worker = host.worker("platform-ocr");
    assert_eq!(
        worker.result(&before, &result).await.expect(200).body["applied"],
        true
    );
    assert_eq!(
        host.client().events_of(&job, "result_received").await.len(),
        1
    );
    host.worker("platform-embedding").succeed("halfway").await;
    host.client().job_in(&job, "SUCCEEDED").await;
}

#[tokio::test]
async fn what_waits_for_its_time_still_does_after_a_crash() {
    let mut host = Setup::quick()
        .with("TIMING_RETRY_BACKOFF_MS", "[1500]")
        .start()
        .await;
    let job = host.client().submit(&order("patient", "OCR")).await;
    host.worker("platform-ocr")
        .fail("patient", "RETRYABLE", "LATER")
        .await;
    host.client().step_in(&job, "ocr", "FAILED_RETRY").await;
    host.crash().await;
    let worker = host.worker("platform-ocr");
    let second = worker.next_attempt("patient", &job, 2).await;
    worker
        .finish(&second, &second.success(&[artifact("ocr")]))
        .await;
    host.client().job_in(&job, "SUCCEEDED").await;

    let cancelled = host.client().submit(&order("patient", "SIS")).await;
    host.client()
        .step_in(&cancelled, "sis", "AWAITING_ACK")
        .await;
    host.client().verb(&cancelled, "cancel").await.expect(202);
    host.crash().await;
    assert_eq!(host.client().job(&cancelled).await["state"], "CANCELLING");
}

#[tokio::test]
async fn the_registry_generation_is_kept_over_a_crash() {
    let mut host = Setup::quick().start().await;
    let before = host.client().get("/v1/registry").await.expect(200).body;
    host.crash().await;
    let after = host.client().get("/v1/registry").await.expect(200).body;
    for member in ["generation", "activated_at", "plugins", "protocols"] {
        assert_eq!(after[member], before[member], "{member}");
    }
}

/// How many clients submit at once.
const CLIENTS: usize = 16;
/// Accepted commands between two crashes; fewer where each crosses to Azurite several times.
fn enough() -> usize {
    match Kind::asked() {
        None => 150,
        Some(_) => 40,
    }
}
/// How many times the host is killed.
const CRASHES: usize = 3;

/// What clients and workers of the load share.
struct Load {
    client: Client,
    worker: Worker,
    accepted: Mutex<Vec<(String, String)>>,
    stop: AtomicBool,
}

/// Submits until told to stop. A command whose answer is lost is sent again, as the same command.
async fn submit_all(load: Arc<Load>, number: usize) {
    let mut count = 0;
    while !load.stop.load(Ordering::Relaxed) {
        let key = format!("{number}-{count}");
        let more = json!({ "idempotency_key": key, "mode": "BURST", "doc_id": key });
        let order = with(order(&format!("tenant {number}"), "OCR"), more);
        let request = load
            .client
            .request(reqwest::Method::POST, "/v1/commands")
            .json(&order);
        match load.client.try_send(request).await {
            Ok(answer) if answer.status == 202 => {
                let job = answer.body["jobId"].as_str().unwrap_or_default().to_owned();
                load.accepted.lock().await.push((key, job));
                count += 1;
            }
            // Too much in flight: the workers are behind.
            Ok(answer) if answer.status == 429 => {
                tokio::time::sleep(Duration::from_millis(20)).await
            }
            Ok(answer) => panic!("{}", answer.text),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Does all that comes in one lane, and repeats whatever got no answer.
async fn work_on(load: Arc<Load>, lane: usize) {
    let worker = &load.worker;
    let topic = format!("global-bus-p{lane}");
    loop {
        let Ok(Some(delivery)) = worker.try_peek(&topic, 1).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let url = delivery.directive["callback_urls"]["result"]
            .as_str()
            .unwrap_or_default();
        let result = delivery.success(&[artifact("ocr")]);
        let request = || {
            load.client
                .request(reqwest::Method::POST, url)
                .bearer_auth(delivery.token())
        };
        loop {
            match load.client.try_send(request().json(&result)).await {
                Ok(answer) => break drop(answer.expect(200)),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        // A lock that died with the host is no harm: the message comes again, and so does the RESULT.
        let done = load
            .client
            .request(reqwest::Method::DELETE, &delivery.location);
        let _ = load.client.try_send(done).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_i4_under_load_no_202_is_lost_by_kill_9_and_every_job_ends() {
    let mut host = Setup::quick()
        .with("LIMITS_BURST_INFLIGHT", 100_000)
        .start()
        .await;
    let load = Arc::new(Load {
        client: host.client(),
        worker: host.worker("platform-ocr"),
        accepted: Mutex::default(),
        stop: AtomicBool::new(false),
    });
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(submit_all(Arc::clone(&load), number));
    }
    let mut workers = JoinSet::new();
    for lane in 0..16 {
        workers.spawn(work_on(Arc::clone(&load), lane));
    }
    let enough = enough();
    for round in 1..=CRASHES {
        let awaited = format!("{enough} accepted commands in round {round}");
        let reached = async || (load.accepted.lock().await.len() >= round * enough).then_some(());
        wait::until(&awaited, reached).await;
        host.crash().await;
    }
    let last = load.accepted.lock().await.len() + enough;
    wait::until("more after the last crash", async || {
        (load.accepted.lock().await.len() >= last).then_some(())
    })
    .await;
    load.stop.store(true, Ordering::Relaxed);
    // A client or a worker that panicked is a failure of this test.
    clients.join_all().await;

    let client = host.client();
    let accepted = load.accepted.lock().await.clone();
    for (key, job) in &accepted {
        let ended = client.job_in(job, "SUCCEEDED").await;
        assert_eq!(
            ended["doc_id"],
            key.as_str(),
            "the job of that very command"
        );
    }
    let mut jobs: Vec<_> = accepted.iter().map(|(_, job)| job).collect();
    jobs.sort();
    jobs.dedup();
    assert_eq!(
        jobs.len(),
        accepted.len(),
        "each command has a job of its own"
    );
    assert_eq!(
        workers
            .try_join_next()
            .map(|ended| ended.err().map(|e| e.to_string())),
        None
    );
    workers.abort_all();
}

#[tokio::test]
async fn f40_sigterm_ends_the_host_with_exit_0_and_what_was_accepted_is_there_afterwards() {
    let mut host = Setup::quick().start().await;
    let job = host.client().submit(&order("orderly", "OCR")).await;
    let worker = host.worker("platform-ocr");
    // A worker that waits for a directive, and a watcher, hold nothing up.
    let waiting = tokio::spawn(async move { worker.try_peek("global-bus-p1", 60).await });
    let watch = host.client();
    let path = format!("/v1/jobs/{job}/events");
    let watching = tokio::spawn(async move {
        let request = watch
            .request(reqwest::Method::GET, &path)
            .header("accept", "text/event-stream");
        watch.try_send(request).await
    });
    assert_eq!(host.terminate().await.code(), Some(0));
    // Whatever they were answered, they are not left hanging.
    let _ = waiting.await;
    let _ = watching.await;
    host.start_again().await;
    host.worker("platform-ocr").succeed("orderly").await;
    host.client().job_in(&job, "SUCCEEDED").await;
}
