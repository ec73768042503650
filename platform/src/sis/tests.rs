//! The service without an endpoint, with the real model.

use serde_json::{Value, json};

use super::artifact::{Document, Kind, NOTHING_FOUND};
use super::{Intelligence, Settings};
use crate::contract::{FailureClass, Ref};
use crate::embedding::testing::{Desk, content, models};
use crate::embedding::{self, Ingestion};
use crate::service::{Done, Failure};

const INVOICE: &str = include_str!("../../../docs/demo/invoice.txt");

fn service() -> Intelligence {
    Intelligence::new(models(), Settings::default(), None).unwrap()
}

/// The artifact of the embedding step over `text`, as the demo asks for it.
async fn embedded(desk: &Desk, text: &str) -> Ref {
    let input = desk.file("text.txt", text);
    let service = Ingestion::new(models(), embedding::Settings::default());
    let payload = json!({"chunking": {"max_tokens": 48, "overlap_tokens": 8}});
    let mut done = desk.run(&service, &input, payload).await.unwrap();
    done.artifacts.remove(0).into()
}

async fn ask(text: &str, payload: Value) -> Result<(Desk, Done, Document), Failure> {
    let desk = Desk::new();
    let artifact = embedded(&desk, text).await;
    let desk_input = desk.file("scan.pdf", "%PDF-1.7");
    let desk = desk.earlier("EMBEDDING", artifact);
    let done = desk.run(&service(), &desk_input, payload).await?;
    let json = done
        .artifacts
        .iter()
        .find(|a| a.uri.ends_with(".json"))
        .unwrap();
    let document = serde_json::from_slice(&content(json)).unwrap();
    Ok((desk, done, document))
}

#[tokio::test]
async fn questions_about_an_invoice_are_answered_by_the_right_line() {
    let cases = [
        (
            "What is the total amount due?",
            2,
            "Total due: EUR 1,284.50",
        ),
        (
            "What is the invoice number?",
            2,
            "Invoice number: HL-2026-0417",
        ),
        ("What is the due date?", 2, "Due date: 15 December 2026"),
        (
            "How much VAT is charged?",
            2,
            "VAT at 21 percent: EUR 222.93",
        ),
        (
            "What did the courier cost?",
            2,
            "Insured courier, 3 trips at EUR 15.19: EUR 45.57",
        ),
        (
            "What is the late fee?",
            2,
            "A late payment is charged with a fee of two percent for each month.",
        ),
        (
            "How long is the copy kept?",
            1,
            "We keep our own copy for ninety days and then delete it.",
        ),
        (
            "How many sheets were too fragile?",
            1,
            "Eleven sheets were too fragile for the feeder and were photographed by\nhand.",
        ),
    ];
    for (question, page, line) in cases {
        let (_desk, _, document) = ask(INVOICE, json!({"prompt": question})).await.unwrap();
        assert_eq!(document.answer, line, "{question} {:#?}", document.passages);
        assert_eq!(document.kind, Kind::Extractive);
        assert_eq!(
            (document.answers.len(), document.answers[0].found),
            (1, true)
        );
        let best = &document.passages[0];
        assert_eq!((best.page, best.question), (Some(page), Some(0)));
        for passage in &document.passages {
            assert_eq!(INVOICE[passage.byte_start..passage.byte_end], passage.text);
            let length = passage.char_end - passage.char_start;
            let chars: String = INVOICE
                .chars()
                .skip(passage.char_start)
                .take(length)
                .collect();
            assert_eq!(chars, passage.text);
            assert!(passage.score.unwrap() >= 0.3);
        }
    }
}

#[tokio::test]
async fn a_question_without_an_answer_gets_an_honest_one() {
    for question in [
        "What is the capital of Mongolia?",
        "Which vaccine did the patient receive?",
    ] {
        let (_desk, done, document) = ask(INVOICE, json!({"prompt": question})).await.unwrap();
        assert_eq!(document.answer, NOTHING_FOUND, "{:#?}", document.passages);
        assert_eq!(document.passages, []);
        assert!(!document.answers[0].found);
        assert_eq!(done.artifacts[0].metadata["found"], false);
    }
}

#[tokio::test]
async fn the_questions_of_a_prompt_set_are_answered_one_by_one() {
    let (_desk, _, document) = ask(INVOICE, json!({"prompt_set": "invoice"}))
        .await
        .unwrap();
    let answers: Vec<&str> = document.answers.iter().map(|a| a.answer.as_str()).collect();
    assert_eq!(
        answers,
        [
            "Total due: EUR 1,284.50",
            "Due date: 15 December 2026",
            "Invoice number: HL-2026-0417",
            "Invoice date: 16 November 2026",
        ]
    );
    assert_eq!(document.prompt.lines().count(), 4);
    assert!(document.passages.iter().any(|p| p.question == Some(3)));
}

#[tokio::test]
async fn text_is_delivered_with_what_it_is_and_where_it_stands() {
    let payload = json!({"prompt": "What is the total amount due?", "response_format": "TEXT"});
    let (_desk, done, _) = ask(INVOICE, payload).await.unwrap();
    let [text, json] = done.artifacts.as_slice() else {
        panic!("{done:?}")
    };
    assert_eq!(
        text.content_type.as_deref(),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(json.content_type.as_deref(), Some("application/json"));
    assert_eq!(json.metadata["kind"], "extractive");
    let text = String::from_utf8(content(text)).unwrap();
    assert!(text.starts_with("Total due: EUR 1,284.50\n"), "{text}");
    assert!(
        text.contains("extractive") && text.contains("page 2, characters"),
        "{text}"
    );
}

#[tokio::test]
async fn plain_text_is_answered_without_an_embedding_step() {
    let desk = Desk::new();
    let input = desk.file("letter.txt", INVOICE);
    let payload = json!({"prompt": "What is the total amount due?"});
    let done = desk.run(&service(), &input, payload).await.unwrap();
    let document: Document = serde_json::from_slice(&content(&done.artifacts[0])).unwrap();
    assert_eq!(document.answer, "Total due: EUR 1,284.50");
    assert_eq!(document.source.uri, input.uri);
}

#[tokio::test]
async fn an_embedding_may_be_the_input_itself() {
    let desk = Desk::new();
    let artifact = embedded(&desk, "Paris is the capital of France.").await;
    let document = std::fs::read(
        url::Url::parse(&artifact.uri)
            .unwrap()
            .to_file_path()
            .unwrap(),
    );
    let input = desk.file("embedding.json", document.unwrap());
    let payload = json!({"prompt": "Which city is the capital of France?"});
    let done = desk.run(&service(), &input, payload).await.unwrap();
    assert_eq!(done.artifacts[0].metadata["found"], true);
}

#[tokio::test]
async fn vectors_of_another_model_are_refused() {
    for (pointer, value) in [("/model/id", "other"), ("/model/revision", "0000")] {
        let desk = Desk::new();
        let artifact = embedded(&desk, "Paris is the capital of France.").await;
        let path = url::Url::parse(&artifact.uri)
            .unwrap()
            .to_file_path()
            .unwrap();
        let mut document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        *document.pointer_mut(pointer).unwrap() = json!(value);
        let input = desk.file("embedding.json", document.to_string());
        let failure = desk
            .run(&service(), &input, json!({"prompt": "?"}))
            .await
            .unwrap_err();
        assert_eq!(
            (&*failure.code, failure.class),
            ("MODEL_MISMATCH", FailureClass::NonRetryable)
        );
        assert!(failure.message.contains("all-MiniLM-L6-v2"), "{failure}");
    }
}

#[tokio::test]
async fn an_empty_document_answers_nothing() {
    let (_desk, _, document) = ask(" \n", json!({"prompt": "What is due?"})).await.unwrap();
    assert_eq!(document.answer, NOTHING_FOUND);
}

#[tokio::test]
async fn bad_requests_are_refused_for_good() {
    let desk = Desk::new();
    let text = desk.file("a.txt", "x");
    let broken = desk.file("e.json", r#"{"schema": "lucius.embedding.v1"}"#);
    let scan = desk.file("scan.pdf", "%PDF-1.7");
    let cases = [
        (
            &text,
            json!({"prompt": "?", "prompt_set": "poem"}),
            "PROMPT_SET_UNKNOWN",
        ),
        (&text, json!({}), "PROMPT_MISSING"),
        (&text, json!({"prompt": 3}), "PAYLOAD_INVALID"),
        (&broken, json!({"prompt": "?"}), "EMBEDDING_INVALID"),
        (&scan, json!({"prompt": "?"}), "INPUT_NOT_TEXT"),
    ];
    for (input, payload, code) in cases {
        let failure = desk.run(&service(), input, payload).await.unwrap_err();
        assert_eq!(
            (&*failure.code, failure.class),
            (code, FailureClass::NonRetryable)
        );
    }
}
