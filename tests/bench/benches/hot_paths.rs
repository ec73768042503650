//! How long each piece takes: `cargo bench -p lucius-bench`.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use criterion::{Criterion, criterion_group, criterion_main};
use lucius_bench::{Bus, Ledger};
use lucius_plugin_ocr::Ocr;
use serde_json::json;

fn memory(criterion: &mut Criterion) {
    for piece in ["decide", "canonical", "encode"] {
        // Many at a time, so that what is made once a run does not show.
        criterion.bench_function(&format!("{piece} x100"), |bencher| {
            bencher.iter(|| lucius_bench::run(piece, 100).expect("the piece runs"));
        });
    }
}

fn disk(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("there is room for a temporary folder");
    let mut ledger = Ledger::open(folder.path()).expect("an empty folder");
    criterion.bench_function("ledger: 10 commits", |bencher| {
        bencher.iter(|| ledger.job())
    });
    let mut bus = Bus::open(folder.path()).expect("an empty folder");
    criterion.bench_function("bus: send, receive, complete", |bencher| {
        bencher.iter(|| bus.message());
    });
}

fn native(criterion: &mut Criterion) {
    criterion.bench_function("the logic of ocr's validate, native", |bencher| {
        bencher.iter(|| {
            let payload =
                json!({ "page_range": "1-3,5", "language_hint": "en", "output_format": "TEXT" });
            let config = json!({ "engines": ["tesseract"] });
            lucius_step_sdk::testing::validate::<Ocr>(payload, config).expect("it is right")
        });
    });
}

criterion_group!(benches, memory, disk, native);
criterion_main!(benches);
