//! Which jobs hold what: counted while they are not over, found by plugin for as long as they are there.

use std::sync::Arc;

use lucius_domain::id::{Digest, Generation, JobId, PluginId};

use super::play::{Draft, Move, Play, START};
use crate::ledger::Ledger;
use crate::pins::{Held, Pins};

async fn held(ledger: &impl Pins) -> (u64, u64) {
    let Held {
        generations,
        components,
    } = ledger.held().await.expect("the ledger works");
    assert!(generations.keys().all(|it| *it == Generation(7)));
    assert!(components.keys().all(|it| *it == Digest::of(b"component")));
    (generations.values().sum(), components.values().sum())
}

/// A job holds its generation until it is over, and a component until the last step that has it is over.
pub async fn jobs_hold_their_generation_until_they_are_over<L: Pins + 'static>(ledger: Arc<L>) {
    let play = Play::on(Arc::clone(&ledger) as Arc<dyn Ledger>);
    assert_eq!(held(&*ledger).await, (0, 0));
    let (mut one, mut three) = (Draft::default(), Draft::default());
    (one.steps, three.steps) = (1, 3);
    let first = play.create(&one).await.id;
    let second = play.create(&three).await.id;
    assert_eq!(held(&*ledger).await, (2, 2));
    for moves in [&[Move::Dispatch][..], &[Move::Sent], &[Move::Ack]] {
        play.play(first, START, moves).await;
        assert_eq!(held(&*ledger).await, (2, 2));
    }
    play.play(first, START, &[Move::Succeed]).await;
    assert_eq!(held(&*ledger).await, (1, 1));
    play.play(second, START, &[Move::RejectRoute]).await;
    assert_eq!(
        held(&*ledger).await,
        (0, 0),
        "one that failed holds nothing"
    );
    play.play(second, START, &[Move::Redrive]).await;
    assert_eq!(held(&*ledger).await, (1, 1), "until it is redriven");
    play.play(second, START, &[Move::Cancel]).await;
    assert_eq!(held(&*ledger).await, (0, 0));
}

/// The newest jobs of a plugin, whatever became of them, and no others.
pub async fn the_newest_jobs_of_a_plugin_are_found<L: Pins + 'static>(ledger: Arc<L>) {
    let play = Play::on(Arc::clone(&ledger) as Arc<dyn Ledger>);
    let (ocr, nobody) = (PluginId::from("ocr"), PluginId::from("nobody"));
    let of = async |plugin: &PluginId, limit| {
        let found = ledger.jobs_of(plugin, limit).await;
        found.expect("the ledger works")
    };
    assert_eq!(of(&ocr, 9).await, Vec::<JobId>::new());
    let mut ids = Vec::new();
    for number in 0..5 {
        let draft = Draft {
            created_at: START.plus_ms(number),
            ..Draft::default()
        };
        ids.insert(0, play.create(&draft).await.id);
    }
    play.play(ids[1], START.plus_ms(9), &[Move::Cancel]).await;
    for limit in [0, 1, 3, 5, 9] {
        assert_eq!(of(&ocr, limit).await, ids[..limit.min(5)], "{limit}");
    }
    assert_eq!(of(&nobody, 9).await, Vec::<JobId>::new());
}
