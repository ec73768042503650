//! The service with the real model.

use serde_json::{Value, json};

use super::artifact::Document;
use super::testing::{Desk, content, models};
use super::{Ingestion, Settings};
use crate::contract::{FailureClass, Ref};
use crate::service::Failure;

fn service() -> Ingestion {
    Ingestion::new(models(), Settings::default())
}

const TEXT: &str = "Zoë's shop sells tea.\nOpening hours: 9 to 5\n\u{c}Invoice number: HL-17\n\
                    Total due: EUR 1,284.50\n";

async fn embed(text: &str, payload: Value) -> Result<Document, Failure> {
    let desk = Desk::new();
    let input = desk.file("text.txt", text);
    let done = desk.run(&service(), &input, payload).await?;
    let document = Document::parse(&content(&done.artifacts[0])).unwrap();
    let metadata = &done.artifacts[0].metadata;
    assert_eq!(metadata["chunks"], document.chunks.len());
    assert_eq!(metadata["dimension"], 384);
    assert_eq!(metadata["model"], "all-MiniLM-L6-v2");
    assert_eq!(document.source.uri, input.uri);
    Ok(document)
}

fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|x| x * x).sum::<f32>().sqrt()
}

#[tokio::test]
async fn a_text_becomes_chunks_that_know_where_they_stand() {
    let payload = json!({"chunking": {"max_tokens": 12, "overlap_tokens": 0}});
    let document = embed(TEXT, payload).await.unwrap();
    assert!(document.normalized);
    assert_eq!(document.chunks.first().unwrap().page, Some(1));
    assert_eq!(document.chunks.last().unwrap().page, Some(2));
    for (index, chunk) in document.chunks.iter().enumerate() {
        assert_eq!(chunk.index, index);
        assert_eq!(TEXT[chunk.byte_start..chunk.byte_end], chunk.text);
        let chars = TEXT
            .chars()
            .skip(chunk.char_start)
            .take(chunk.char_end - chunk.char_start);
        assert_eq!(chars.collect::<String>(), chunk.text);
        assert!((1..=12).contains(&chunk.tokens), "{chunk:?}");
        assert!((length(&chunk.vector) - 1.0).abs() < 1e-5);
    }
}

#[tokio::test]
async fn vectors_are_scaled_only_when_asked() {
    let scaled = embed("Total due: EUR 1,284.50", json!({})).await.unwrap();
    let raw = embed("Total due: EUR 1,284.50", json!({"normalize": false}))
        .await
        .unwrap();
    assert!(!raw.normalized);
    let raw = &raw.chunks[0].vector;
    assert!(length(raw) > 2.0);
    for (a, b) in scaled.chunks[0].vector.iter().zip(raw) {
        assert!((a - b / length(raw)).abs() < 1e-6);
    }
}

#[tokio::test]
async fn fixed_chunks_fill_the_window_and_never_more() {
    let text = "The supplier delivers lot after lot to the warehouse in Rotterdam. ".repeat(60);
    let payload = json!({"chunking": {"strategy": "fixed", "max_tokens": 1000}});
    let document = embed(&text, payload).await.unwrap();
    let longest = document.chunks.iter().map(|chunk| chunk.tokens).max();
    assert_eq!(longest, Some(document.model.max_tokens));
    let chunking = document.chunking.unwrap();
    assert_eq!(
        (chunking.max_tokens, chunking.strategy.as_str()),
        (254, "fixed")
    );
    let last = document.chunks.last().unwrap();
    assert_eq!(last.byte_end, text.trim_end().len());
}

#[tokio::test]
async fn the_text_of_the_step_before_is_what_is_embedded() {
    let desk = Desk::new();
    let mut recognised = desk.file("ocr.txt", "recognised");
    recognised.content_type = Some("text/plain; charset=utf-8".into());
    let input = desk.file("scan.pdf", "%PDF-1.7");
    let desk = desk.earlier("OCR", recognised.clone());
    let done = desk.run(&service(), &input, json!({})).await.unwrap();
    let document = Document::parse(&content(&done.artifacts[0])).unwrap();
    assert_eq!(document.chunks[0].text, "recognised");
    assert_eq!(document.source.uri, recognised.uri);
}

#[tokio::test]
async fn an_empty_text_has_no_chunks() {
    for text in ["", " \n\u{c}\n", "\u{1}\u{2}"] {
        assert_eq!(embed(text, json!({})).await.unwrap().chunks, [], "{text:?}");
    }
}

#[tokio::test]
async fn bad_input_is_refused_with_what_is_wrong() {
    let desk = Desk::new();
    let missing = Ref::bare(format!("{}.gone", desk.file("a.txt", "").uri));
    let cases = [
        (
            desk.file("scan.pdf", "%PDF-1.7 binary"),
            json!({}),
            "INPUT_NOT_TEXT",
        ),
        (
            desk.file("latin1.txt", b"caf\xe9"),
            json!({}),
            "INPUT_NOT_TEXT",
        ),
        (missing, json!({}), "INPUT_NOT_FOUND"),
        (
            desk.file("b.txt", "x"),
            json!({"normalize": "yes"}),
            "PAYLOAD_INVALID",
        ),
        (
            desk.file("c.txt", "x"),
            json!({"chunking": {"strategy": "semantic"}}),
            "CHUNKING_STRATEGY_UNKNOWN",
        ),
    ];
    for (input, payload, code) in cases {
        let failure = desk.run(&service(), &input, payload).await.unwrap_err();
        assert_eq!(
            (&*failure.code, failure.class),
            (code, FailureClass::NonRetryable)
        );
    }
}

#[tokio::test]
async fn a_text_that_is_too_long_is_refused_before_it_is_embedded() {
    let settings = Settings {
        max_chunks: 3,
        ..Settings::default()
    };
    let desk = Desk::new();
    let input = desk.file("a.txt", "One.\u{c}Two.\u{c}Three.\u{c}Four.");
    let failure = desk
        .run(&Ingestion::new(models(), settings), &input, json!({}))
        .await
        .unwrap_err();
    assert_eq!(failure.code, "TEXT_TOO_LONG");
    assert!(
        failure.message.contains('4') && failure.message.contains('3'),
        "{failure}"
    );
}
