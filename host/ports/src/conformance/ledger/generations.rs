//! Registry generations: numbered without gaps, never changed.

use std::sync::Arc;

use lucius_domain::id::{Digest, Generation};
use tokio::task::JoinSet;

use super::play::START;
use crate::ledger::{Committed, GenerationRecord, Generations, Origin};

/// A generation for tests.
pub fn record(number: u64, manifest: &str) -> GenerationRecord {
    GenerationRecord {
        generation: Generation(number),
        activated_at: START.plus_ms(number),
        digest: Digest::of(manifest.as_bytes()),
        manifest: manifest.to_owned(),
        origin: match number % 3 {
            0 => Origin::Quarantine {
                digest: Digest::of(b"broken"),
            },
            1 => Origin::Source,
            _ => Origin::Rollback { to: Generation(1) },
        },
        schemas: [("schemas/a.json".to_owned(), Digest::of(b"schema"))].into(),
    }
}

/// Only the next number is taken; what is there is read back as it was written, newest first.
pub async fn generations_are_appended_in_order(ledger: Arc<impl Generations>) {
    let append = async |number, manifest: &str| {
        ledger
            .append(record(number, manifest))
            .await
            .expect("the ledger works")
    };
    assert_eq!(ledger.latest(10).await.expect("the ledger works"), []);
    assert_eq!(append(2, "too soon").await, Committed::Conflict);
    assert_eq!(append(0, "never").await, Committed::Conflict);
    assert_eq!(append(1, "{\"größe\": 1}").await, Committed::Done);
    assert_eq!(append(1, "again").await, Committed::Conflict);
    assert_eq!(append(2, "{}").await, Committed::Done);
    assert_eq!(append(4, "too soon").await, Committed::Conflict);
    assert_eq!(append(3, "").await, Committed::Done);
    let expected = [record(3, ""), record(2, "{}"), record(1, "{\"größe\": 1}")];
    for limit in 0..=4 {
        let latest = ledger.latest(limit).await.expect("the ledger works");
        assert_eq!(latest, expected[..limit.min(3)]);
    }
    for record in expected {
        let found = ledger
            .generation(record.generation)
            .await
            .expect("the ledger works");
        assert_eq!(found, Some(record));
    }
    // Clients name generations as they like, also such that no store can count up to.
    for number in [0, 4, u64::MAX] {
        let found = ledger.generation(Generation(number)).await;
        assert_eq!(found.expect("the ledger works"), None, "{number}");
    }
}

/// Two hosts that activate at the same moment cannot both have the number.
pub async fn one_of_many_appends_wins<L: Generations + 'static>(ledger: Arc<L>) {
    let mut racing = JoinSet::new();
    for racer in 0..20 {
        let ledger = Arc::clone(&ledger);
        racing.spawn(async move { ledger.append(record(1, &format!("manifest {racer}"))).await });
    }
    let mut done = 0;
    while let Some(appended) = racing.join_next().await {
        match appended
            .expect("appending does not panic")
            .expect("the ledger works")
        {
            Committed::Done => done += 1,
            Committed::Conflict => {}
        }
    }
    assert_eq!(done, 1);
    assert_eq!(ledger.latest(10).await.expect("the ledger works").len(), 1);
}
