//! What survives, and what refuses to open.

#![allow(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is the point"
)]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lucius_embedded_bus::{EmbeddedBus, EmbeddedSubscription, Error, Settings};
use lucius_ports::bus::{Bus as _, Error as PortError, Settled, Subscription as _};

use crate::support::bus::{StoppedClock, open};
use crate::support::message::{lane, message, service};

mod support {
    pub(crate) mod bus;
    pub(crate) mod message;
}

/// Longer than a lock in these tests, and than any test may take.
const LONG: Duration = Duration::from_secs(3_600);

fn subscription(bus: &Arc<EmbeddedBus>) -> EmbeddedSubscription {
    bus.subscription(lane(), &service()).unwrap()
}

async fn publish(bus: &EmbeddedBus, numbers: std::ops::Range<u32>) {
    for n in numbers {
        bus.publish(&message(n)).await.unwrap();
    }
}

/// Bodies in the order they come, without completing them.
async fn bodies(bus: &Arc<EmbeddedBus>) -> Vec<String> {
    let subscription = subscription(bus);
    let mut bodies = Vec::new();
    while let Some(received) = subscription.peek_lock(Duration::ZERO).await.unwrap() {
        bodies.push(received.body);
    }
    bodies
}

/// Why the bus of a data directory does not open.
fn open_fails(directory: &Path, settings: Settings) -> Error {
    let path = directory.join("bus.db");
    EmbeddedBus::open(&path, settings, Arc::new(StoppedClock)).unwrap_err()
}

/// The files as a crash at this moment would leave them.
fn copy_files(from: &Path, to: &Path) {
    for name in ["bus.db", "bus.db-wal"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[tokio::test]
async fn what_was_answered_is_in_the_files_at_that_moment() {
    let (directory, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bus = open(directory.path(), Settings::default());
    publish(&bus, 0..3).await;
    let held = subscription(&bus)
        .peek_lock(Duration::ZERO)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(held.body, message(0).body);
    copy_files(directory.path(), crashed.path());
    let after = open(crashed.path(), Settings::default());
    let expected: Vec<_> = (0..3).map(|n| message(n).body).collect();
    assert_eq!(
        bodies(&after).await,
        expected,
        "also the one that was locked, and in order"
    );
}

#[tokio::test]
async fn closing_and_opening_keeps_counts_and_dead_letters_and_forgets_what_is_done() {
    let directory = tempfile::tempdir().unwrap();
    let settings = || Settings {
        max_delivery_count: 2,
        ..Settings::default()
    };
    let bus = open(directory.path(), settings());
    publish(&bus, 0..3).await;
    let line = subscription(&bus);
    for _ in 0..2 {
        let dying = line.peek_lock(Duration::ZERO).await.unwrap().unwrap();
        assert_eq!(line.abandon(&dying).await.unwrap(), Settled::Done);
    }
    let done = line.peek_lock(Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(line.complete(&done).await.unwrap(), Settled::Done);
    let open_lock = line.peek_lock(Duration::ZERO).await.unwrap().unwrap();
    drop((line, bus));

    let bus = open(directory.path(), settings());
    let stats = bus.stats().subscriptions.remove(0);
    assert_eq!(
        (stats.lane, stats.service.as_str()),
        (lane(), "platform-ocr")
    );
    assert_eq!((stats.ready, stats.locked, stats.dead), (1, 0, 1));
    let line = subscription(&bus);
    let again = line.peek_lock(Duration::ZERO).await.unwrap().unwrap();
    assert_eq!((again.body, again.delivery_count), (message(2).body, 2));
    assert_ne!(again.lock_token, open_lock.lock_token);
    assert_eq!(line.complete(&open_lock).await.unwrap(), Settled::LockLost);
    let dead = line.take_dead_letter().await.unwrap().unwrap();
    assert_eq!(dead.body, message(0).body);
    publish(&bus, 3..4).await;
    let new = line.peek_lock(Duration::ZERO).await.unwrap().unwrap();
    assert!(
        new.sequence_number > 3,
        "sequence numbers are not given twice"
    );
}

#[tokio::test]
async fn completes_and_counts_reach_the_file_without_another_send() {
    let (directory, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bus = open(directory.path(), Settings::default());
    publish(&bus, 0..2).await;
    let line = subscription(&bus);
    let done = line.peek_lock(Duration::ZERO).await.unwrap().unwrap();
    line.complete(&done).await.unwrap();
    line.peek_lock(Duration::ZERO).await.unwrap().unwrap();
    // The commit is the bus's own affair, so it shows only in the files: look until it is there.
    for _ in 0..2_000 {
        copy_files(directory.path(), crashed.path());
        let after = open(crashed.path(), Settings::default());
        let left = subscription(&after)
            .peek_lock(Duration::ZERO)
            .await
            .unwrap()
            .unwrap();
        if left.delivery_count == 2 {
            assert_eq!(left.body, message(1).body);
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("neither the complete nor the count was ever written");
}

#[tokio::test]
async fn a_lock_that_nobody_renews_ends_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let lock_duration = Duration::from_millis(20);
    let bus = open(
        directory.path(),
        Settings {
            lock_duration,
            ..Settings::default()
        },
    );
    publish(&bus, 0..1).await;
    let line = subscription(&bus);
    let lost = line.peek_lock(Duration::ZERO).await.unwrap().unwrap();
    let again = line.peek_lock(LONG).await.unwrap().unwrap();
    assert_eq!((again.body, again.delivery_count), (lost.body.clone(), 2));
    assert_eq!(line.complete(&lost).await.unwrap(), Settled::LockLost);
}

#[tokio::test]
async fn what_is_taken_is_gone_from_the_file_before_it_is_handed_out() {
    let (directory, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bus = open(
        directory.path(),
        Settings {
            max_delivery_count: 1,
            ..Settings::default()
        },
    );
    publish(&bus, 0..1).await;
    let line = subscription(&bus);
    let held = line.peek_lock(Duration::ZERO).await.unwrap().unwrap();
    line.abandon(&held).await.unwrap();
    line.take_dead_letter().await.unwrap().unwrap();
    copy_files(directory.path(), crashed.path());
    let after = open(crashed.path(), Settings::default());
    assert_eq!(after.stats().subscriptions, []);
}

#[tokio::test]
async fn a_full_bus_refuses_new_messages_delivers_old_ones_and_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings {
        max_file_bytes: 64 * 1024,
        ..Settings::default()
    };
    let bus = open(directory.path(), settings);
    let mut large = message(0);
    large.body = "x".repeat(8 * 1024);
    let mut taken = 0;
    let refused = loop {
        large.message_id = format!("m{taken}");
        match bus.publish(&large).await {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(
        taken > 0 && matches!(refused, PortError::Unavailable(_)),
        "{taken} {refused}"
    );
    assert!(bus.check().await.is_err(), "a full bus is not ready");
    let line = subscription(&bus);
    for _ in 0..taken {
        let received = line.peek_lock(Duration::ZERO).await.unwrap().unwrap();
        assert_eq!(line.complete(&received).await.unwrap(), Settled::Done);
    }
    bus.check().await.unwrap();
    bus.publish(&large).await.unwrap();
}

#[tokio::test]
async fn a_bus_with_too_many_messages_refuses_more() {
    let directory = tempfile::tempdir().unwrap();
    let bus = open(
        directory.path(),
        Settings {
            max_messages: 2,
            ..Settings::default()
        },
    );
    publish(&bus, 0..2).await;
    let refused = bus.publish(&message(2)).await;
    assert!(
        matches!(refused, Err(PortError::Unavailable(_))),
        "{refused:?}"
    );
}

#[test]
fn a_second_bus_on_the_same_file_is_refused_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let _first = open(directory.path(), Settings::default());
    let error = open_fails(directory.path(), Settings::default());
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("bus.db") && !text.contains('\n'), "{text}");
}

#[tokio::test]
async fn a_flipped_bit_in_a_message_is_found_when_opening() {
    let directory = tempfile::tempdir().unwrap();
    let bus = open(directory.path(), Settings::default());
    let mut sent = message(0);
    sent.body = "a body that is easy to find".to_owned();
    bus.publish(&sent).await.unwrap();
    drop(bus);
    let path = directory.path().join("bus.db");
    let mut bytes = fs::read(&path).unwrap();
    let needle = sent.body.as_bytes();
    let at = bytes
        .windows(needle.len())
        .position(|window| window == needle)
        .unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = open_fails(directory.path(), Settings::default());
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}

#[test]
fn files_that_are_no_bus_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bus.db");
    let text = "not a database, but long enough to be looked at ".repeat(20);
    fs::write(&path, &text).unwrap();
    let error = open_fails(directory.path(), Settings::default());
    assert!(matches!(error, Error::NotABus { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);

    let other = tempfile::tempdir().unwrap();
    let connection = rusqlite::Connection::open(other.path().join("bus.db")).unwrap();
    connection
        .execute_batch("CREATE TABLE somebody_elses (x)")
        .unwrap();
    drop(connection);
    let error = open_fails(other.path(), Settings::default());
    assert!(matches!(error, Error::NotABus { .. }), "{error}");
}

#[test]
fn a_file_of_a_newer_version_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path(), Settings::default()));
    let connection = rusqlite::Connection::open(directory.path().join("bus.db")).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = open_fails(directory.path(), Settings::default());
    assert!(matches!(error, Error::TooNew { format: 99, .. }), "{error}");
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let error = open_fails(&missing, Settings::default());
    assert!(matches!(error, Error::Unreadable { .. }), "{error}");
    assert!(error.to_string().contains("missing"), "{error}");
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    for settings in [
        Settings {
            lock_duration: Duration::ZERO,
            ..Settings::default()
        },
        Settings {
            lock_duration: Duration::MAX,
            ..Settings::default()
        },
        Settings {
            max_delivery_count: 0,
            ..Settings::default()
        },
    ] {
        let error = open_fails(directory.path(), settings);
        assert!(matches!(error, Error::Settings(_)), "{error}");
    }
}
