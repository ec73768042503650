//! What is too large, and how many requests a job takes.

use std::sync::Arc;

use lucius_domain::contract::Ref;
use lucius_domain::job::JobSpec;
use lucius_domain::transition::Transition;
use lucius_ports::conformance::ledger::play::{Draft, Move, Play, START, job_id};
use lucius_ports::ledger::{Created, Error, Ledger};

use crate::model::{GOOD, Model};
use crate::rig::{make_tables, open};

fn spec_of(bytes: usize) -> Arc<JobSpec> {
    let draft = Draft::default().spec();
    Arc::new(JobSpec {
        input_ref: Ref::Uri("s".repeat(bytes)),
        ..(*draft).clone()
    })
}

#[tokio::test]
async fn a_job_of_two_megabytes_comes_back_whole() {
    let model = Arc::new(Model::new(GOOD, 1));
    make_tables(&model).await;
    let host = open(&model, 9).await;
    let (id, spec) = (job_id(START, 1), spec_of(2_000_000));
    let change = Transition::create(id, Arc::clone(&spec), Vec::new())
        .finish()
        .unwrap();
    let key = Draft::default().key(id);
    assert_eq!(host.create(change, key).await.unwrap(), Created::New);
    let other = open(&model, 10).await;
    assert_eq!(other.load(id).await.unwrap().unwrap().spec, spec);
}

#[tokio::test]
async fn a_job_that_does_not_fit_is_refused_and_leaves_nothing() {
    let model = Arc::new(Model::new(GOOD, 1));
    make_tables(&model).await;
    let host = open(&model, 9).await;
    let id = job_id(START, 1);
    for bytes in [3_200_000, 5_000_000] {
        let change = Transition::create(id, spec_of(bytes), Vec::new())
            .finish()
            .unwrap();
        let created = host.create(change, Draft::default().key(id)).await;
        assert!(matches!(created, Err(Error::TooLarge(_))), "{created:?}");
    }
    assert_eq!(host.load(id).await.unwrap(), None);
    assert_eq!(model.entities("luciustenants"), 0, "not even its key");
}

#[tokio::test]
async fn a_job_of_three_steps_takes_at_most_twenty_five_requests() {
    let model = Arc::new(Model::new(GOOD, 1));
    make_tables(&model).await;
    let host = open(&model, 9).await;
    let before = model.requests();
    let id = job_id(START, 1);
    let mut transition = Transition::create(id, Draft::default().spec(), Vec::new());
    let lease = lucius_domain::id::LeaseId(uuid::Uuid::from_u128(1));
    Move::Dispatch.apply(&mut transition, lease).unwrap();
    let created = host
        .create(transition.finish().unwrap(), Draft::default().key(id))
        .await;
    assert_eq!(created.unwrap(), Created::New);
    // As the engine does it: SENT is committed on the job at hand, callbacks load it first.
    for _ in 0..3 {
        for step in [Move::Sent, Move::Ack, Move::SucceedAndDispatch] {
            let job = host.load(id).await.unwrap().unwrap();
            let mut transition = Transition::of(&job, START);
            step.apply(&mut transition, lease).unwrap();
            host.commit(transition.finish().unwrap()).await.unwrap();
        }
    }
    let loads_saved = 3;
    let requests = model.requests() - before - loads_saved;
    assert!(requests <= 25, "{requests} requests");
    assert!(Play::on(host).load(id).await.progress.status.is_terminal());
}
