//! The OCR service on real documents, with the real tools.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lucius_platform::ocr::{Service, Settings};
use lucius_platform::service;
use serde_json::{Value, json};

use crate::rig::Rig;

const LETTER: &str = "The quick brown fox\n\njumps over the lazy dog.\n";
const SECOND: &str = "Second page of a letter\n\nfrom the harbour office.\n";

/// The OCR service under the name that the fake bus has a subscription for.
struct Renamed(Service);

#[async_trait::async_trait]
impl service::Service for Renamed {
    fn name(&self) -> &str {
        "test-service"
    }

    fn step_type(&self) -> &str {
        self.0.step_type()
    }

    async fn run(
        &self,
        task: service::Task,
        progress: service::Progress,
    ) -> Result<service::Done, service::Failure> {
        self.0.run(task, progress).await
    }
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(name),
    )
    .unwrap()
}

async fn read_with(settings: Settings, document: &[u8], payload: Value) -> (Rig, Value) {
    let rig = Rig::new().await;
    std::fs::write(rig.root.join("in/input"), document).unwrap();
    let service = Arc::new(Renamed(Service::new(settings)));
    let result = rig.result_of(service, payload).await;
    (rig, result)
}

async fn read(name: &str, payload: Value) -> (Rig, Value) {
    read_with(Settings::default(), &fixture(name), payload).await
}

/// The delivered text, and the metadata of the text artifact.
fn text_of(rig: &Rig, result: &Value) -> (String, Value) {
    assert_eq!(result["status"], "SUCCEEDED", "{result}");
    let artifacts = result["artifact_refs"].as_array().unwrap();
    let text = artifacts
        .iter()
        .find(|a| a["content_type"] == "text/plain")
        .unwrap();
    let path = rig.root.join("workspace/acme/job/OCR/1/text.txt");
    (
        std::fs::read_to_string(path).unwrap(),
        text["metadata"].clone(),
    )
}

async fn refused(document: &[u8], payload: Value, code: &str) -> Value {
    let (_rig, result) = read_with(Settings::default(), document, payload).await;
    assert_eq!(result["error"]["code"], code, "{result}");
    assert_eq!(result["failure_class"], "NON_RETRYABLE", "{result}");
    result
}

#[tokio::test]
async fn pictures_of_every_kind_are_read() {
    for name in ["letter.png", "letter.jpg", "letter.webp"] {
        let (rig, result) = read(name, json!({})).await;
        let (text, metadata) = text_of(&rig, &result);
        assert_eq!(text, LETTER, "{name}");
        assert_eq!(
            (&metadata["characters"], &metadata["pages"]),
            (&json!(36), &json!(1))
        );
        let delivered = std::fs::read_to_string(rig.root.join("out/job/ocr.txt")).unwrap();
        assert_eq!(delivered, LETTER);
    }
}

#[tokio::test]
async fn every_page_of_a_scan_is_read_in_order() {
    for name in ["scan.pdf", "two-frames.tiff"] {
        let (rig, result) = read(name, json!({ "language_hint": "en" })).await;
        let (text, metadata) = text_of(&rig, &result);
        assert_eq!(text, format!("{LETTER}\u{c}{SECOND}"), "{name}");
        assert_eq!(metadata["pages_from_ocr"], 2);
    }
}

#[tokio::test]
async fn the_wanted_pages_alone_are_read() {
    for name in ["scan.pdf", "two-frames.tiff"] {
        let (rig, result) = read(name, json!({ "page_range": "2" })).await;
        assert_eq!(text_of(&rig, &result).0, SECOND, "{name}");
    }
}

#[tokio::test]
async fn a_text_layer_is_taken_page_by_page_and_a_blank_page_is_no_failure() {
    let (rig, result) = read("mixed.pdf", json!({ "output_format": "JSON" })).await;
    let (text, metadata) = text_of(&rig, &result);
    assert_eq!(
        text,
        format!("First page with a text layer.\n\u{c}{SECOND}\u{c}")
    );
    assert_eq!(metadata["pages"], 3);
    assert_eq!(
        (
            &metadata["pages_from_text_layer"],
            &metadata["pages_from_ocr"]
        ),
        (&json!(1), &json!(2))
    );

    let delivered = std::fs::read(rig.root.join("out/job/ocr.json")).unwrap();
    let document: Value = serde_json::from_slice(&delivered).unwrap();
    assert_eq!(
        result["artifact_refs"][0]["content_type"],
        "application/json"
    );
    let pages = document["pages"].as_array().unwrap();
    let sources: Vec<_> = pages
        .iter()
        .map(|page| page["source"].as_str().unwrap())
        .collect();
    assert_eq!(sources, ["text_layer", "ocr", "ocr"]);
    assert_eq!(
        (&pages[0]["unit"], &pages[0]["width"]),
        (&json!("pt"), &json!(595.0))
    );
    assert_eq!(pages[0]["words"][0]["text"], "First");
    assert_eq!(pages[0]["words"][0]["confidence"], 100.0);
    assert_eq!(
        (&pages[1]["unit"], &pages[1]["width"]),
        (&json!("px"), &json!(1000.0))
    );
    let words = pages[1]["words"].as_array().unwrap();
    assert_eq!(
        (&words[0]["text"], &words[0]["line"]),
        (&json!("Second"), &json!(1))
    );
    assert_eq!(
        (&words[8]["text"], &words[8]["line"]),
        (&json!("office."), &json!(2))
    );
    assert!(
        words
            .iter()
            .all(|word| word["confidence"].as_f64().unwrap() > 50.0),
        "{words:?}"
    );
    assert_eq!(
        (&pages[2]["words"], &pages[2]["confidence"]),
        (&json!([]), &Value::Null)
    );
}

#[tokio::test]
async fn a_blank_page_has_no_characters() {
    let (rig, result) = read("blank.png", json!({})).await;
    let (text, metadata) = text_of(&rig, &result);
    assert_eq!((text.as_str(), &metadata["characters"]), ("", &json!(0)));
}

#[tokio::test]
async fn a_page_upside_down_is_read() {
    let (rig, result) = read("upside-down.png", json!({})).await;
    let (text, _) = text_of(&rig, &result);
    assert!(
        text.starts_with("The quick brown fox jumps over the\n"),
        "{text}"
    );
}

#[tokio::test]
async fn each_document_that_cannot_be_read_says_what_is_wrong() {
    refused(b"", json!({}), "INPUT_EMPTY").await;
    refused(b"<html></html>", json!({}), "INPUT_NOT_A_DOCUMENT").await;
    refused(&fixture("encrypted.pdf"), json!({}), "PDF_ENCRYPTED").await;
    refused(&fixture("no-pages.pdf"), json!({}), "PDF_NO_PAGES").await;
    refused(&fixture("scan.pdf")[..300], json!({}), "PDF_UNREADABLE").await;
    refused(b"%PDF-1.7\njunk", json!({}), "PDF_UNREADABLE").await;
    refused(&fixture("letter.png")[..600], json!({}), "IMAGE_UNREADABLE").await;
    refused(
        &fixture("two-frames.tiff")[..100],
        json!({}),
        "IMAGE_UNREADABLE",
    )
    .await;
}

#[tokio::test]
async fn a_list_of_file_names_never_reaches_tesseract() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/letter.png");
    let list = format!("{}\n", fixtures.display());
    refused(list.as_bytes(), json!({}), "INPUT_NOT_A_DOCUMENT").await;
}

#[tokio::test]
async fn each_wish_that_cannot_be_met_says_why() {
    let scan = fixture("scan.pdf");
    refused(
        &scan,
        json!({ "page_range": "2-3" }),
        "PAGE_RANGE_OUTSIDE_DOCUMENT",
    )
    .await;
    refused(&scan, json!({ "page_range": "3-1" }), "PAGE_RANGE_INVALID").await;
    refused(
        &scan,
        json!({ "ocr_engine": "crystal-ball" }),
        "OCR_ENGINE_UNKNOWN",
    )
    .await;
    refused(&scan, json!({ "output_format": "RTF" }), "PAYLOAD_INVALID").await;
    refused(
        &scan,
        json!({ "language_hint": "../eng" }),
        "LANGUAGE_NOT_INSTALLED",
    )
    .await;
    let result = refused(
        &scan,
        json!({ "language_hint": "tlh" }),
        "LANGUAGE_NOT_INSTALLED",
    )
    .await;
    assert!(
        result["error"]["message"]
            .as_str()
            .unwrap()
            .contains("tesseract-ocr-tlh")
    );
    assert!(
        result["error"]["details"]["installed"]
            .as_array()
            .unwrap()
            .contains(&json!("eng"))
    );
}

#[tokio::test]
async fn a_missing_tool_is_the_operators_to_mend_and_names_its_package() {
    let settings = Settings {
        tools_dir: Some("/nowhere".into()),
        ..Settings::default()
    };
    let (_rig, result) = read_with(settings, &fixture("scan.pdf"), json!({})).await;
    assert_eq!(result["failure_class"], "RETRYABLE");
    assert_eq!(result["error"]["code"], "OCR_TOOL_MISSING");
    assert!(
        result["error"]["message"]
            .as_str()
            .unwrap()
            .contains("tesseract-ocr"),
        "{result}"
    );
}

#[tokio::test]
async fn limits_of_time_and_pages_are_kept() {
    let slow = Settings {
        page_time_limit: Duration::from_nanos(1),
        ..Settings::default()
    };
    let (_rig, result) = read_with(slow, &fixture("scan.pdf"), json!({})).await;
    assert_eq!(result["error"]["code"], "OCR_TIME_LIMIT", "{result}");

    let long = Settings {
        pages_max: 1,
        ..Settings::default()
    };
    let (_rig, result) = read_with(long, &fixture("scan.pdf"), json!({})).await;
    assert_eq!(result["error"]["code"], "TOO_MANY_PAGES", "{result}");
}

#[tokio::test]
async fn a_picture_that_needs_more_memory_than_allowed_is_not_taken_for_a_blank_one() {
    let settings = Settings {
        memory_bytes: Some(300_000_000),
        ..Settings::default()
    };
    let (_rig, result) = read_with(settings, &fixture("vast.png"), json!({})).await;
    assert_eq!(result["error"]["code"], "OCR_MEMORY_LIMIT", "{result}");
    assert_eq!(result["failure_class"], "NON_RETRYABLE");
}

#[tokio::test]
async fn a_page_too_large_to_render_is_not_taken_for_a_blank_one() {
    let (_rig, result) = read("vast.pdf", json!({})).await;
    assert_eq!(result["error"]["code"], "OCR_MEMORY_LIMIT", "{result}");
}

#[tokio::test]
async fn nothing_is_left_in_the_temporary_folder() {
    let (rig, result) = read("mixed.pdf", json!({})).await;
    assert_eq!(result["status"], "SUCCEEDED", "{result}");
    assert_eq!(std::fs::read_dir(rig.root.join("tmp")).unwrap().count(), 0);
}
