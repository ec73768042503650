//! What workers have finished.

use std::sync::Arc;
use std::time::Duration;

use lucius_azure_tables::{Attempts, Error, OpenError};

use crate::model::{Behaviour, GOOD, Model};
use crate::rig::{connection, make_tables, means, settings};

const WEEK: Duration = Duration::from_secs(7 * 86_400);
const DAY_MS: i64 = 86_400_000;

async fn open(model: &Arc<Model>, seed: u64) -> Attempts {
    let opened = Attempts::open(connection(), means(model, seed), settings(), WEEK).await;
    opened.unwrap()
}

#[tokio::test]
async fn another_worker_finds_what_was_finished_and_nothing_else() {
    let faults = Behaviour {
        page: 3,
        empty_page_in: 4,
        fault_in: 9,
    };
    for behaviour in [GOOD, faults] {
        let model = Arc::new(Model::new(behaviour, 4));
        make_tables(&model).await;
        let (one, other) = (open(&model, 1).await, open(&model, 2).await);
        for job in 0..9 {
            let job = format!("job/{job}");
            one.put(&job, "ocr 1", "first").await.unwrap();
            one.put(&job, "ocr 1", "as it was refused").await.unwrap();
            let found = other.get(&job, "ocr 1").await.unwrap();
            assert_eq!(found.as_deref(), Some("as it was refused"));
            assert_eq!(other.get(&job, "ocr 2").await.unwrap(), None);
        }
        assert_eq!(other.get("job/9", "ocr 1").await.unwrap(), None);
    }
}

#[tokio::test]
async fn what_is_older_than_is_kept_is_forgotten_with_all_that_names_it() {
    let model = Arc::new(Model::new(GOOD, 4));
    make_tables(&model).await;
    let worker = open(&model, 1).await;
    for attempt in 0..120 {
        let name = format!("ocr {attempt}");
        worker.put("old", &name, "done").await.unwrap();
    }
    model.clock.advance(6 * DAY_MS);
    worker.put("new", "ocr 1", "done").await.unwrap();
    assert_eq!(model.entities("luciusattempts"), 242);
    model.clock.advance(3 * DAY_MS);
    worker.put("new", "ocr 2", "done").await.unwrap();
    assert_eq!(model.entities("luciusattempts"), 44, "a part at a time");
    worker.put("new", "ocr 3", "done").await.unwrap();
    assert_eq!(model.entities("luciusattempts"), 6);
    assert_eq!(worker.get("old", "ocr 7").await.unwrap(), None);
    assert!(worker.get("new", "ocr 1").await.unwrap().is_some());
}

#[tokio::test]
async fn a_text_that_no_row_holds_is_refused_and_a_missing_table_is_named() {
    let model = Arc::new(Model::new(GOOD, 4));
    let missing = Attempts::open(connection(), means(&model, 1), settings(), WEEK).await;
    let missing = missing.err().unwrap();
    assert!(matches!(missing, OpenError::NoTable { .. }), "{missing}");
    make_tables(&model).await;
    let worker = open(&model, 1).await;
    let large = "x".repeat(1 << 20);
    let refused = worker.put("job", "ocr 1", &large).await.unwrap_err();
    assert!(matches!(refused, Error::TooLarge(_)), "{refused}");
    let whole = &large[..900_000];
    worker.put("job", "ocr 1", whole).await.unwrap();
    assert_eq!(
        worker.get("job", "ocr 1").await.unwrap().as_deref(),
        Some(whole)
    );
}
