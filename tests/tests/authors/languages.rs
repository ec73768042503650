//! One step type in Rust, JavaScript and Python: the same answers to the same questions.
//!
//! That none of the three imports anything but the host's log needs no look of its own: the sandbox admits no other.

use lucius_tests::author::{self, LANGUAGES};
use serde_json::Value;

#[tokio::test]
async fn the_same_plugin_in_three_languages_gives_the_same_answers_without_an_import() {
    for language in LANGUAGES {
        let folder = match language {
            "rust" => author::redact().await,
            _ => author::example(language),
        };
        if language != "rust" {
            author::build(&folder).await;
        }
        let tested = author::plugin(&folder, &["test", "--json"]).patient();
        let tested = tested.ended().await.expect(0).json();
        let cases: Vec<&Value> = tested["cases"].as_array().into_iter().flatten().collect();
        let written = std::fs::read_dir(folder.join("../cases")).expect("the cases are there");
        assert_eq!(cases.len(), written.count(), "{language}: {tested}");
    }
}
