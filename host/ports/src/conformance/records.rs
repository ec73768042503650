//! What the engine relies on when it uses [`Records`]: one winner a version, order by key, nothing written by a loser.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::ledger::Error;
use crate::records::{Key, Kind, MAX_BODY_BYTES, Record, Records, Removed, Written};

const KIND: Kind = Kind("conformance");
const OTHER: Kind = Kind("other");

fn key(text: &str) -> Key {
    Key::parse(text).expect("the test uses plain keys")
}

async fn put(records: &impl Records, name: &str, body: &str, expected: Option<u64>) -> Written {
    let name = key(name);
    let written = records.put(KIND, &name, body.to_owned(), expected).await;
    written.expect("the store works")
}

async fn get(records: &impl Records, name: &str) -> Option<(u64, String)> {
    let found = records.get(KIND, &key(name)).await;
    let found = found.expect("the store works");
    found.map(|Record { version, body, .. }| (version, body))
}

/// A write needs the version it was made on; a loser changes nothing.
pub async fn a_record_is_written_on_the_version_that_was_read(records: Arc<impl Records>) {
    let records = &*records;
    assert_eq!(get(records, "a").await, None);
    assert_eq!(put(records, "a", "{}", Some(1)).await, Written::Conflict);
    assert_eq!(put(records, "a", "{\"ü\":1}", None).await, Written::Done(1));
    assert_eq!(put(records, "a", "{}", None).await, Written::Conflict);
    assert_eq!(put(records, "a", "{}", Some(2)).await, Written::Conflict);
    assert_eq!(get(records, "a").await, Some((1, "{\"ü\":1}".to_owned())));
    assert_eq!(put(records, "a", "[2]", Some(1)).await, Written::Done(2));
    assert_eq!(put(records, "a", "[3]", Some(1)).await, Written::Conflict);
    assert_eq!(get(records, "a").await, Some((2, "[2]".to_owned())));
    let other = records.get(OTHER, &key("a")).await;
    assert_eq!(other.expect("the store works"), None, "a kind is its own");
}

/// Removing needs the version too, and a removed key is new again.
pub async fn a_record_is_removed_at_the_version_that_was_read(records: Arc<impl Records>) {
    let records = &*records;
    let remove = async |name: &str, expected| {
        let removed = records.remove(KIND, &key(name), expected).await;
        removed.expect("the store works")
    };
    assert_eq!(remove("a", 1).await, Removed::Conflict);
    assert_eq!(put(records, "a", "{}", None).await, Written::Done(1));
    assert_eq!(put(records, "a", "{}", Some(1)).await, Written::Done(2));
    assert_eq!(remove("a", 1).await, Removed::Conflict);
    assert_eq!(get(records, "a").await, Some((2, "{}".to_owned())));
    assert_eq!(remove("a", 2).await, Removed::Done);
    assert_eq!(get(records, "a").await, None);
    assert_eq!(put(records, "a", "{}", Some(2)).await, Written::Conflict);
    assert_eq!(put(records, "a", "{}", None).await, Written::Done(1));
}

/// Pages follow the order of keys and hold while records come and go.
pub async fn a_list_follows_the_order_of_keys(records: Arc<impl Records>) {
    let names = ["0", "9", "A", "Z", "_", "a", "a.", "a:b", "aa", "z", "~7f"];
    for name in names.iter().rev() {
        assert_eq!(put(&*records, name, "{}", None).await, Written::Done(1));
    }
    let elsewhere = records.put(OTHER, &key("b"), "{}".to_owned(), None).await;
    assert_eq!(elsewhere.expect("the store works"), Written::Done(1));
    for limit in [1, 2, 3, 100] {
        let mut listed: Vec<String> = Vec::new();
        loop {
            let after = listed.last().map(|last| key(last));
            let page = records.list(KIND, after.as_ref(), limit).await;
            let page = page.expect("the store works");
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            listed.extend(page.iter().map(|record| record.key.to_string()));
        }
        assert_eq!(listed, names);
    }
}

/// Of many writers on one version one wins, and none is told that it did when it did not.
pub async fn one_of_many_writers_wins<R: Records + 'static>(records: Arc<R>) {
    for expected in [None, Some(1), Some(2)] {
        let mut racing = JoinSet::new();
        for racer in 0..20 {
            let records = Arc::clone(&records);
            racing.spawn(async move {
                let body = racer.to_string();
                let written = records.put(KIND, &key("a"), body.clone(), expected).await;
                (body, written.expect("the store works"))
            });
        }
        let mut winners = Vec::new();
        while let Some(raced) = racing.join_next().await {
            let (body, written) = raced.expect("writing does not panic");
            match written {
                Written::Done(version) => winners.push((version, body)),
                Written::Conflict => {}
            }
        }
        assert_eq!(winners.len(), 1);
        assert_eq!(get(&*records, "a").await, winners.pop());
    }
}

/// The largest body is kept, whatever it is written in; a larger one is refused and changes nothing.
pub async fn a_body_has_a_largest_size(records: Arc<impl Records>) {
    let records = &*records;
    let largest = format!("\"{}\"", "x".repeat(MAX_BODY_BYTES - 2));
    assert_eq!(put(records, "a", &largest, None).await, Written::Done(1));
    assert_eq!(get(records, "a").await, Some((1, largest.clone())));
    let larger = format!("{largest} ");
    let refused = records.put(KIND, &key("a"), larger, Some(1)).await;
    assert!(matches!(refused, Err(Error::Corrupt(_))));
    assert_eq!(get(records, "a").await, Some((1, largest)));
}

/// Makes a test of every case. The argument is an expression that gives a new, empty store as an `Arc`; it may use
/// `.await` and is evaluated once for each test.
#[macro_export]
macro_rules! records_conformance {
    ($fresh:expr) => {
        $crate::records_conformance! { @cases $fresh;
            a_record_is_written_on_the_version_that_was_read,
            a_record_is_removed_at_the_version_that_was_read,
            a_list_follows_the_order_of_keys,
            one_of_many_writers_wins,
            a_body_has_a_largest_size,
        }
    };
    (@cases $fresh:expr; $($case:ident,)*) => {
        mod records {
            #[allow(unused_imports, reason = "the expression may need none of them")]
            use super::*;
            $(
                #[tokio::test]
                async fn $case() {
                    $crate::conformance::records::$case($fresh).await;
                }
            )*
        }
    };
}
