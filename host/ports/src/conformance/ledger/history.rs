//! Commits and the events they leave: one winner a version, nothing by a loser, no gaps.

use std::sync::Arc;

use lucius_domain::id::Version;
use lucius_domain::job::Status;
use lucius_domain::time::Timestamp;
use tokio::task::JoinSet;

use super::play::{Draft, KINDS, Move, Play, START, accepted, change};
use crate::ledger::{Committed, Ledger};

/// A commit that was decided on an older version leaves no trace: no event, no outbox row, no due time.
pub async fn a_commit_on_another_version_changes_nothing(ledger: Arc<dyn Ledger>) {
    let play = Play::on(ledger);
    let old = play.create(&Draft::default()).await;
    let id = old.id;
    let late = change(&old, START, &[Move::Dispatch], 99).expect("its turn has come");
    let after_cancel = play.play(id, START, &[Move::Cancel]).await;
    let events = play
        .ledger
        .events(id, 0, 100)
        .await
        .expect("the ledger works");
    let committed = play
        .ledger
        .commit(late.clone())
        .await
        .expect("the ledger works");
    assert_eq!(committed, Committed::Conflict);
    let again = play.ledger.commit(late).await.expect("the ledger works");
    assert_eq!(again, Committed::Conflict);
    assert_eq!(*play.check(id).await, *after_cancel);
    assert_eq!(
        play.ledger
            .events(id, 0, 100)
            .await
            .expect("the ledger works"),
        events
    );
    assert!(
        play.due(old.spec.lane, &KINDS, Timestamp(i64::MAX))
            .await
            .is_empty()
    );
    assert_eq!(play.outbox_pending().await, 0);
}

/// Of many commits on one version at the same moment, one is done and the others conflict.
pub async fn one_of_many_commits_on_a_version_wins(ledger: Arc<dyn Ledger>) {
    let play = Play::on(Arc::clone(&ledger));
    let mut job = play.create(&Draft::default()).await;
    for round in 0..5_u128 {
        let mut racing = JoinSet::new();
        for racer in 0..20_u64 {
            let now = START.plus_ms(racer);
            let change = change(&job, now, &[Move::Note], round).expect("a note is always kept");
            let ledger = Arc::clone(&ledger);
            racing.spawn(async move { (Arc::clone(&change.job), ledger.commit(change).await) });
        }
        let mut winners = Vec::new();
        while let Some(done) = racing.join_next().await {
            let (decided, committed) = done.expect("committing does not panic");
            match committed.expect("the ledger works") {
                Committed::Done => winners.push(decided),
                Committed::Conflict => {}
            }
        }
        assert_eq!(winners.len(), 1);
        job = play.check(job.id).await;
        assert_eq!(*job, *winners[0]);
    }
    assert_eq!(job.progress.version, Version(6));
}

/// Fifty writers who load, decide and commit until they get through: each gets through once, in one order.
pub async fn fifty_writers_on_one_job_make_one_order(ledger: Arc<dyn Ledger>) {
    const WRITERS: u32 = 50;
    let play = Play::on(Arc::clone(&ledger));
    let id = play.create(&Draft::default()).await.id;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let ledger = Arc::clone(&ledger);
        writers.spawn(async move {
            loop {
                let job = ledger.load(id).await.expect("the ledger works");
                let job = job.expect("it is there");
                let now = START.plus_ms(writer.into());
                let change = change(&job, now, &[Move::Note], writer.into());
                let change = change.expect("a note is always kept");
                if ledger.commit(change).await.expect("the ledger works") == Committed::Done {
                    return now;
                }
            }
        });
    }
    let mut wrote = writers.join_all().await;
    wrote.sort_unstable();
    let job = play.check(id).await;
    assert_eq!(job.progress.version, Version(u64::from(WRITERS) + 1));
    let events = ledger.events(id, 1, usize::MAX).await;
    let mut kept: Vec<Timestamp> = events
        .expect("the ledger works")
        .iter()
        .map(|event| event.at)
        .collect();
    kept.sort_unstable();
    assert_eq!(kept, wrote, "each writer's own line, once");
}

/// There is no version to replace.
pub async fn a_commit_to_an_unknown_job_is_a_conflict(ledger: Arc<dyn Ledger>) {
    let play = Play::on(ledger);
    let draft = Draft::default();
    let id = play.id(START);
    let never = accepted(id, &draft).job;
    let change = change(&never, START, &[Move::Dispatch], 1).expect("its turn has come");
    let committed = play.ledger.commit(change).await.expect("the ledger works");
    assert_eq!(committed, Committed::Conflict);
    assert_eq!(play.ledger.load(id).await.expect("the ledger works"), None);
    assert_eq!(
        play.ledger
            .events(id, 0, 10)
            .await
            .expect("the ledger works"),
        Vec::new()
    );
    assert!(
        play.due(draft.lane, &KINDS, Timestamp(i64::MAX))
            .await
            .is_empty()
    );
}

/// Forty jobs that are driven at the same time do not disturb each other.
pub async fn many_jobs_commit_side_by_side(ledger: Arc<dyn Ledger>) {
    let play = Arc::new(Play::on(ledger));
    let mut driving = JoinSet::new();
    for number in 0..40_u64 {
        let play = Arc::clone(&play);
        driving.spawn(async move {
            let draft = Draft {
                lane: super::play::lane(number),
                ..Draft::default()
            };
            let id = play.create(&draft).await.id;
            play.play(id, START, &[Move::Dispatch]).await;
            for _ in 0..2 {
                play.play(id, START, &[Move::Sent]).await;
                play.play(id, START, &[Move::Ack]).await;
                play.play(id, START, &[Move::SucceedAndDispatch]).await;
            }
            play.play(id, START, &[Move::Succeed]).await
        });
    }
    while let Some(done) = driving.join_next().await {
        let job = done.expect("driving does not panic");
        assert_eq!(job.progress.status, Status::Succeeded);
        assert_eq!(job.progress.version, Version(9));
    }
}

/// Every page of events, of any size and from any number, is that stretch of the whole trail.
pub async fn events_have_no_gaps_and_page_by_number(ledger: Arc<dyn Ledger>) {
    let play = Play::on(ledger);
    let job = play.create(&Draft::default()).await;
    play.play(job.id, START, &[Move::Dispatch]).await;
    play.play(job.id, START, &[Move::Sent]).await;
    play.play(job.id, START.plus_ms(1), &[Move::Heartbeat])
        .await;
    let job = play
        .play(job.id, START.plus_ms(2), &[Move::SucceedAndDispatch])
        .await;
    let all = play
        .ledger
        .events(job.id, 0, usize::MAX)
        .await
        .expect("the ledger works");
    assert_eq!(u64::try_from(all.len()).ok(), Some(job.progress.events));
    for after in 0..=all.len() + 1 {
        for limit in 0..=all.len() + 1 {
            let from = u64::try_from(after).expect("a small number");
            let page = play
                .ledger
                .events(job.id, from, limit)
                .await
                .expect("the ledger works");
            let expected: Vec<_> = all.iter().skip(after).take(limit).cloned().collect();
            assert_eq!(page, expected, "after {after}, at most {limit}");
        }
    }
}

/// Retries, faults, a failed publish, a lost lease, a final failure, a redrive, a skip, a cancel: the trail of a life
/// like that still makes the job (checked after every commit).
pub async fn a_long_life_is_rebuilt_from_its_events(ledger: Arc<dyn Ledger>) {
    let play = Play::on(ledger);
    let id = play.create(&Draft::default()).await.id;
    let mut now = START;
    for step in [
        Move::RouteFault,
        Move::Dispatch,
        Move::PublishFails,
        Move::Sent,
        Move::AckOverdue,
        Move::Dispatch,
        Move::Heartbeat,
        Move::LeaseOverdue,
        Move::Dispatch,
        Move::Ack,
        Move::Note,
        Move::Fail,
        Move::Redrive,
        Move::Dispatch,
        Move::Report,
        Move::SettleFault,
    ] {
        now = now.plus_ms(60 * 60 * 1_000);
        play.play(id, now, &[step]).await;
    }
    let job = play.load(id).await;
    assert_eq!(
        job.progress.status,
        Status::InProgress,
        "the fourth attempt has reported"
    );
    let life = Draft {
        steps: 2,
        ..Draft::default()
    };
    let id = play.create(&life).await.id;
    play.play(id, now, &[Move::Skip]).await;
    play.play(id, now, &[Move::Dispatch]).await;
    play.play(id, now, &[Move::Sent]).await;
    play.play(id, now, &[Move::Cancel]).await;
    let job = play.play(id, now, &[Move::Succeed]).await;
    assert_eq!(job.progress.status, Status::Cancelled);
}
