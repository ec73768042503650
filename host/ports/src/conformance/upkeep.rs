//! What operators rely on when they look after a ledger through [`Upkeep`].
//!
//! A backend proves itself with [`upkeep_conformance!`](crate::upkeep_conformance).

use std::sync::Arc;

use lucius_domain::id::JobId;
use lucius_domain::job::{DueKind, Job};
use lucius_domain::signature::Signature;

use super::ledger::play::{Draft, KINDS, Move, Play, START, accepted, lane};
use crate::ledger::{Created, Filter, Ledger};
use crate::upkeep::{COUNTED, Failures, States, Upkeep};

/// Makes a test of every case. The argument is an expression that gives a new, empty ledger as an `Arc`; it may use
/// `.await` and is evaluated once for each test.
#[macro_export]
macro_rules! upkeep_conformance {
    ($fresh:expr) => {
        $crate::upkeep_conformance! { @cases $fresh;
            failures_are_grouped_by_signature,
            a_redriven_job_is_no_failure_until_it_fails_again,
            states_are_counted,
            purging_deletes_what_ended_and_nothing_else,
            a_purged_job_leaves_nothing_behind,
        }
    };
    (@cases $fresh:expr; $($case:ident,)*) => {
        mod upkeep {
            #[allow(unused_imports, reason = "the expression may need none of them")]
            use super::*;
            $(
                #[tokio::test]
                async fn $case() {
                    $crate::conformance::upkeep::$case($fresh).await;
                }
            )*
        }
    };
}

async fn failed(play: &Play, tenant: &str, ms: u64, moves: &[Move]) -> Arc<Job> {
    let draft = Draft {
        tenant: tenant.to_owned(),
        created_at: START.plus_ms(ms),
        ..Draft::default()
    };
    let job = play.create(&draft).await;
    play.play(job.id, START.plus_ms(ms + 1_000), moves).await
}

fn group(jobs: &[&Arc<Job>]) -> Failures {
    let ended = || jobs.iter().filter_map(|job| job.progress.completed_at);
    let ids = jobs.iter().map(|job| job.id);
    Failures {
        signature: Signature::of(jobs[0]).expect("it failed").id(),
        count: u64::try_from(jobs.len()).expect("a few"),
        first_at: ended().min().expect("it ended"),
        last_at: ended().max().expect("it ended"),
        newest: ids.max().expect("there is one"),
    }
}

const WORKER_SAYS_NO: [Move; 3] = [Move::Dispatch, Move::Ack, Move::FailFinally];

/// Each reason is one group, the most frequent first, of all tenants or of one.
pub async fn failures_are_grouped_by_signature<L: Ledger + Upkeep + 'static>(ledger: Arc<L>) {
    let play = Play::on(Arc::clone(&ledger) as _);
    let failures = |tenant: Option<&'static str>, limit| {
        let ledger = Arc::clone(&ledger);
        async move {
            let tenant = tenant.map(Into::into);
            let groups = ledger.failures(tenant.as_ref(), limit).await;
            groups.expect("the ledger works")
        }
    };
    assert_eq!(failures(None, 9).await, []);
    let one = failed(&play, "acme", 0, &[Move::RejectRoute]).await;
    let two = failed(&play, "beta", 10, &WORKER_SAYS_NO).await;
    let three = failed(&play, "acme", 20, &WORKER_SAYS_NO).await;
    let four = failed(&play, "acme", 30, &WORKER_SAYS_NO).await;
    play.create(&Draft::default()).await;
    let done = play.create(&Draft::default()).await;
    play.play(done.id, START, &[Move::Cancel]).await;

    let (often, once) = (group(&[&two, &three, &four]), group(&[&one]));
    assert_eq!(failures(None, 9).await, [often.clone(), once.clone()]);
    assert_eq!(failures(None, 1).await, [often]);
    assert_eq!(failures(None, 0).await, []);
    assert_eq!(
        failures(Some("acme"), 9).await,
        [group(&[&three, &four]), once]
    );
    assert_eq!(failures(Some("beta"), 9).await, [group(&[&two])]);
    assert_eq!(failures(Some("nobody"), 9).await, []);
}

/// What is under way again is in no group.
pub async fn a_redriven_job_is_no_failure_until_it_fails_again<L: Ledger + Upkeep + 'static>(
    ledger: Arc<L>,
) {
    let play = Play::on(Arc::clone(&ledger) as _);
    let job = failed(&play, "acme", 0, &[Move::RejectRoute]).await;
    let before = ledger.failures(None, 9).await.expect("the ledger works");
    assert_eq!(before, [group(&[&job])]);
    let again = START.plus_ms(5_000);
    play.play(job.id, again, &[Move::Redrive]).await;
    let between = ledger.failures(None, 9).await.expect("the ledger works");
    assert_eq!(between, []);
    let by_code = Filter {
        error_code: Some("NO_ROUTE".to_owned()),
        limit: 9,
        ..Filter::default()
    };
    let listed = ledger.list(by_code).await.expect("the ledger works");
    assert_eq!(listed, [], "an error that is over is not listed");
    let job = play.play(job.id, again, &WORKER_SAYS_NO).await;
    let after = ledger.failures(None, 9).await.expect("the ledger works");
    assert_eq!(after, [group(&[&job])]);
}

/// Each state that jobs do not rest in for good, and the one that waits for a person.
pub async fn states_are_counted<L: Ledger + Upkeep + 'static>(ledger: Arc<L>) {
    let play = Play::on(Arc::clone(&ledger) as _);
    let lives: [(&str, &[Move]); 7] = [
        ("QUEUED", &[Move::Dispatch]),
        ("DISPATCHING", &[Move::Dispatch, Move::Sent]),
        ("IN_PROGRESS", &[Move::Dispatch, Move::Ack]),
        ("CANCELLING", &[Move::Dispatch, Move::Ack, Move::Cancel]),
        ("FAILED_FINAL", &[Move::RejectRoute]),
        ("FAILED_FINAL", &WORKER_SAYS_NO),
        ("CANCELLED", &[Move::Cancel]),
    ];
    let mut expected = States::new();
    for (state, moves) in lives {
        let job = failed(&play, "acme", 0, moves).await;
        assert_eq!(job.progress.status.name(), state);
        if COUNTED.contains(&state) {
            *expected.entry(state).or_default() += 1;
        }
    }
    let mut states = ledger.states().await.expect("the ledger works");
    states.retain(|_, count| *count > 0);
    assert_eq!(states, expected);
}

/// The oldest that ended before the moment go, at most so many; what is under way or ended later stays.
pub async fn purging_deletes_what_ended_and_nothing_else<L: Ledger + Upkeep + 'static>(
    ledger: Arc<L>,
) {
    let play = Play::on(Arc::clone(&ledger) as _);
    let mut ids: Vec<JobId> = Vec::new();
    for ms in 0..6 {
        ids.push(failed(&play, "acme", ms, &[Move::RejectRoute]).await.id);
    }
    play.play(ids[1], START.plus_ms(2_000), &[Move::Redrive])
        .await;
    let late = failed(&play, "acme", 50, &[Move::RejectRoute]).await;
    let left = async || {
        let all = Filter {
            limit: 99,
            ..Filter::default()
        };
        let jobs = play.ledger.list(all).await.expect("the ledger works");
        jobs.iter().rev().map(|job| job.id).collect::<Vec<_>>()
    };
    let purge = async |ms, limit| {
        let purged = ledger.purge(START.plus_ms(ms), limit).await;
        purged.expect("the ledger works")
    };
    assert_eq!(
        purge(1_000, 9).await,
        0,
        "the first ended at that moment, not before"
    );
    assert_eq!(purge(1_001, 9).await, 1);
    assert_eq!(purge(1_050, 0).await, 0);
    assert_eq!(purge(1_050, 2).await, 2);
    assert_eq!(left().await, [ids[1], ids[4], ids[5], late.id]);
    assert_eq!(purge(1_050, 9).await, 2);
    assert_eq!(left().await, [ids[1], late.id]);
    play.check(ids[1]).await;
    play.check(late.id).await;
}

/// Nothing of a job that was purged can be found, and its key is free.
pub async fn a_purged_job_leaves_nothing_behind<L: Ledger + Upkeep + 'static>(ledger: Arc<L>) {
    let play = Play::on(Arc::clone(&ledger) as _);
    let draft = Draft::default();
    let job = play.create(&draft).await;
    let moves = [Move::Dispatch, Move::PublishFails, Move::Cancel];
    let job = play.play(job.id, START, &moves).await;
    let purged = ledger.purge(START.plus_ms(1), 9).await;
    assert_eq!(purged.expect("the ledger works"), 1);
    assert_eq!(ledger.load(job.id).await.expect("the ledger works"), None);
    let events = ledger.events(job.id, 0, 99).await;
    assert_eq!(events.expect("the ledger works"), []);
    let key = draft.key(job.id);
    let found = ledger.find(&job.spec.tenant_id, &key).await;
    assert_eq!(found.expect("the ledger works"), None);
    for kind in KINDS {
        let due = play.due(lane(3), &[kind], START.plus_ms(1 << 40)).await;
        assert_eq!(due, [], "{kind:?}");
    }
    assert_eq!(play.outbox_pending().await, 0);
    let again = play.id(START);
    let created = ledger.create(accepted(again, &draft), key).await;
    assert_eq!(created.expect("the ledger works"), Created::New);
    let due = play.due(draft.lane, &[DueKind::Decision], START).await;
    assert_eq!(due, [again]);
}
