use bytes::Bytes;

use super::*;
use crate::message::{Content, Head};

const MINUTE: Duration = Duration::from_secs(60);

fn settings() -> Settings {
    Settings {
        max_delivery_count: 2,
        body_memory_bytes: 100,
        ..Settings::default()
    }
}

fn lane() -> Lane {
    Lane::of("acme")
}

fn row(sequence: u64, body: &'static str) -> Row {
    let content = Content {
        head: Head::default(),
        body: Bytes::from_static(body.as_bytes()),
    };
    Row {
        sequence,
        lane: lane(),
        service: "svc".to_owned(),
        message_id: format!("m{sequence}"),
        enqueued_at: 0,
        head: String::new(),
        content: Arc::new(content),
    }
}

/// An index with messages 1 to `count` in the active line.
fn index_of(count: u64) -> (Index, Place) {
    let mut index = Index::new(&settings(), 1, count + 1);
    for sequence in 1..=count {
        index.insert(&row(sequence, "body"), 0, None).unwrap();
    }
    let queue = index.queue(lane(), "svc").unwrap();
    (index, (queue, Side::Active))
}

fn counts(index: &Index) -> (usize, usize, usize) {
    let stats = index.stats();
    let one = &stats.subscriptions[0];
    (one.ready, one.locked, one.dead)
}

#[test]
fn a_lock_that_is_over_gives_the_message_back_in_its_old_place() {
    let (mut index, place) = index_of(2);
    let now = Instant::now();
    let first = index.lock_next(place, Some(now + MINUTE)).unwrap();
    assert_eq!(index.expire(now), Some(now + MINUTE));
    assert_eq!(counts(&index), (1, 1, 0));
    assert_eq!(index.expire(now + MINUTE), None);
    assert_eq!(
        index.settle(place, "1", first.token, Settle::Complete),
        Settled::LockLost,
        "the lock is over, so it settles nothing"
    );
    let again = index.lock_next(place, Some(now + 2 * MINUTE)).unwrap();
    assert_eq!((again.sequence, again.delivery_count), (1, 2));
    assert_ne!(again.token, first.token);
}

#[test]
fn renewing_moves_the_end_of_the_lock() {
    let (mut index, place) = index_of(1);
    let now = Instant::now();
    let held = index.lock_next(place, Some(now + MINUTE)).unwrap();
    let renewed = index.settle(place, "m1", held.token, Settle::Renew(now + 2 * MINUTE));
    assert_eq!(renewed, Settled::Done);
    assert_eq!(index.expire(now + MINUTE), Some(now + 2 * MINUTE));
    assert_eq!(counts(&index), (0, 1, 0));
    assert_eq!(
        index.settle(place, "m1", held.token, Settle::Complete),
        Settled::Done
    );
    assert_eq!(counts(&index), (0, 0, 0));
    assert!(!index.has_deadlines());
}

#[test]
fn the_last_delivery_that_ends_without_a_complete_makes_a_dead_letter() {
    let (mut index, place) = index_of(1);
    let now = Instant::now();
    for _ in 0..2 {
        let held = index.lock_next(place, Some(now)).unwrap();
        assert_eq!(
            index.settle(place, "1", held.token, Settle::Abandon),
            Settled::Done
        );
    }
    assert_eq!(counts(&index), (0, 0, 1));
    assert!(index.lock_next(place, Some(now)).is_none());
    let dead = index.lock_next((place.0, Side::Dead), Some(now)).unwrap();
    assert_eq!(
        dead.dead_reason.as_deref(),
        Some("MaxDeliveryCountExceeded")
    );
    index.expire(now);
    assert_eq!(
        counts(&index),
        (0, 0, 1),
        "a dead letter stays one, however often it is looked at"
    );
}

#[test]
fn a_message_that_used_up_its_deliveries_before_a_restart_is_dead_after_it() {
    let (mut index, _) = index_of(0);
    index.insert(&row(7, "body"), 2, None).unwrap();
    assert_eq!(counts(&index), (0, 0, 1));
    let Some(Change::Keep { dead_reason, .. }) = index.take_dirty().remove(&7) else {
        panic!("the file must learn of it");
    };
    assert_eq!(dead_reason.as_deref(), Some("MaxDeliveryCountExceeded"));
}

#[test]
fn an_id_is_held_until_the_message_is_completed_or_dead() {
    let (mut index, place) = index_of(2);
    let now = Instant::now();
    let first = index.lock_next(place, Some(now + MINUTE)).unwrap();
    assert!(
        index.holds(lane(), "svc", "m1"),
        "a locked message may come back"
    );
    index.settle(place, "1", first.token, Settle::Complete);
    assert!(!index.holds(lane(), "svc", "m1"));
    for _ in 0..2 {
        index.lock_next(place, Some(now)).unwrap();
        index.expire(now);
    }
    assert!(
        !index.holds(lane(), "svc", "m2"),
        "a dead letter does not swallow its re-drive"
    );
}

#[test]
fn bodies_beyond_the_budget_stay_in_the_file() {
    let (mut index, place) = index_of(0);
    let big = "0123456789".repeat(6).leak();
    index.insert(&row(1, big), 0, None).unwrap();
    index.insert(&row(2, big), 0, None).unwrap();
    let first = index.lock_next(place, None).unwrap();
    let second = index.lock_next(place, None).unwrap();
    assert!(first.content.is_some() && second.content.is_none());
    assert_eq!(index.stats().content_bytes, 60);
    index.taken(1);
    assert_eq!(index.stats().content_bytes, 0);
}

#[test]
fn a_failed_commit_is_written_again_unless_the_message_changed_since() {
    let (mut index, place) = index_of(1);
    let held = index.lock_next(place, None).unwrap();
    let failed = index.take_dirty();
    index.settle(place, "1", held.token, Settle::Complete);
    index.still_dirty(failed);
    assert_eq!(index.take_dirty().remove(&1), Some(Change::Delete));
}

#[test]
fn a_token_settles_only_where_it_was_given() {
    let (mut index, place) = index_of(2);
    let held = index.lock_next(place, None).unwrap();
    let other = (index.queue(lane(), "other").unwrap(), Side::Active);
    for (place, id) in [
        (other, "1"),
        ((place.0, Side::Dead), "1"),
        (place, "2"),
        (place, "m2"),
    ] {
        assert_eq!(
            index.settle(place, id, held.token, Settle::Complete),
            Settled::LockLost
        );
    }
    assert_eq!(
        index.settle(place, "1", held.token, Settle::Complete),
        Settled::Done
    );
}

#[test]
fn a_full_index_has_no_room() {
    let mut index = Index::new(
        &Settings {
            max_messages: 1,
            ..settings()
        },
        1,
        1,
    );
    assert_eq!(index.room_for(1), Ok(()));
    index.insert(&row(1, "body"), 0, None).unwrap();
    assert!(matches!(index.room_for(1), Err(Fault::Full(_))));
}

#[test]
fn ids_are_unique_over_restarts() {
    let (mut first, _) = index_of(0);
    let mut second = Index::new(&settings(), 2, 1);
    assert_ne!(first.unique(), second.unique());
    assert_ne!(first.unique(), first.unique());
}
