//! What the plugin `embedding` decides, asked as the host asks.

use lucius_plugin_embedding::Embedding;
use lucius_step_sdk::testing::{self, ContextBuilder};
use lucius_step_sdk::{Artifact, Outcome, Settle, Step, Violation};
use serde_json::{Value, json};

fn config() -> Value {
    json!({"models": ["all-MiniLM-L6-v2", "other"], "default_model": "all-MiniLM-L6-v2", "max_tokens_limit": 256})
}

fn validate(payload: Value) -> Result<Value, Vec<Violation>> {
    testing::validate::<Embedding>(payload, config())
}

fn context() -> ContextBuilder<Embedding> {
    testing::context::<Embedding>().config(config())
}

fn text(metadata: Value) -> Artifact {
    testing::artifact("text/plain; charset=utf-8", metadata)
}

#[test]
fn the_plugin_says_what_the_registry_expects() {
    let described = Embedding::describe();
    assert_eq!(
        (described.id.as_str(), described.version.as_str()),
        ("embedding", "1.0.0")
    );
    assert_eq!(described.step_types, ["EMBEDDING"]);
    assert_eq!(described.services, ["platform-embedding"]);
}

#[test]
fn an_empty_payload_gets_every_choice_written_in() {
    let normalized = json!({
        "model": "all-MiniLM-L6-v2",
        "chunking": {"strategy": "sentence", "max_tokens": 200, "overlap_tokens": 0},
        "normalize": true
    });
    for given in [
        json!({}),
        json!({"model": " ", "chunking": {}}),
        normalized.clone(),
    ] {
        assert_eq!(validate(given), Ok(normalized.clone()));
    }
}

#[test]
fn what_is_given_is_kept_with_fields_of_a_later_time() {
    let given = json!({
        "model": "other",
        "chunking": {"strategy": "window", "max_tokens": 64, "overlap_tokens": 63, "unit": "word"},
        "normalize": false,
        "prefix": "passage: "
    });
    assert_eq!(validate(given.clone()), Ok(given));
}

#[test]
fn an_unknown_model_is_told_which_there_are() {
    let checked = validate(json!({"model": "gpt"}));
    let violation = testing::assert_violation(&checked, "/model", "MODEL_UNKNOWN");
    assert!(
        violation.message.ends_with("all-MiniLM-L6-v2, other"),
        "{}",
        violation.message
    );
}

#[test]
fn the_overlap_is_below_the_maximum() {
    for overlap in [10, 11] {
        let checked = validate(json!({"chunking": {"max_tokens": 10, "overlap_tokens": overlap}}));
        testing::assert_violation(
            &checked,
            "/chunking/overlap_tokens",
            "OVERLAP_NOT_BELOW_MAX",
        );
    }
    assert!(validate(json!({"chunking": {"max_tokens": 10, "overlap_tokens": 9}})).is_ok());
    assert!(validate(json!({"chunking": {"max_tokens": 1}})).is_ok());
}

#[test]
fn an_overlap_alone_is_compared_with_the_default_it_meets() {
    let checked = validate(json!({"chunking": {"overlap_tokens": 200}}));
    let violation = testing::assert_violation(
        &checked,
        "/chunking/overlap_tokens",
        "OVERLAP_NOT_BELOW_MAX",
    );
    assert!(
        violation.message.contains("200 by default"),
        "{}",
        violation.message
    );
    assert!(validate(json!({"chunking": {"overlap_tokens": 199}})).is_ok());
}

#[test]
fn a_chunk_fits_what_the_models_read() {
    assert!(validate(json!({"chunking": {"max_tokens": 256}})).is_ok());
    let checked = validate(json!({"chunking": {"max_tokens": 257}}));
    testing::assert_violation(&checked, "/chunking/max_tokens", "MAX_TOKENS_ABOVE_LIMIT");
    testing::assert_violation(
        &validate(json!({"chunking": {"max_tokens": 0}})),
        "/chunking/max_tokens",
        "MAX_TOKENS_ZERO",
    );
}

#[test]
fn the_default_never_breaks_a_low_limit() {
    let low = json!({"models": ["m"], "default_model": "m", "max_tokens_limit": 128});
    let checked = testing::validate::<Embedding>(json!({}), low).expect("defaults are valid");
    assert_eq!(checked["chunking"]["max_tokens"], json!(128));
}

#[test]
fn whole_floats_count_as_integers_and_other_types_are_told_by_pointer() {
    let checked = validate(json!({"chunking": {"max_tokens": 100.0}}))
        .expect("100.0 is an integer to JSON Schema");
    assert_eq!(checked["chunking"]["max_tokens"], json!(100));
    let checked = validate(
        json!({"chunking": {"max_tokens": 1.5, "overlap_tokens": -1}, "normalize": "yes"}),
    );
    for pointer in [
        "/chunking/max_tokens",
        "/chunking/overlap_tokens",
        "/normalize",
    ] {
        testing::assert_violation(&checked, pointer, "TYPE_MISMATCH");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let checked =
        validate(json!({"model": "gpt", "chunking": {"max_tokens": 300, "overlap_tokens": 300}}));
    assert_eq!(checked.map_err(|violations| violations.len()), Err(3));
}

#[test]
fn a_config_that_contradicts_itself_is_the_registrys_fault() {
    for wrong in [
        json!({}),
        json!({"models": ["a"], "default_model": "b", "max_tokens_limit": 256}),
        json!({"models": ["a"], "default_model": "a", "max_tokens_limit": 0}),
    ] {
        testing::assert_violation(
            &testing::validate::<Embedding>(json!({}), wrong),
            "",
            "CONFIG_INVALID",
        );
    }
}

#[test]
fn a_first_step_is_dispatched() {
    assert_eq!(
        testing::assert_dispatch(context().route()).service,
        "platform-embedding"
    );
}

#[test]
fn an_empty_text_is_skipped_with_a_reason() {
    let reason = testing::assert_skip(
        context()
            .after(testing::ran(
                "ocr",
                vec![text(json!({"characters": 0, "pages": 2}))],
            ))
            .route(),
    );
    assert_eq!(
        reason,
        "There is no text to embed: the step \"ocr\" found none in the document."
    );
}

#[test]
fn a_skipped_step_before_it_is_a_reason_to_skip() {
    let reason = testing::assert_skip(context().after(testing::skipped("ocr")).route());
    assert!(reason.contains("was skipped"), "{reason}");
}

#[test]
fn only_the_step_right_before_it_counts() {
    let readable = testing::ran("translate", vec![text(json!({"characters": 12}))]);
    let route = context()
        .after(testing::skipped("ocr"))
        .after(readable)
        .route();
    testing::assert_dispatch(route);
}

#[test]
fn where_nothing_is_known_the_worker_looks() {
    let boxes = testing::artifact("application/json", json!({"characters": 0}));
    for artifacts in [
        vec![],
        vec![text(json!({}))],
        vec![text(Value::Null)],
        vec![text(json!({"characters": "0"}))],
        vec![
            text(json!({"characters": 0})),
            text(json!({"characters": 5})),
        ],
        vec![text(json!({"characters": 0})), text(json!({}))],
        vec![boxes, text(json!({}))],
    ] {
        let shown = format!("{artifacts:?}");
        let route = context().after(testing::ran("ocr", artifacts)).route();
        assert!(
            matches!(route, lucius_step_sdk::Route::Dispatch(_)),
            "{shown}"
        );
    }
}

#[test]
fn an_empty_recognition_as_json_is_skipped_too() {
    let boxes = testing::artifact("application/json", json!({"characters": 0, "pages": 1}));
    testing::assert_skip(context().after(testing::ran("ocr", vec![boxes])).route());
}

#[test]
fn a_success_needs_artifacts_and_failures_go_as_the_worker_says() {
    let vectors = testing::artifact("application/json", json!({"chunks": 3, "dimension": 384}));
    assert_eq!(
        context().settle(&Outcome::Succeeded(vec![vectors])),
        Settle::Accept
    );
    let settled = context().settle(&Outcome::Succeeded(Vec::new()));
    assert!(matches!(settled, Settle::Fail(refusal) if refusal.code == "ARTIFACTS_MISSING"));
    let settled = context().settle(&testing::failed("STORAGE_UNREACHABLE", true));
    assert!(matches!(settled, Settle::Retry { delay: None, .. }));
    let settled = context().settle(&testing::failed("TEXT_NOT_UTF8", false));
    assert!(matches!(settled, Settle::Fail(refusal) if refusal.code == "TEXT_NOT_UTF8"));
}
