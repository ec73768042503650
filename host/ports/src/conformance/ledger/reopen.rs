//! For ledgers that outlive their process: closed and opened again, everything is as it was.

use std::sync::Arc;

use lucius_domain::time::Timestamp;

use super::generations::record;
use super::play::{Draft, KINDS, Move, Play, START, accepted, lane};
use crate::ledger::{Committed, Created, Filter, Generations, Ledger};

/// `open` opens the same ledger each time, and is called only after the earlier one was dropped.
pub async fn everything_survives_being_reopened<L, F>(open: F)
where
    L: Ledger + Generations + 'static,
    F: AsyncFn() -> Arc<L>,
{
    let draft = Draft::default();
    let (jobs, counts, due) = {
        let ledger = open().await;
        let appended = ledger
            .append(record(1, "{}"))
            .await
            .expect("the ledger works");
        assert_eq!(appended, Committed::Done);
        let play = Play::on(ledger);
        let mut now = START;
        for moves in [
            &[Move::Dispatch][..],
            &[Move::Dispatch, Move::Sent],
            &[Move::Dispatch, Move::Ack, Move::SucceedAndDispatch],
            &[Move::Dispatch, Move::FailFinally],
        ] {
            now = now.plus_ms(1);
            let id = play.create(&draft).await.id;
            play.play(id, now, moves).await;
        }
        read(&play).await
    };
    let ledger = open().await;
    assert_eq!(
        ledger.latest(5).await.expect("the ledger works"),
        [record(1, "{}")]
    );
    let play = Play::on(ledger);
    assert_eq!(read(&play).await, (jobs.clone(), counts, due));
    for job in &jobs {
        play.check(job.id).await;
        let change = accepted(play.id(Timestamp(START.0 + 99)), &draft);
        let created = play.ledger.create(change, draft.key(job.id)).await;
        assert_eq!(
            created.expect("the ledger works"),
            Created::Duplicate(Arc::clone(job))
        );
    }
    let open_job = jobs.last().expect("four jobs were created");
    play.play(open_job.id, START.plus_ms(50), &[Move::Sent])
        .await;
}

type Read = (
    Vec<Arc<lucius_domain::job::Job>>,
    crate::ledger::Counts,
    Vec<lucius_domain::id::JobId>,
);

async fn read(play: &Play) -> Read {
    let jobs = play
        .ledger
        .list(Filter {
            limit: 10,
            ..Filter::default()
        })
        .await;
    let counts = play.counts().await;
    let due = play.due(lane(3), &KINDS, Timestamp(i64::MAX)).await;
    (jobs.expect("the ledger works"), counts, due)
}
