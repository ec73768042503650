//! From the outbox to the bus, and what a bus or a ledger that fails in between can do to it.

use lucius_domain::contract;
use lucius_domain::routing::Lane;
use lucius_engine::schema::Schemas;
use lucius_memory::bus::Fault as BusFault;
use lucius_memory::faulty::Fault;

use crate::audit::{audit, audit_with_gates};
use crate::stage::{Stage, THREE};

#[tokio::test]
async fn a_directive_says_all_that_a_service_needs_and_fits_its_contract() {
    let stage = Stage::new().await;
    let id = stage.accepted("Acme", "OCR", "doc-1").await;
    assert_eq!(stage.dispatch().await, 1);
    let messages = stage.bus.accepted();
    let [message] = &messages[..] else {
        panic!("{messages:?}")
    };
    assert_eq!(message.message_id, format!("{id}:ocr:1"));
    assert_eq!(message.lane, Lane::of("acme"));
    assert_eq!(message.routing_key, "acme");
    assert_eq!(message.service.as_str(), "platform-ocr");
    let body = serde_json::from_str(&message.body).expect("JSON");
    let schemas = Schemas::compile().expect("the shipped schemas compile");
    assert_eq!(schemas.violations(contract::DIRECTIVE, &body), []);
    assert_eq!(
        body["callback_urls"]["ack"],
        "http://127.0.0.1:7420/v1/callbacks/ack"
    );
    assert_eq!(body["tenant_id"], "Acme");
    assert_eq!(stage.step_states(id).await, ["AWAITING_ACK"]);
    assert_eq!(stage.state(id).await, "DISPATCHING");
    assert_eq!(stage.dispatch().await, 0);
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_bus_that_is_down_is_tried_again_after_30_seconds_2_and_10_minutes_and_then_given_up() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", THREE, "doc-1").await;
    stage.bus.set_down(true);
    stage.dispatch().await;
    for wait_ms in [30_000, 120_000, 600_000] {
        stage.later(wait_ms - 1);
        assert_eq!(stage.dispatch().await, 0);
        stage.later(1);
        assert_eq!(stage.step_states(id).await[0], "DISPATCHING");
        assert_eq!(stage.dispatch().await, 1);
    }
    assert_eq!(stage.failure_code(id).await, "DISPATCH_EXHAUSTED");
    assert!(stage.bus.accepted().is_empty());
    audit_with_gates(&stage).await;
    stage.bus.set_down(false);
    stage.engine.redrive(id).await.expect("it failed");
    assert_eq!(stage.work_one().await.attempt_no.0, 2);
}

#[tokio::test]
async fn a_bus_that_comes_back_gets_the_same_attempt() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    stage.bus.fail_publish(1, BusFault::BeforeEffect);
    stage.dispatch().await;
    assert!(stage.bus.accepted().is_empty());
    stage.later(30_000);
    let directive = stage.work_one().await;
    assert_eq!(directive.attempt_no.0, 1);
    assert_eq!(stage.state(id).await, "SUCCEEDED");
}

#[tokio::test]
async fn a_publish_whose_answer_is_lost_is_repeated_with_the_same_id_and_both_copies_are_one_attempt()
 {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    stage.bus.fail_publish(1, BusFault::AfterEffect);
    stage.dispatch().await;
    stage.later(30_000);
    stage.dispatch().await;
    let messages = stage.bus.accepted();
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0].message_id, messages[1].message_id);
    let copies = stage.directives();
    assert_eq!(copies[0], copies[1]);
    assert!(stage.ack(&copies[0]).await.expect("the first counts"));
    assert!(
        stage
            .ack(&copies[1])
            .await
            .expect("the second says the same")
    );
    assert!(stage.succeed(&copies[0]).await.expect("the first counts"));
    assert!(!stage.succeed(&copies[1]).await.expect("the job is over"));
    assert_eq!(stage.job(id).await.attempts_total(), 1);
    audit(&stage.world).await;
}

#[tokio::test]
async fn a_service_may_answer_while_the_host_believes_that_the_publish_failed() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    stage.bus.fail_publish(1, BusFault::AfterEffect);
    stage.dispatch().await;
    let directive = stage.directives().remove(0);
    assert!(stage.succeed(&directive).await.expect("it counts"));
    assert_eq!(stage.state(id).await, "SUCCEEDED");
    stage.later(30_000);
    assert_eq!(stage.dispatch().await, 0);
}

#[tokio::test]
async fn a_host_that_dies_between_publish_and_sent_leads_to_the_same_message_again() {
    let stage = Stage::new().await;
    stage.accepted("acme", "OCR", "doc-1").await;
    // The scans of all lanes come first; the commit of SENT never arrives.
    let lane = Lane::of("acme");
    stage
        .faulty
        .fail_call(stage.faulty.calls() + 3, Fault::Before);
    stage
        .engine
        .dispatch_tick(lane)
        .await
        .expect("the scan works");
    assert_eq!(stage.bus.accepted().len(), 1);
    let again = stage.restarted().await;
    again.dispatch().await;
    let messages = again.bus.accepted();
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0], messages[1], "token and lease are the same too");
    audit_with_gates(&again).await;
}

#[tokio::test]
async fn an_ack_overtakes_the_write_of_sent_and_nothing_is_published_again() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    stage
        .faulty
        .fail_call(stage.faulty.calls() + 3, Fault::Before);
    stage
        .engine
        .dispatch_tick(Lane::of("acme"))
        .await
        .expect("the scan works");
    assert_eq!(stage.step_states(id).await, ["DISPATCHING"]);
    let directive = stage.directives().remove(0);
    assert!(stage.ack(&directive).await.expect("it proves the arrival"));
    assert_eq!(stage.step_states(id).await, ["IN_PROGRESS"]);
    assert_eq!(stage.dispatch().await, 0);
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_job_that_is_cancelled_before_its_publish_sends_nothing() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    stage.engine.cancel(id).await.expect("nothing is out");
    assert_eq!(stage.dispatch().await, 0);
    assert!(stage.bus.accepted().is_empty());
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn two_hosts_may_publish_one_row_and_it_stays_one_attempt() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    let other = stage.restarted().await;
    let lane = Lane::of("acme");
    let (left, right) = tokio::join!(
        stage.engine.dispatch_tick(lane),
        other.engine.dispatch_tick(lane)
    );
    assert!(left.is_ok() && right.is_ok());
    for directive in stage.directives() {
        assert!(
            stage
                .ack(&directive)
                .await
                .expect("each copy is the current attempt")
        );
    }
    assert_eq!(stage.job(id).await.attempts_total(), 1);
    audit(&stage.world).await;
}

#[tokio::test]
async fn a_host_whose_scans_overlap_publishes_each_row_once() {
    let stage = Stage::new().await;
    for n in 0..20 {
        stage.accepted("acme", "OCR", &format!("doc-{n}")).await;
    }
    let lane = Lane::of("acme");
    let scans = (0..5).map(|_| stage.engine.dispatch_tick(lane));
    for scan in futures_util::future::join_all(scans).await {
        scan.expect("the ledger answers");
    }
    assert_eq!(stage.bus.accepted().len(), 20);
    audit_with_gates(&stage).await;
}

/// A stage whose SENT waits this many milliseconds for a callback.
async fn patient(sent_delay_ms: u64) -> Stage {
    Stage::with(lucius_engine::Settings {
        sent_delay: std::time::Duration::from_millis(sent_delay_ms),
        ..crate::stage::settings()
    })
    .await
}

#[tokio::test]
async fn a_callback_that_comes_at_once_spares_the_commit_of_sent() {
    let stage = patient(25).await;
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    let answers = async {
        while stage.clock.sleeps() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            stage.dispatch().await,
            1,
            "the scan finds it, and it is held"
        );
        let directive = stage.directives().remove(0);
        assert!(stage.ack(&directive).await.expect("it proves the arrival"));
        stage.later(25);
    };
    tokio::join!(stage.dispatch(), answers);
    assert_eq!(stage.bus.accepted().len(), 1);
    assert_eq!(
        stage.job(id).await.progress.version.0,
        2,
        "accepted, acknowledged"
    );
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn sent_is_committed_when_nothing_is_heard_for_its_delay() {
    let stage = patient(25).await;
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    let time = async {
        while stage.clock.sleeps() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(stage.step_states(id).await, ["DISPATCHING"]);
        stage.later(25);
    };
    tokio::join!(stage.dispatch(), time);
    assert_eq!(stage.step_states(id).await, ["AWAITING_ACK"]);
    audit_with_gates(&stage).await;
}

/// A stage on which a tenant may have very many jobs.
async fn roomy() -> Stage {
    Stage::with_limits(lucius_engine::settings::Limits {
        tenant_inflight: 10_000,
        ..lucius_engine::settings::Limits::default()
    })
    .await
}

/// A tenant whose jobs take the same lane.
fn neighbour_of(tenant: &str) -> String {
    let names = (0..).map(|n| format!("neighbour-{n}"));
    let mut same_lane = names.filter(|name| Lane::of(name) == Lane::of(tenant));
    same_lane.next().expect("some name has that lane")
}

#[tokio::test]
async fn a_tenant_with_very_many_jobs_delays_a_neighbour_by_one_turn() {
    let stage = roomy().await;
    for n in 0..600 {
        stage.accepted("hot", "PLAIN", &format!("doc-{n}")).await;
    }
    let other = neighbour_of("hot");
    let id = stage.accepted(&other, "PLAIN", "the only one").await;
    let lane = Lane::of("hot");
    stage
        .engine
        .dispatch_tick(lane)
        .await
        .expect("the scan works");
    let sent = stage.bus.accepted();
    assert_eq!(sent.len(), 601);
    let turn = sent.iter().position(|message| message.job_id == id);
    assert_eq!(turn, Some(1));
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn within_a_tenant_the_higher_priority_goes_first() {
    let stage = roomy().await;
    let mut jobs = Vec::new();
    for (doc, priority) in [("a", 0), ("b", 5), ("c", 9), ("d", 5)] {
        let mut command = crate::stage::command("acme", "PLAIN", doc);
        command["priority"] = priority.into();
        let accepted = stage.submit(&command).await.expect("it is good");
        jobs.push(accepted.job.id);
    }
    stage.dispatch().await;
    let sent: Vec<_> = stage.bus.accepted().iter().map(|it| it.job_id).collect();
    assert_eq!(sent, [jobs[2], jobs[1], jobs[3], jobs[0]]);
}
