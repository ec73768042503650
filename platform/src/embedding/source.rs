//! The text a step works on: an earlier step's, or the job's own input.

use serde_json::Value;

use crate::contract::Ref;
use crate::service::{Failure, Task};

/// A text and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Where it is.
    pub uri: String,
    /// The text itself; form feeds separate pages.
    pub text: String,
}

impl Text {
    /// The newest `text/plain` artifact of an earlier step, else its JSON with recognised pages,
    /// else the job's input.
    ///
    /// Fails with `INPUT_NOT_TEXT` when what is there is no text, and as [`Task::fetch`] does.
    pub async fn of_task(task: &Task) -> Result<Self, Failure> {
        let earlier = task
            .earlier_artifact("text/plain")
            .or_else(|| task.earlier_artifact("application/json"));
        let reference = earlier.unwrap_or(&task.directive.input_ref);
        let content = task.fetch(reference).await?.text().await?;
        Self::of_content(reference, content)
    }

    /// Reads the content of `reference`: recognised pages when it is JSON that holds some, else
    /// the text as it is.
    pub fn of_content(reference: &Ref, content: String) -> Result<Self, Failure> {
        let uri = reference.uri.clone();
        if content.starts_with("%PDF-") || content.contains('\0') {
            let message =
                format!("{uri} is not text; run an OCR step before this one, or pass UTF-8 text");
            return Err(Failure::fatal("INPUT_NOT_TEXT", message));
        }
        let is_json = reference.is_type("application/json");
        if is_json || content.trim_start().starts_with('{') {
            let pages = serde_json::from_str::<Value>(&content)
                .ok()
                .as_ref()
                .and_then(recognised);
            match pages {
                Some(text) => return Ok(Self { uri, text }),
                None if is_json => {
                    let message = format!("{uri} is JSON without recognised pages; pass text");
                    return Err(Failure::fatal("INPUT_NOT_TEXT", message));
                }
                None => {}
            }
        }
        Ok(Self { uri, text: content })
    }
}

/// The text of a JSON document of recognised pages: each page is followed by a form feed.
fn recognised(document: &Value) -> Option<String> {
    let mut text = String::new();
    for page in document.get("pages")?.as_array()? {
        let whole = page.get("text").and_then(Value::as_str).map(str::to_owned);
        let content = whole.or_else(|| lines(page))?;
        // A form feed inside a page would shift the numbers of all that follow.
        text.push_str(&content.replace('\u{c}', "\n"));
        text.push('\u{c}');
    }
    Some(text)
}

fn lines(page: &Value) -> Option<String> {
    let lines = page.get("lines")?.as_array()?;
    let texts: Option<Vec<&str>> = lines
        .iter()
        .map(|line| line.get("text")?.as_str())
        .collect();
    Some(texts?.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content_type: Option<&str>, content: &str) -> Result<String, Failure> {
        let mut reference = Ref::bare("file:///in");
        reference.content_type = content_type.map(str::to_owned);
        Text::of_content(&reference, content.to_owned()).map(|read| read.text)
    }

    #[test]
    fn recognised_pages_become_text_with_form_feeds() {
        let json =
            r#"{"pages": [{"text": "one\fmore"}, {"lines": [{"text": "two"}, {"text": "3"}]}]}"#;
        assert_eq!(
            read(Some("application/json"), json).unwrap(),
            "one\nmore\u{c}two\n3\u{c}"
        );
        assert_eq!(read(None, json).unwrap(), "one\nmore\u{c}two\n3\u{c}");
    }

    #[test]
    fn text_that_only_looks_like_json_stays_text() {
        for text in ["{braces} first", "{}", "[1]", ""] {
            assert_eq!(read(None, text).unwrap(), text);
        }
    }

    #[test]
    fn what_is_no_text_is_refused_by_name() {
        let refused = [
            (None, "%PDF-1.7\n"),
            (None, "a\0b"),
            (Some("application/json"), r#"{"a": 1}"#),
        ];
        for (content_type, content) in refused {
            assert_eq!(
                read(content_type, content).unwrap_err().code,
                "INPUT_NOT_TEXT"
            );
        }
    }
}
