//! Creating jobs: durable once, found again by key, never twice.

use std::sync::Arc;

use lucius_domain::id::{Digest, JobId, LeaseId, Version};
use lucius_domain::plugin::Function;
use lucius_domain::transition::Transition;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::play::{Draft, Move, Play, START, accepted, decision};
use crate::ledger::{Created, Filter, Idempotency, Ledger};

/// A job with something in every optional place comes back equal, right after it was created.
pub async fn a_created_job_loads_back_whole(ledger: Arc<dyn Ledger>) {
    let play = Play::on(ledger);
    let draft = Draft::default();
    let job = play.create(&draft).await;
    assert_eq!(*job.spec, *draft.spec());
    assert_eq!(job.progress.version, Version(1));
    let id = play.id(START);
    let decisions = vec![
        (0, decision(Function::Validate)),
        (2, decision(Function::Validate)),
    ];
    let mut transition = Transition::create(id, draft.spec(), decisions);
    let lease = LeaseId(Uuid::from_u128(1));
    Move::Dispatch
        .apply(&mut transition, lease)
        .expect("the first step's turn has come");
    let dispatched = transition.finish().expect("something happened");
    let expected = Arc::clone(&dispatched.job);
    let created = play.ledger.create(dispatched, draft.key(id)).await;
    assert_eq!(created.expect("the ledger works"), Created::New);
    assert_eq!(
        *play.check(id).await,
        *expected,
        "accepted and dispatched in one commit"
    );
}

/// The second command of a kind gets the first one's job as it is by then, and writes nothing.
pub async fn a_duplicate_answers_with_the_first_job(ledger: Arc<dyn Ledger>) {
    let play = Play::on(ledger);
    let draft = Draft::default();
    let first = play.create(&draft).await;
    let moved = play
        .play(first.id, START.plus_ms(5), &[Move::Dispatch])
        .await;
    let key = draft.key(first.id);
    let second = play.id(START.plus_ms(9));
    let created = play
        .ledger
        .create(accepted(second, &draft), key.clone())
        .await;
    assert_eq!(
        created.expect("the ledger works"),
        Created::Duplicate(Arc::clone(&moved))
    );
    let found = play
        .ledger
        .find(&moved.spec.tenant_id, &key)
        .await
        .expect("the ledger works");
    assert_eq!(found, Some(Created::Duplicate(moved)));
    assert_eq!(
        play.ledger.load(second).await.expect("the ledger works"),
        None
    );
    play.check(first.id).await;
}

/// The same command a hundred times at the same moment makes one job, and all hear of that one.
pub async fn a_hundred_at_once_create_one_job(ledger: Arc<dyn Ledger>) {
    let play = Play::on(Arc::clone(&ledger));
    let draft = Draft::default();
    let key = Idempotency::key_of(Some("one"), Digest::of(b"command"));
    let mut creating = JoinSet::new();
    for _ in 0..100 {
        let (id, key, ledger) = (play.id(START), key.clone(), Arc::clone(&ledger));
        let change = accepted(id, &draft);
        creating.spawn(async move { (id, ledger.create(change, key).await) });
    }
    let mut new = Vec::new();
    let mut duplicates = Vec::new();
    while let Some(done) = creating.join_next().await {
        let (id, created) = done.expect("creating does not panic");
        match created.expect("the ledger works") {
            Created::New => new.push(id),
            Created::Duplicate(job) => duplicates.push(job.id),
            Created::KeyReused(job) => panic!("the command is the same as that of {job}"),
        }
    }
    let [winner] = new[..] else {
        panic!("{} were new", new.len())
    };
    assert_eq!(duplicates, vec![winner; 99]);
    let filter = Filter {
        limit: 200,
        ..Filter::default()
    };
    assert_eq!(
        play.ledger
            .list(filter)
            .await
            .expect("the ledger works")
            .len(),
        1
    );
    play.check(winner).await;
}

/// The key of one command with another command is refused, with the job that has the key.
pub async fn a_reused_key_names_the_job_that_has_it(ledger: Arc<dyn Ledger>) {
    let play = Play::on(ledger);
    let draft = Draft::default();
    let key = |body: &[u8]| Idempotency::key_of(Some("k"), Digest::of(body));
    let (first, second) = (play.id(START), play.id(START));
    let created = play
        .ledger
        .create(accepted(first, &draft), key(b"one"))
        .await;
    assert_eq!(created.expect("the ledger works"), Created::New);
    let created = play
        .ledger
        .create(accepted(second, &draft), key(b"two"))
        .await;
    assert_eq!(
        created.expect("the ledger works"),
        Created::KeyReused(first)
    );
    let found = play
        .ledger
        .find(&draft.spec().tenant_id, &key(b"two"))
        .await;
    assert_eq!(
        found.expect("the ledger works"),
        Some(Created::KeyReused(first))
    );
    assert_eq!(
        play.ledger.load(second).await.expect("the ledger works"),
        None
    );
    play.check(first).await;
}

/// Two tenants may use the same key, and a key and a digest with the same text differ.
pub async fn keys_belong_to_their_tenant(ledger: Arc<dyn Ledger>) {
    let play = Play::on(ledger);
    let digest = Digest::of(b"command");
    let text = digest.to_string();
    let mut ids = Vec::new();
    for tenant in ["acme", "Acme", "acm", "größe/\\#?"] {
        for client_key in [None, Some(text.as_str()), Some(""), Some("e")] {
            let draft = Draft {
                tenant: tenant.to_owned(),
                ..Draft::default()
            };
            let id = play.id(START);
            let key = Idempotency::key_of(client_key, digest);
            let created = play.ledger.create(accepted(id, &draft), key).await;
            assert_eq!(
                created.expect("the ledger works"),
                Created::New,
                "{tenant} {client_key:?}"
            );
            ids.push(id);
        }
    }
    for id in ids {
        play.check(id).await;
    }
}

/// Looking a key up does not take it.
pub async fn finding_a_key_writes_nothing(ledger: Arc<dyn Ledger>) {
    let play = Play::on(ledger);
    let draft = Draft::default();
    let id = play.id(START);
    let (tenant, key) = (draft.spec().tenant_id.clone(), draft.key(id));
    for _ in 0..2 {
        assert_eq!(
            play.ledger
                .find(&tenant, &key)
                .await
                .expect("the ledger works"),
            None
        );
    }
    let created = play.ledger.create(accepted(id, &draft), key).await;
    assert_eq!(created.expect("the ledger works"), Created::New);
}

/// A job that was never created has no row and no events.
pub async fn an_unknown_job_is_not_there(ledger: Arc<dyn Ledger>) {
    let unknown = JobId(Uuid::from_u128(42));
    assert_eq!(ledger.load(unknown).await.expect("the ledger works"), None);
    assert_eq!(
        ledger
            .events(unknown, 0, 10)
            .await
            .expect("the ledger works"),
        Vec::new()
    );
}
