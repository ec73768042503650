//! What the plugin `sis` decides, asked as the host asks.

use std::time::Duration;

use lucius_plugin_sis::Sis;
use lucius_step_sdk::testing::{self, ContextBuilder};
use lucius_step_sdk::{Outcome, Settle, Step, StepOutput, Violation};
use serde_json::{Value, json};

fn config() -> Value {
    json!({"prompt_sets": ["default", "invoice", "letter"], "default_prompt_set": "default"})
}

fn validate(payload: Value) -> Result<Value, Vec<Violation>> {
    testing::validate::<Sis>(payload, config())
}

fn context() -> ContextBuilder<Sis> {
    testing::context::<Sis>().config(config())
}

fn embedded(metadata: Value) -> StepOutput {
    testing::ran(
        "embedding",
        vec![testing::artifact("application/json", metadata)],
    )
}

#[test]
fn the_plugin_says_what_the_registry_expects() {
    let described = Sis::describe();
    assert_eq!(
        (described.id.as_str(), described.version.as_str()),
        ("sis", "1.0.0")
    );
    assert_eq!(described.step_types, ["SIS"]);
    assert_eq!(described.services, ["platform-sis"]);
}

#[test]
fn the_default_prompt_set_comes_from_the_config() {
    for given in [
        json!({}),
        json!({"prompt_set": ""}),
        json!({"prompt": "  "}),
    ] {
        assert_eq!(validate(given), Ok(json!({"prompt_set": "default"})));
    }
}

#[test]
fn what_is_given_passes_to_the_letter() {
    let given = json!({
        "prompt_set": "invoice", "prompt": " What is due?\n", "temperature": 0.0, "max_tokens": 64,
        "response_format": "JSON", "later": {"a": [1, 2.5]}
    });
    assert_eq!(validate(given.clone()), Ok(given));
}

#[test]
fn an_unknown_prompt_set_is_told_which_there_are() {
    let checked = validate(json!({"prompt_set": "poem"}));
    let violation = testing::assert_violation(&checked, "/prompt_set", "PROMPT_SET_UNKNOWN");
    assert!(
        violation.message.ends_with("default, invoice, letter"),
        "{}",
        violation.message
    );
}

#[test]
fn a_prompt_is_bounded_in_characters() {
    assert!(validate(json!({"prompt": "ä".repeat(16_000)})).is_ok());
    let checked = validate(json!({"prompt": "a".repeat(16_001)}));
    testing::assert_violation(&checked, "/prompt", "PROMPT_TOO_LONG");
    let short =
        json!({"prompt_sets": ["d"], "default_prompt_set": "d", "prompt_characters_max": 3});
    let checked = testing::validate::<Sis>(json!({"prompt": "four"}), short);
    testing::assert_violation(&checked, "/prompt", "PROMPT_TOO_LONG");
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let checked = validate(json!({"prompt_set": "poem", "prompt": "a".repeat(16_001)}));
    assert_eq!(checked.map_err(|violations| violations.len()), Err(2));
    let checked = validate(json!({"prompt_set": 1, "prompt": {}}));
    testing::assert_violation(&checked, "/prompt_set", "TYPE_MISMATCH");
    testing::assert_violation(&checked, "/prompt", "TYPE_MISMATCH");
}

#[test]
fn a_config_that_contradicts_itself_is_the_registrys_fault() {
    for wrong in [
        json!({}),
        json!({"prompt_sets": ["a"], "default_prompt_set": "b"}),
    ] {
        testing::assert_violation(
            &testing::validate::<Sis>(json!({}), wrong),
            "",
            "CONFIG_INVALID",
        );
    }
}

#[test]
fn a_first_step_and_one_after_chunks_are_dispatched() {
    assert_eq!(
        testing::assert_dispatch(context().route()).service,
        "platform-sis"
    );
    testing::assert_dispatch(
        context()
            .after(embedded(json!({"chunks": 4, "dimension": 384})))
            .route(),
    );
    testing::assert_dispatch(context().after(embedded(json!({}))).route());
    testing::assert_dispatch(
        context()
            .after(testing::ran("embedding", Vec::new()))
            .route(),
    );
}

#[test]
fn after_a_skipped_embedding_there_is_nothing_to_ask_about() {
    let ocr = testing::ran(
        "ocr",
        vec![testing::artifact("text/plain", json!({"characters": 0}))],
    );
    let reason = testing::assert_skip(
        context()
            .after(ocr)
            .after(testing::skipped("embedding"))
            .route(),
    );
    assert_eq!(
        reason,
        "There is nothing to ask about: the step \"embedding\" before it was skipped."
    );
}

#[test]
fn without_chunks_or_text_there_is_nothing_to_ask_about() {
    let reason = testing::assert_skip(context().after(embedded(json!({"chunks": 0}))).route());
    assert!(reason.contains("made no chunks"), "{reason}");
    let ocr = testing::ran(
        "ocr",
        vec![testing::artifact("text/plain", json!({"characters": 0}))],
    );
    let reason = testing::assert_skip(context().after(ocr).route());
    assert!(reason.contains("found no text"), "{reason}");
}

#[test]
fn an_overloaded_model_gets_more_rest_each_time_within_a_bound() {
    for (attempt, seconds) in [(1, 30), (2, 60), (3, 120), (6, 600), (u32::MAX, 600)] {
        let settled = context()
            .attempt(attempt)
            .settle(&testing::failed("MODEL_OVERLOADED", false));
        let Settle::Retry { delay, reason } = settled else {
            panic!("expected a retry, not {settled:?}")
        };
        assert_eq!(
            delay,
            Some(Duration::from_secs(seconds)),
            "attempt {attempt}"
        );
        assert_eq!(reason.code, "MODEL_OVERLOADED");
    }
}

#[test]
fn a_success_needs_artifacts_and_other_failures_go_as_the_worker_says() {
    let answer = testing::artifact("application/json", json!({}));
    assert_eq!(
        context().settle(&Outcome::Succeeded(vec![answer])),
        Settle::Accept
    );
    let settled = context().settle(&Outcome::Succeeded(Vec::new()));
    assert!(matches!(settled, Settle::Fail(refusal) if refusal.code == "ARTIFACTS_MISSING"));
    let settled = context().settle(&testing::failed("ENDPOINT_UNREACHABLE", true));
    assert!(matches!(settled, Settle::Retry { delay: None, .. }));
    let settled = context().settle(&testing::failed("ANSWER_NOT_JSON", false));
    assert!(matches!(settled, Settle::Fail(refusal) if refusal.code == "ANSWER_NOT_JSON"));
}
