//! What the plugin `ocr` decides, asked as the host asks.

use std::time::Duration;

use lucius_plugin_ocr::Ocr;
use lucius_step_sdk::testing::{self, ContextBuilder};
use lucius_step_sdk::{Outcome, Refusal, Route, Settle, Step, Violation};
use serde_json::{Value, json};

fn config() -> Value {
    json!({"engines": ["tesseract", "rten"]})
}

fn validate(payload: Value) -> Result<Value, Vec<Violation>> {
    testing::validate::<Ocr>(payload, config())
}

fn context() -> ContextBuilder<Ocr> {
    testing::context::<Ocr>().config(config())
}

#[test]
fn the_plugin_says_what_the_registry_expects() {
    let described = Ocr::describe();
    assert_eq!(
        (described.id.as_str(), described.version.as_str()),
        ("ocr", "1.0.0")
    );
    assert_eq!(described.step_types, ["OCR"]);
    assert_eq!(described.services, ["platform-ocr"]);
}

#[test]
fn an_empty_payload_gets_the_defaults() {
    assert_eq!(
        validate(json!({})),
        Ok(json!({"language_hint": "eng", "output_format": "TEXT"}))
    );
}

#[test]
fn what_is_given_is_kept_trimmed_and_written_one_way() {
    let given = json!({
        "language_hint": " deu ", "page_range": " 1 - 3, 5", "ocr_engine": "tesseract ", "output_format": "JSON"
    });
    let normalized = json!({
        "language_hint": "deu", "page_range": "1-3,5", "ocr_engine": "tesseract", "output_format": "JSON"
    });
    assert_eq!(validate(given), Ok(normalized.clone()));
    assert_eq!(
        validate(normalized.clone()),
        Ok(normalized),
        "normalizing twice changes nothing"
    );
}

#[test]
fn what_is_blank_counts_as_not_given_but_a_blank_range_is_ambiguous() {
    let checked = validate(json!({"language_hint": " ", "ocr_engine": ""}));
    assert_eq!(
        checked,
        Ok(json!({"language_hint": "eng", "output_format": "TEXT"}))
    );
    testing::assert_violation(
        &validate(json!({"page_range": " "})),
        "/page_range",
        "PAGE_RANGE_SYNTAX",
    );
}

#[test]
fn fields_of_a_later_time_survive() {
    let checked =
        validate(json!({"dpi": 300.5, "zones": [{"x": 1}]})).expect("unknown fields are fine");
    assert_eq!(
        (&checked["dpi"], &checked["zones"]),
        (&json!(300.5), &json!([{"x": 1}]))
    );
}

#[test]
fn each_wrong_range_has_its_code() {
    for (range, code) in [
        ("1-x", "PAGE_RANGE_SYNTAX"),
        ("5,1", "PAGE_RANGE_ORDER"),
        ("0-2", "PAGE_RANGE_ZERO"),
    ] {
        testing::assert_violation(&validate(json!({"page_range": range})), "/page_range", code);
    }
}

#[test]
fn an_unknown_engine_is_told_which_there_are() {
    let checked = validate(json!({"ocr_engine": "abbyy"}));
    let violation = testing::assert_violation(&checked, "/ocr_engine", "ENGINE_UNKNOWN");
    assert!(
        violation.message.ends_with("tesseract, rten"),
        "{}",
        violation.message
    );
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let checked = validate(json!({"page_range": "3-1", "ocr_engine": "abbyy"}));
    assert_eq!(checked.map_err(|violations| violations.len()), Err(2));
    let checked = validate(json!({"page_range": 3, "output_format": "XML", "language_hint": []}));
    assert_eq!(checked.as_ref().map_err(Vec::len), Err(3));
    testing::assert_violation(&checked, "/page_range", "TYPE_MISMATCH");
}

#[test]
fn an_unusable_config_is_the_registrys_fault_and_says_so() {
    let checked = testing::validate::<Ocr>(json!({}), json!({}));
    let violation = testing::assert_violation(&checked, "", "CONFIG_INVALID");
    assert!(
        violation.message.contains("engines"),
        "{}",
        violation.message
    );
    let route = testing::context::<Ocr>()
        .config(json!({"engines": 3}))
        .route();
    assert!(matches!(route, Route::Fail(Refusal { code, .. }) if code == "CONFIG_INVALID"));
}

#[test]
fn a_step_goes_where_the_protocol_says_with_its_payload() {
    let payload = json!({"language_hint": "eng", "output_format": "TEXT", "dpi": 300});
    let sent = testing::assert_dispatch(context().payload(payload.clone()).route());
    assert_eq!(
        (sent.service.as_str(), sent.payload),
        ("platform-ocr", Some(payload))
    );
    assert_eq!((sent.ack_seconds, sent.lease_seconds), (None, None));
}

#[test]
fn a_success_with_an_artifact_is_accepted_even_without_text() {
    let text = testing::artifact("text/plain", json!({"characters": 0, "pages": 1}));
    assert_eq!(
        context().settle(&Outcome::Succeeded(vec![text])),
        Settle::Accept
    );
}

#[test]
fn a_success_without_artifacts_is_a_failure() {
    let settled = context().settle(&Outcome::Succeeded(Vec::new()));
    assert!(matches!(settled, Settle::Fail(refusal) if refusal.code == "ARTIFACTS_MISSING"));
}

#[test]
fn an_overloaded_model_is_tried_again_later_whatever_the_worker_thinks() {
    for retryable in [true, false] {
        let Settle::Retry { delay, reason } =
            context().settle(&testing::failed("MODEL_OVERLOADED", retryable))
        else {
            panic!("expected a retry");
        };
        assert_eq!(
            (delay, reason.code.as_str()),
            (Some(Duration::from_secs(30)), "MODEL_OVERLOADED")
        );
    }
}

#[test]
fn any_other_failure_is_as_retryable_as_the_worker_says() {
    let settled = context().settle(&testing::failed("STORAGE_UNREACHABLE", true));
    assert!(
        matches!(settled, Settle::Retry { delay: None, reason } if reason.code == "STORAGE_UNREACHABLE")
    );
    let settled = context().settle(&testing::failed("PDF_ENCRYPTED", false));
    assert!(matches!(settled, Settle::Fail(refusal) if refusal.code == "PDF_ENCRYPTED"));
}

#[test]
fn what_a_client_sent_is_quoted_short() {
    let long = "x".repeat(100_000);
    let checked = validate(json!({"ocr_engine": long, "page_range": long}));
    let violations = checked.expect_err("both are wrong");
    assert!(
        violations
            .iter()
            .all(|violation| violation.message.len() < 300),
        "{violations:?}"
    );
    let checked = validate(json!({"output_format": long}));
    let violation = testing::assert_violation(&checked, "/output_format", "TYPE_MISMATCH");
    assert!(violation.message.len() < 500, "{}", violation.message.len());
}
