//! SIGKILL at every boundary of a job's life: before, in the middle of and after each write and each sync.
//!
//! A quiet run tells which operations one job is made of: the create, each publish, each SENT, ACK and RESULT, in
//! both files. Then the host dies at each of them in turn, and client and worker go on as if they knew nothing.

use std::sync::Arc;

use lucius_tests::disk::{Disk, Moment, Operation};
use lucius_tests::history::History;
use lucius_tests::host::Host;

use crate::one_job::{Visitor, registry, setup};

/// True when every single operation is to be tried.
fn all() -> bool {
    std::env::var("LUCIUS_CRASHES").is_ok_and(|how| how == "all")
}

/// A place to die: so many operations from the start, before, in or after it.
pub(crate) type Place = (u64, Moment);

/// Every sync from both sides and the write before it cut in half; or everything.
pub(crate) fn places(operations: &[Operation]) -> Vec<Place> {
    let mut places = Vec::new();
    for (offset, operation) in (1..).zip(operations) {
        let next_is_sync = operations
            .iter()
            .find(|it| it.number == operation.number + 1)
            .is_some_and(|it| it.what == "sync");
        let moments = match operation.what.as_str() {
            _ if all() => &Moment::ALL[..],
            "sync" => &[Moment::Before, Moment::After],
            "write" if next_is_sync => &[Moment::Middle],
            _ => &[],
        };
        places.extend(moments.iter().map(|moment| (offset, *moment)));
    }
    places
}

/// One in so many, unless all are to be tried.
fn some(places: impl Iterator<Item = u64>, one_in: usize) -> Vec<u64> {
    places.step_by(if all() { 1 } else { one_in }).collect()
}

#[tokio::test]
async fn f1_f2_f3_f4_f6_whichever_write_is_the_last_the_job_ends_once() {
    die_everywhere(Disk::new(), 1).await;
}

#[tokio::test]
async fn f8_whichever_write_is_the_last_before_the_power_is_cut_the_job_ends_once() {
    die_everywhere(Disk::that_can_lose_power(), 2).await;
}

/// A job each for every such place in its life, or for one in so many of them.
async fn die_everywhere(disk: Disk, one_in: usize) {
    let (disk, registry, history) = (Arc::new(disk), registry(), History::default());
    let mut host = setup(&registry).disk(&disk).start().await;
    let before = disk.count();
    live(&mut host, &disk, &history, "quiet").await;
    let mut operations = disk.operations();
    operations.retain(|it| it.number > before);
    let one_in = if all() { 1 } else { one_in };
    let places: Vec<Place> = places(&operations).into_iter().step_by(one_in).collect();
    let files = |name: &str| {
        operations
            .iter()
            .any(|it| it.file.starts_with(name) && it.what == "sync")
    };
    assert!(files("ledger.db") && files("bus.db"), "{operations:?}");

    let (mut deaths, mut unsynced) = (0, 0);
    for (number, (offset, moment)) in places.iter().enumerate() {
        disk.kill_at(disk.count() + offset, *moment);
        let key = format!("killed {number}");
        let died = live(&mut host, &disk, &history, &key).await;
        (deaths, unsynced) = (deaths + died.times, unsynced + died.unsynced);
    }
    let loses = disk.can_lose_power();
    assert_eq!(unsynced > 0, loses, "{unsynced} bytes were not synced");
    let compared = history.compare(&host.client()).await;
    assert_eq!(compared.jobs, places.len() + 1);
    // What the bus writes by and by falls now into one job's time and now into another's.
    assert!(
        deaths * 10 >= places.len() * 8,
        "{deaths} deaths in {} places",
        places.len()
    );
}

/// The deaths of a host in one job's life.
#[derive(Default)]
struct Died {
    times: usize,
    /// What power cuts found written and not synced, in bytes.
    unsynced: usize,
}

/// A job's whole life, through as many deaths of the host as there are. On a disk that can lose power it does so every
/// time, and every other time while it writes.
async fn live(host: &mut Host, disk: &Disk, history: &History, key: &str) -> Died {
    let mut died = Died::default();
    while Visitor::of(host, history).live(key).await.is_err() {
        host.ended().await;
        disk.spare();
        if disk.can_lose_power() {
            died.unsynced += match disk.count() {
                seed if seed % 2 == 0 => disk.cut_power_while_it_writes(&host.data(), seed),
                _ => disk.cut_power(&host.data()),
            };
        }
        host.start_again().await;
        died.times += 1;
    }
    disk.spare();
    died
}

#[tokio::test]
async fn f5_killed_anywhere_in_its_first_start_the_next_one_works() {
    let (disk, registry, history) = (Arc::new(Disk::new()), registry(), History::default());
    let mut host = setup(&registry).disk(&disk).start().await;
    for offset in some(1..=1_000, 7) {
        host.kill();
        std::fs::remove_dir_all(host.data()).expect("nobody uses it");
        disk.kill_at(disk.count() + offset, Moment::After);
        let started = host.try_start_again().await;
        disk.spare();
        if started.is_ok() {
            assert!(offset > 20, "a first start writes more than {offset} times");
            break;
        }
        host.start_again().await;
        live(&mut host, &disk, &history, &format!("started {offset}")).await;
    }
}

#[tokio::test]
async fn f5_f40_killed_anywhere_in_its_orderly_end_nothing_is_lost() {
    let (disk, registry, history) = (Arc::new(Disk::new()), registry(), History::default());
    let mut host = setup(&registry).disk(&disk).start().await;
    live(&mut host, &disk, &history, "quiet").await;
    let before = disk.count();
    assert_eq!(host.terminate().await.code(), Some(0));
    let operations = disk.count() - before;
    assert!(
        operations > 3,
        "closing folds the WAL into the file: {operations} operations"
    );
    for offset in some(1..=operations, 5) {
        host.start_again().await;
        live(&mut host, &disk, &history, &format!("ended {offset}")).await;
        disk.kill_at(disk.count() + offset, Moment::After);
        host.ask_to_end();
        host.ended().await;
        disk.spare();
    }
    host.start_again().await;
    history.compare(&host.client()).await;
}
