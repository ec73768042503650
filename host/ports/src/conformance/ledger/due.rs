//! What is due: never hidden, never early, never after the end.

use std::sync::Arc;

use lucius_domain::job::{DueKind, Status};
use lucius_domain::time::Timestamp;

use super::play::{Draft, KINDS, Move, Play, START, lane};
use crate::ledger::Ledger;

/// Each reason to be due shows in its own kind, in its own lane, from its own moment on.
pub async fn a_job_is_due_by_kind_lane_and_time(ledger: Arc<dyn Ledger>) {
    let play = Play::on(ledger);
    let draft = Draft {
        lane: lane(5),
        ..Draft::default()
    };
    let id = play.create(&draft).await.id;
    let mut seen = Vec::new();
    for step in [Move::Dispatch, Move::Sent, Move::Ack, Move::Fail] {
        let job = play.load(id).await;
        let (kind, at) = job.due().expect("a live job is due");
        assert_eq!(play.due(lane(5), &KINDS, at).await, [id], "{kind:?}");
        assert_eq!(play.due(lane(6), &KINDS, Timestamp(i64::MAX)).await, []);
        assert_eq!(play.due(lane(5), &[], Timestamp(i64::MAX)).await, []);
        seen.push(kind);
        play.play(id, START, &[step]).await;
    }
    assert_eq!(
        seen,
        [
            DueKind::Decision,
            DueKind::Dispatch,
            DueKind::Ack,
            DueKind::Lease
        ]
    );
    let (kind, at) = play.load(id).await.due().expect("a retry is due");
    assert_eq!((kind, at), (DueKind::Decision, START.plus_ms(60_000)));
}

/// Over all kinds, what has waited longest comes first; a limit cuts the rest.
pub async fn the_longest_due_come_first_and_the_limit_holds(ledger: Arc<dyn Ledger>) {
    let play = Play::on(ledger);
    let mut expected = Vec::new();
    for delay in [500, 100, 900, 300, 700, 0, 200] {
        let created_at = START.plus_ms(delay);
        let id = play
            .create(&Draft {
                created_at,
                ..Draft::default()
            })
            .await
            .id;
        if delay % 200 == 100 {
            play.play(id, created_at, &[Move::Dispatch]).await; // due for the outbox instead
        }
        expected.push((created_at, id));
    }
    expected.sort();
    let ids: Vec<_> = expected.iter().map(|(_, id)| *id).collect();
    let now = START.plus_ms(10_000);
    for limit in 0..=ids.len() + 1 {
        let due = play
            .ledger
            .due(lane(3), &KINDS, now, limit)
            .await
            .expect("the ledger works");
        assert_eq!(due, ids[..limit.min(ids.len())], "at most {limit}");
    }
    let soon = play.due(lane(3), &KINDS, START.plus_ms(300)).await;
    assert_eq!(soon, ids[..4]);
    let outbox = play.due(lane(3), &[DueKind::Dispatch], now).await;
    let decisions = play.due(lane(3), &[DueKind::Decision], now).await;
    assert_eq!((outbox.len(), decisions.len()), (5, 2));
}

/// A directive is in the outbox from its attempt until it is sent, refused for good, or not needed any more.
pub async fn the_outbox_shows_what_may_be_published(ledger: Arc<dyn Ledger>) {
    let play = Play::on(ledger);
    let end = Timestamp(i64::MAX);
    for ending in [
        Move::Sent,
        Move::Ack,
        Move::Heartbeat,
        Move::Succeed,
        Move::PublishRefused,
        Move::Cancel,
    ] {
        let id = play.create(&Draft::default()).await.id;
        assert_eq!(play.due(lane(3), &[DueKind::Dispatch], end).await, []);
        play.play(id, START, &[Move::Dispatch]).await;
        assert_eq!(play.due(lane(3), &[DueKind::Dispatch], START).await, [id]);
        let pending = play.outbox_pending().await;
        assert_eq!(pending, 1);
        play.play(id, START, &[ending]).await;
        assert_eq!(
            play.due(lane(3), &[DueKind::Dispatch], end).await,
            [],
            "{ending:?}"
        );
        let pending = play.outbox_pending().await;
        assert_eq!(pending, 0, "{ending:?}");
    }
}

/// After a failed publish the directive is not due before its new time, and the old time is gone.
pub async fn a_failed_publish_waits_for_its_time(ledger: Arc<dyn Ledger>) {
    let play = Play::on(ledger);
    let id = play.create(&Draft::default()).await.id;
    play.play(id, START, &[Move::Dispatch]).await;
    let mut now = START;
    for wait_ms in [30_000, 120_000, 600_000] {
        play.play(id, now, &[Move::PublishFails]).await;
        let early = Timestamp(now.plus_ms(wait_ms).0 - 1);
        assert_eq!(play.due(lane(3), &[DueKind::Dispatch], early).await, []);
        now = now.plus_ms(wait_ms);
        assert_eq!(play.due(lane(3), &[DueKind::Dispatch], now).await, [id]);
        let pending = play.outbox_pending().await;
        assert_eq!(pending, 1, "it is the same row");
    }
    let job = play.play(id, now, &[Move::PublishFails]).await;
    assert!(job.progress.status.is_terminal(), "the waits are used up");
    assert_eq!(play.due(lane(3), &KINDS, Timestamp(i64::MAX)).await, []);
}

/// However a job ends, nothing of it is due; a redrive makes it due again.
pub async fn a_terminal_job_is_never_due(ledger: Arc<dyn Ledger>) {
    let play = Play::on(ledger);
    let end = Timestamp(i64::MAX);
    let draft = Draft {
        steps: 1,
        ..Draft::default()
    };
    for ways in [
        &[Move::Skip][..],
        &[Move::RejectRoute],
        &[Move::Cancel],
        &[Move::Dispatch, Move::Succeed],
        &[Move::Dispatch, Move::FailFinally],
        &[
            Move::Dispatch,
            Move::Sent,
            Move::Ack,
            Move::Cancel,
            Move::Fail,
        ],
    ] {
        let id = play.create(&draft).await.id;
        let mut job = play.load(id).await;
        for step in ways {
            job = play.play(id, START, &[*step]).await;
        }
        assert!(job.progress.status.is_terminal(), "{ways:?}");
        assert_eq!(play.due(lane(3), &KINDS, end).await, [], "{ways:?}");
        if matches!(job.progress.status, Status::FailedFinal { .. }) {
            play.play(id, START, &[Move::Redrive]).await;
            assert_eq!(play.due(lane(3), &[DueKind::Decision], START).await, [id]);
            play.play(id, START, &[Move::Cancel]).await;
        }
    }
}
